"""Agreement between two sets of features, and the command that reports it."""

import json

import numpy as np
import pytest

from superpoint_ros.__main__ import main
from superpoint_ros.evaluation.detectors import LocalFeatures
from superpoint_ros.evaluation.precision_benchmark import agreement


def features(points: list[tuple[float, float]], descriptors: list[tuple[float, float]]) -> LocalFeatures:
    return LocalFeatures(
        np.array(points, np.float32).reshape(-1, 2),
        np.ones(len(points), np.float32),
        np.array(descriptors, np.float32).reshape(-1, 2),
    )


def test_agreement_counts_keypoints_within_a_pixel_and_compares_their_descriptors() -> None:
    reference = features([(10, 10), (20, 20), (30, 30), (40, 40)], [(1, 0)] * 4)
    other = features([(40.9, 40), (10, 10.5), (21, 20), (90, 90)], [(0.8, 0.6), (1, 0), (0, 1), (0, 1)])
    assert agreement(reference, other) == pytest.approx((0.5, 0.9))
    assert agreement(reference, reference) == (1, 1)


def test_nothing_agrees_with_nothing_only() -> None:
    nothing, something = features([], []), features([(1, 1)], [(1, 0)])
    assert [agreement(nothing, nothing)[0], agreement(something, nothing)[0], agreement(nothing, something)[0]] == [
        1,
        0,
        0,
    ]


def test_the_command_compares_all_precisions_with_fp32(tmp_path, capsys) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("skimage")
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (2, 120, 160), np.uint8))
    arguments = ["--images", str(tmp_path / "images.npy"), "--pairs", "2", "--sizes", "96x128", "--max-keypoints", "50"]
    assert main(["evaluate", "precision", *arguments, "--output", str(tmp_path)]) == 0
    summaries = {one["name"]: one for one in json.loads((tmp_path / "precision.json").read_text())["summaries"]}
    assert {"torch fp32", "openvino fp32", "openvino int8"} <= set(summaries)
    assert summaries["torch fp32"]["overlap"] == 1
    assert summaries["openvino fp32"]["overlap"] > 0.99
    assert summaries["openvino fp32"]["cosine"] == pytest.approx(1, abs=1e-4)
    assert 0.3 < summaries["openvino int8"]["overlap"] <= 1
    assert "| 96x128 | openvino int8 | 2 |" in capsys.readouterr().out

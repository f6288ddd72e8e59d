"""The benchmark runs every contestant in every setting and says how they compare."""

import json
from importlib.util import find_spec

import cv2
import numpy as np
import pytest

from superpoint_ros.__main__ import main
from superpoint_ros.evaluation.speed import benchmark

pytest.importorskip("skimage")


def test_benchmark_times_all_contestants(tmp_path, capsys) -> None:
    arguments = [
        "--weights",
        "random",
        "--rounds",
        "2",
        "--sizes",
        "64x96",
        "72x96",
        "--batches",
        "1",
        "2",
        "--threads",
        "1",
    ]
    assert main(["benchmark", *arguments, "--max-keypoints", "50", "--output", str(tmp_path)]) == 0
    timings = json.loads((tmp_path / "speed.json").read_text())["timings"]
    names = {timing["name"] for timing in timings}
    assert {"ours, torch fp32", "OpenCV SIFT", "OpenCV ORB"} <= names
    settings = [timing["setting"] for timing in timings if timing["name"] == "OpenCV ORB"]
    assert [(each["height"], each["batch"]) for each in settings] == [(64, 1), (72, 1), (64, 2)]  # one at a time
    assert len(timings) == len(settings) * len(names)
    for timing in timings:
        assert timing["milliseconds"] > 0
        ours = {"preprocessing", "network", "decoding"} if timing["name"].startswith("ours") else set()
        assert timing["stages"].keys() == ours and all(value > 0 for value in timing["stages"].values())
        if "transformers" in names:
            assert timing["ratios"] == sorted(timing["ratios"])
    assert (tmp_path / "speed.png").is_file() == bool(find_spec("matplotlib"))
    assert (tmp_path / "speed.md").read_text().startswith(capsys.readouterr().out.strip()[:20])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--sizes", "640"], "HEIGHTxWIDTH"),
        (["--images", "/nowhere"], "no photographs"),
        (["--peer", "caffe:/nowhere"], "one of lightglue, rpautrat, aliked, disk, got 'caffe'"),
        (["--peer", "rpautrat:/nowhere"], "cannot be imported from /nowhere"),
    ],
)
def test_bad_arguments_are_named(tmp_path, capsys, option, message) -> None:
    assert main(["benchmark", "--weights", "random", "--output", str(tmp_path / "out"), *option]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unusable_output_is_named_before_anything_is_timed(monkeypatch, capsys) -> None:
    monkeypatch.setattr(benchmark, "make_contestants", lambda *_: [])
    monkeypatch.setattr(benchmark, "time_contestants", lambda *_: pytest.fail("timed before --output was tried"))
    assert main(["benchmark", "--weights", "random", "--output", "/proc/nope"]) == 1
    assert "/proc/nope: must be a folder that can be written to" in capsys.readouterr().err


def test_photographs_are_read_as_stored_whatever_their_orientation_tag_says(tmp_path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow writes the orientation tag")
    tag = pillow.Exif()
    tag[0x0112] = 6  # to be turned clockwise for viewing
    pillow.fromarray(np.zeros((300, 400, 3), np.uint8)).save(tmp_path / "tagged.jpg", exif=tag)
    assert cv2.imread(str(tmp_path / "tagged.jpg")).shape[:2] == (400, 300)
    (image,) = benchmark._read_photographs(tmp_path)
    assert image.shape == (300, 400, 3)

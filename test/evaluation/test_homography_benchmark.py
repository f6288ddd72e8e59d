"""The whole benchmark on pairs with known answers."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from superpoint_ros.evaluation.datasets import ImagePair
from superpoint_ros.evaluation.detectors import OpenCVDetector, classical_detector, installed_detectors
from superpoint_ros.evaluation.homography_benchmark import (
    HomographyProtocol,
    HomographyResult,
    measure_pair,
    run_homography_benchmark,
    summarize,
)

SHAPE = (240, 320)
PROTOCOL = HomographyProtocol(shapes=(SHAPE,), max_keypoints=(300,))
EVERY = [classical_detector(key) for key in installed_detectors()]


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(size=(60, 80)).astype(np.float32)
    return np.uint8(np.clip(cv2.resize(noise, SHAPE[::-1], interpolation=cv2.INTER_CUBIC), 0, 1) * 255)


def pair_of(image0: np.ndarray, image1: np.ndarray, homography: np.ndarray, category: str = "viewpoint") -> ImagePair:
    return ImagePair(category, "scene", category, image0, image1, homography)


def names(detector: OpenCVDetector) -> str:
    return detector.name


@pytest.mark.parametrize("detector", EVERY, ids=names)
def test_the_same_image_twice_is_perfect(detector: OpenCVDetector) -> None:
    result = measure_pair(detector, pair_of(texture(0), texture(0), np.eye(3)), 300, PROTOCOL)
    assert (result.repeatability, result.localization_error) == (1, 0)
    assert result.matching_accuracy[0] > 0.95
    assert result.corner_error < 0.01


@pytest.mark.parametrize("detector", EVERY, ids=names)
def test_half_a_turn_is_an_exact_homography(detector: OpenCVDetector) -> None:
    turn = np.array([[-1.0, 0, 319], [0, -1, 239], [0, 0, 1]])
    image = texture(0)
    result = measure_pair(detector, pair_of(image, np.ascontiguousarray(image[::-1, ::-1]), turn), 300, PROTOCOL)
    assert result.repeatability > 0.8
    assert result.matching_accuracy[2] > 0.8
    assert result.matching_score > 0.5
    assert result.corner_error < 1.5


@pytest.mark.parametrize("detector", EVERY, ids=names)
def test_images_of_different_things_fail(detector: OpenCVDetector) -> None:
    result = measure_pair(detector, pair_of(texture(0), texture(1), np.eye(3)), 300, PROTOCOL)
    assert result.matches > 20
    assert result.matching_accuracy[2] < 0.05
    assert result.matching_score < 0.05
    assert result.corner_error > 10


@pytest.mark.parametrize("detector", EVERY, ids=names)
def test_nothing_to_see_counts_as_failure(detector: OpenCVDetector) -> None:
    empty = np.zeros(SHAPE, np.uint8)
    for second in (empty, texture(0)):
        result = measure_pair(detector, pair_of(empty, second, np.eye(3)), 300, PROTOCOL)
        assert (result.matches, result.repeatability, result.matching_score, result.matching_accuracy[2]) == (
            0,
            0,
            0,
            0,
        )
        assert np.isnan(result.localization_error)
        assert np.isinf(result.corner_error)


def test_no_detector_gets_more_keypoints_than_allowed() -> None:
    for detector in EVERY:
        assert measure_pair(detector, pair_of(texture(0), texture(0), np.eye(3)), 40, PROTOCOL).keypoints == 40


class TwoPairs:
    """A good one, and one that cannot be matched."""

    description = "two pairs"

    def __len__(self) -> int:
        return 2

    def pairs(self, shape: tuple[int, int]) -> Iterator[ImagePair]:
        first, second = (cv2.resize(texture(seed), shape[::-1]) for seed in (0, 1))
        yield pair_of(first, first, np.eye(3), "viewpoint")
        yield pair_of(first, second, np.eye(3), "illumination")


def test_every_detector_size_and_category_is_summed_up() -> None:
    protocol = HomographyProtocol(shapes=((120, 160), SHAPE), max_keypoints=(100, 300))
    detectors = [classical_detector("sift"), classical_detector("orb")]
    results = run_homography_benchmark(TwoPairs(), detectors, protocol)
    assert len(results) == 2 * 2 * 2
    summaries = {(s.shape, s.category, s.detector): s for s in summarize(results)}
    assert len(summaries) == 2 * 3 * 2
    for shape in protocol.shapes:
        for name in ("SIFT", "ORB"):
            good, bad, both = (summaries[shape, category, name] for category in ("viewpoint", "illumination", "all"))
            assert good.homography_accuracy == (1, 1, 1)
            assert bad.homography_accuracy == (0, 0, 0)
            assert both.homography_accuracy == (0.5, 0.5, 0.5)
            assert (good.pairs, bad.pairs, both.pairs) == (1, 1, 2)


def result_with(localization_error: float, corner_error: float, accuracy: float) -> HomographyResult:
    return HomographyResult(
        "D", SHAPE, "p", "scene", "viewpoint", 10, 5, 0.5, localization_error, (accuracy,) * 10, 0.25, corner_error
    )


def test_averages_by_hand() -> None:
    results = [result_with(1.0, 0.5, 1.0), result_with(np.nan, np.inf, 0.0), result_with(2.0, 4.0, 0.5)]
    (summary,) = summarize(results)
    assert summary.category == "viewpoint"
    assert summary.localization_error == 1.5  # of those where anything was repeated
    assert summary.matching_accuracy == (0.5, 0.5, 0.5)
    assert summary.homography_accuracy == pytest.approx((1 / 3, 1 / 3, 2 / 3))


def test_nothing_repeated_anywhere_leaves_the_localisation_error_open() -> None:
    (summary,) = summarize([result_with(np.nan, np.inf, 0.0)])
    assert np.isnan(summary.localization_error)

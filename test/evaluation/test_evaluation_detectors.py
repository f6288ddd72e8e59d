"""Detectors behind the common protocol."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpoint_ros.evaluation.detectors import (
    LocalFeatures,
    SuperPointDetector,
    classical_detector,
    installed_detectors,
    match_features,
    suppress_neighbours,
)
from superpoint_ros.superpoint import SuperPointExtractor


def blobs(seed: int = 0, shape: tuple[int, int] = (240, 320)) -> np.ndarray:
    """Bright and dark rectangles on grey, something for every detector."""
    rng = np.random.default_rng(seed)
    image = np.full(shape, 128, np.uint8)
    for _ in range(80):
        x, y = rng.integers(0, shape[::-1])
        width, height = rng.integers(5, 40, 2)
        cv2.rectangle(image, (int(x), int(y)), (int(x + width), int(y + height)), int(rng.integers(256)), -1)
    return cv2.GaussianBlur(image, (0, 0), 1)


def detectors() -> list:
    extractor = SuperPointExtractor.from_pretrained("random", device="cpu", max_keypoints=-1)
    return [SuperPointDetector("SuperPoint", extractor), *map(classical_detector, installed_detectors())]


@pytest.mark.parametrize("detector", detectors(), ids=lambda detector: detector.name)
def test_features_are_of_one_form(detector) -> None:
    features = detector.detect(blobs())
    count = len(features)
    assert count > 50
    assert features.keypoints.shape == (count, 2)
    assert features.scores.shape == (count,)
    assert len(features.descriptors) == count
    assert (np.diff(features.scores) <= 0).all()
    assert (features.keypoints >= -0.5).all()
    assert (features.keypoints <= (319.5, 239.5)).all()
    if detector.norm == "l2":
        np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1, atol=1e-4)
    else:
        assert features.descriptors.dtype == np.uint8
    assert detector.description


@pytest.mark.parametrize("detector", detectors(), ids=lambda detector: detector.name)
def test_an_image_matches_itself(detector) -> None:
    features = detector.detect(blobs()).best(200)
    matches = match_features(features, features, detector.norm)
    distances = np.linalg.norm(np.diff(features.keypoints[matches.indices], axis=1)[:, 0], axis=1)
    assert len(matches) > 0.8 * len(features)
    assert (distances == 0).mean() > 0.95  # several keypoints in one place may swap partners


@pytest.mark.parametrize("key", installed_detectors())
def test_an_empty_image_has_no_features(key: str) -> None:
    detector = classical_detector(key)
    nothing, something = detector.detect(np.zeros((240, 320), np.uint8)), detector.detect(blobs())
    assert len(nothing) == 0
    assert len(match_features(nothing, something, detector.norm)) == 0


def test_binary_matches_are_mutual() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (50, 32), np.uint8)
    order = rng.permutation(50)
    first, second = (
        LocalFeatures(np.zeros((50, 2), np.float32), np.ones(50, np.float32), c) for c in (codes, codes[order])
    )
    matches = match_features(first, second, "hamming")
    np.testing.assert_array_equal(order[matches.indices[:, 1]], matches.indices[:, 0])
    assert (matches.distances == 0).all()


def test_an_unknown_detector_is_named_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"'surf'; installed are .*sift"):
        classical_detector("surf")


@given(seed=st.integers(0, 2**32 - 1), radius=st.just(0.0) | st.floats(0.5, 20), count=st.integers(0, 60))
def test_suppression_keeps_the_best_that_are_far_apart(seed: int, radius: float, count: int) -> None:
    points = np.random.default_rng(seed).uniform(0, 100, (60, 2)).astype(np.float32)
    kept = suppress_neighbours(points, radius, count)
    expected: list[np.ndarray] = []
    for point in points.astype(float):
        if len(expected) < count and all(np.abs(point - other).max() > radius for other in expected):
            expected.append(point)
    np.testing.assert_array_equal(kept, np.array(expected, np.float32).reshape(-1, 2))

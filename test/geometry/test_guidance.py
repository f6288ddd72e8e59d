"""Guided matching: masks against plain geometry, and what they do to matches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpoint_ros.geometry import (
    RECTIFIED_STEREO,
    match_descriptors,
    near_epipolar_lines,
    near_predictions,
    warp_points,
)

SEEDS = st.integers(0, 2**32 - 1)
HOMOGRAPHY = np.array([[1.1, 0.1, 5.0], [-0.1, 0.9, 20.0], [1e-4, 2e-4, 1.0]])


def random_points(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 640, (count, 2)).astype(np.float32)


def random_descriptors(seed: int, count: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 32)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def two_views(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the fundamental matrix of two cameras and the pixels of the same points in both."""
    generator = np.random.default_rng(seed)
    intrinsics = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
    points = generator.uniform((-2, -2, 4), (2, 2, 8), (20, 3))
    translation = generator.normal(size=3)
    angle = generator.uniform(-0.2, 0.2)
    rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    x, y, z = translation
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ rotation
    inverse = np.linalg.inv(intrinsics)
    views = [camera @ intrinsics.T for camera in (points, points @ rotation.T + translation)]
    return inverse.T @ essential @ inverse, *(view[:, :2] / view[:, 2:] for view in views)


@given(seed=SEEDS, count0=st.integers(0, 20), count1=st.integers(0, 20), radius=st.floats(0, 300, width=32))
def test_near_predictions_equals_plain_distances(seed: int, count0: int, count1: int, radius: float) -> None:
    predicted, keypoints = random_points(seed, count0), random_points(seed + 1, count1)
    distances = np.linalg.norm(predicted[:, None].astype(float) - keypoints[None], axis=2)
    clear = np.abs(distances - radius) > 1e-3
    for radii in (radius, np.full(count0, radius)):
        near = near_predictions(predicted, keypoints, radii)
        assert near.shape == (count0, count1) and near.dtype == bool
        np.testing.assert_array_equal(near[clear], (distances <= radius)[clear])


def test_each_prediction_can_have_a_radius_and_one_without_a_place_has_no_candidates() -> None:
    predicted, keypoints = [[0, 0], [0, 0], [np.nan, 0]], [[3, 4], [6, 8]]
    near = near_predictions(predicted, keypoints, [5.0, 10.0, 1e9])
    np.testing.assert_array_equal(near, [[True, False], [True, True], [False, False]])


@given(seed=SEEDS)
def test_partners_lie_on_their_epipolar_lines(seed: int) -> None:
    fundamental, pixels0, pixels1 = two_views(seed)
    assert near_epipolar_lines(pixels0, pixels1, fundamental, 1e-3).diagonal().all()
    np.testing.assert_array_equal(  # whatever the scale of the matrix
        near_epipolar_lines(pixels0, pixels1, fundamental, 2.0),
        near_epipolar_lines(pixels0, pixels1, -7 * fundamental, 2.0),
    )


@given(seed=SEEDS, distance=st.floats(0, 100))
def test_partners_in_a_rectified_pair_lie_in_the_same_row(seed: int, distance: float) -> None:
    left, right = random_points(seed, 10), random_points(seed + 1, 15)
    offsets = np.abs(np.subtract.outer(left[:, 1].astype(float), right[:, 1].astype(float)))
    near = near_epipolar_lines(left, right, RECTIFIED_STEREO, distance)
    clear = np.abs(offsets - distance) > 1e-6
    np.testing.assert_array_equal(near[clear], (offsets <= distance)[clear])


@given(seed=SEEDS, radius=st.floats(1, 50))
def test_guided_matches_are_near_and_none_is_lost_that_was_right(seed: int, radius: float) -> None:
    keypoints0 = random_points(seed, 30)
    predicted = warp_points(keypoints0, HOMOGRAPHY)
    order = np.random.default_rng(seed).permutation(30)
    keypoints1 = predicted[order]
    descriptors0, noise = random_descriptors(seed, 30), random_descriptors(seed + 1, 30)
    descriptors1 = descriptors0[order] + 1.5 * noise  # so noisy that some find wrong partners
    descriptors1 /= np.linalg.norm(descriptors1, axis=1, keepdims=True)

    def right(matches: np.ndarray) -> set[tuple[int, int]]:
        return {(i, j) for i, j in matches.tolist() if order[j] == i}

    free = match_descriptors(descriptors0, descriptors1).indices
    candidates = near_predictions(predicted, keypoints1, radius)
    guided = match_descriptors(descriptors0, descriptors1, candidates=candidates).indices
    assert candidates[guided[:, 0], guided[:, 1]].all()
    assert right(free) <= right(guided)


@pytest.mark.parametrize("counts", [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_guide(counts: tuple[int, int]) -> None:
    first, second = (np.empty((count, 2), np.float32) for count in counts)
    assert near_predictions(first, second, 1.0).shape == counts
    assert near_epipolar_lines(first, second, RECTIFIED_STEREO, 1.0).shape == counts

"""Metrics against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpoint_ros.evaluation.metrics import (
    inside,
    match_errors,
    matching_score,
    pose_auc,
    repeatability,
    share_within,
)
from superpoint_ros.geometry import Matches

SHAPE = (100, 200)
SHIFT_50 = np.array([[1.0, 0, 50], [0, 1, 0], [0, 0, 1]])


def matches_of(*pairs: tuple[int, int]) -> Matches:
    return Matches(np.array(pairs, np.int64).reshape(-1, 2), np.zeros(len(pairs), np.float32))


def random_points(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform((0, 0), (199, 99), (count, 2))


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 50))
def test_identical_keypoints_repeat_fully(seed: int, count: int) -> None:
    points = random_points(seed, count)
    result = repeatability(points, points, np.eye(3), SHAPE)
    assert (result.ratio, result.error) == (1.0, 0.0)


@given(seed=st.integers(0, 2**32 - 1))
def test_repeatability_does_not_depend_on_the_order_of_the_images(seed: int) -> None:
    first, second = random_points(seed, 30), random_points(seed + 1, 20)
    forward = repeatability(first, second, SHIFT_50, SHAPE)
    backward = repeatability(second, first, np.linalg.inv(SHIFT_50), SHAPE)
    assert forward.ratio == backward.ratio
    assert forward.error == pytest.approx(backward.error, nan_ok=True)


def test_repeatability_by_hand() -> None:
    # The first lands 2 px beside its partner, the second on no partner, the third outside: 2 of 4 in the shared area.
    points0 = [[10, 10], [100, 50], [190, 50]]
    # The first is the partner, the second has none, the third comes from outside.
    points1 = [[62, 10], [80, 90], [20, 20]]
    result = repeatability(points0, points1, SHIFT_50, SHAPE)
    assert result.ratio == pytest.approx(2 / 4)
    assert result.error == pytest.approx(2)
    assert repeatability(points0, points1, SHIFT_50, SHAPE, max_distance=1.9).ratio == 0


def test_distances_are_measured_in_the_image_looked_at() -> None:
    # Under magnification by two, a partner 2 px off in the first image is 4 px off in the second.
    double = np.diag([2.0, 2.0, 1.0])
    result = repeatability([[20, 20]], [[44, 40]], double, SHAPE, max_distance=3)
    assert (result.ratio, result.error) == (0.5, 2.0)


@pytest.mark.parametrize("points0", [np.empty((0, 2)), np.array([[5.0, 5.0]])])
@pytest.mark.parametrize("points1", [np.empty((0, 2)), np.array([[150.0, 50.0]])])
def test_no_common_keypoints_do_not_repeat(points0: np.ndarray, points1: np.ndarray) -> None:
    result = repeatability(points0, points1, np.eye(3), SHAPE)
    assert result.ratio == 0
    assert np.isnan(result.error)


def test_inside_reaches_to_the_edge_of_the_outer_pixels() -> None:
    points = np.array([[-0.5, 0], [-0.6, 0], [199.5, 99.5], [199.6, 0], [0, 99.6], [np.nan, 0], [np.inf, 0]])
    assert inside(points, SHAPE).tolist() == [True, False, True, False, False, False, False]


def test_match_errors_by_hand() -> None:
    points0, points1 = np.array([[0.0, 0], [10, 10]]), np.array([[63.0, 14], [50, 0]])
    errors = match_errors(points0, points1, matches_of((0, 1), (1, 0)), SHIFT_50)
    np.testing.assert_allclose(errors, [0, 5])


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([(0, 0), (1, 1)], (1 / 2 + 1 / 3) / 2),  # one correct, one wrong; two and three keypoints shared
        ([(0, 0), (2, 2)], (1 / 2 + 1 / 3) / 2),  # the third keypoint of the first image is not shared
        ([(1, 1)], 0),
        ([], 0),
    ],
)
def test_matching_score_by_hand(pairs: list[tuple[int, int]], expected: float) -> None:
    points0 = np.array([[10.0, 10], [100, 50], [151, 50]])
    points1 = np.array([[60.0, 11], [80, 90], [199, 50]])
    assert matching_score(points0, points1, matches_of(*pairs), SHIFT_50, SHAPE) == pytest.approx(expected)


def test_matching_score_without_keypoints_is_zero() -> None:
    assert matching_score(np.empty((0, 2)), np.empty((0, 2)), matches_of(), np.eye(3), SHAPE) == 0


def test_share_within_by_hand() -> None:
    assert share_within([0.5, 1.0, 2.0, np.inf, np.nan], (0.4, 1.0, 3.0)) == (0.0, 0.4, 0.6)
    assert share_within([], (1.0, 3.0)) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([0.0], 1.0),
        ([10.0], 0.0),  # not below the threshold
        ([np.inf, np.nan], 0.0),
        ([], 0.0),
        ([5.0], 0.75),  # rises from (0, 0) to (5, 1): area 2.5, then level: 5
        ([5.0, np.inf], 0.375),  # the same at half the height
        ([2.0, 4.0], 0.8),  # triangle 0.5, trapezium 1.5, level 6
        ([4.0, 2.0], 0.8),
    ],
)
def test_pose_auc_at_ten_degrees_by_hand(errors: list[float], expected: float) -> None:
    assert pose_auc(errors, (10.0,)) == (pytest.approx(expected),)


@given(errors=st.lists(st.floats(0, 200), min_size=1, max_size=30))
def test_pose_auc_is_a_share_that_grows_with_the_threshold(errors: list[float]) -> None:
    areas = pose_auc(errors, (5.0, 10.0, 20.0))
    assert all(0 <= area <= 1 for area in areas)
    recalls = share_within(errors, (5.0, 10.0, 20.0))
    assert all(area <= recall + 1e-9 for area, recall in zip(areas, recalls))


def test_pose_auc_of_perfect_poses_is_one() -> None:
    assert pose_auc([0.0] * 7, (5.0, 10.0, 20.0)) == (1.0, 1.0, 1.0)

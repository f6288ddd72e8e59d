"""Homographies with known answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from superpoint_ros.geometry import corner_error, estimate_homography, estimate_relative_pose, warp_points

WIDTH, HEIGHT = 320, 240


def random_homography(rng: np.random.Generator) -> np.ndarray:
    """Scale 0.6..1.6, any rotation, shift up to 100 px, mild perspective: invertible on the whole image."""
    angle, scale = rng.uniform(-np.pi, np.pi), rng.uniform(0.6, 1.6)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    shift, tilt = rng.uniform(-100, 100, 2), rng.uniform(-5e-4, 5e-4, 2)
    return np.array([[cosine, -sine, shift[0]], [sine, cosine, shift[1]], [*tilt, 1]])


def random_points(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.uniform((0, 0), (WIDTH - 1, HEIGHT - 1), (count, 2))


seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@given(rng=seeds)
def test_warp_then_inverse_is_the_identity(rng: np.random.Generator) -> None:
    matrix, points = random_homography(rng), random_points(rng, 50)
    np.testing.assert_allclose(warp_points(warp_points(points, matrix), np.linalg.inv(matrix)), points, atol=1e-6)


@given(rng=seeds, factor=st.floats(-5, 5))
def test_the_scale_of_a_homography_does_not_matter(rng: np.random.Generator, factor: float) -> None:
    assume(abs(factor) > 0.01)
    matrix, points = random_homography(rng), random_points(rng, 10)
    np.testing.assert_allclose(warp_points(points, factor * matrix), warp_points(points, matrix), atol=1e-6)
    assert corner_error(factor * matrix, matrix, WIDTH, HEIGHT) < 1e-6


def test_a_point_at_infinity_is_not_finite() -> None:
    assert not np.isfinite(warp_points([[1.0, 0.0]], [[1, 0, 0], [0, 1, 0], [-1, 0, 1]])).any()


@given(rng=seeds)
def test_exact_matches_give_the_exact_homography(rng: np.random.Generator) -> None:
    matrix, points = random_homography(rng), random_points(rng, 60)
    estimate = estimate_homography(points, warp_points(points, matrix))
    assert estimate is not None
    assert estimate.inliers.all()
    assert corner_error(estimate.matrix, matrix, WIDTH, HEIGHT) < 1e-2


def test_half_of_the_matches_may_be_wrong() -> None:
    rng = np.random.default_rng(0)
    matrix, points = random_homography(rng), random_points(rng, 200)
    targets = warp_points(points, matrix) + rng.normal(scale=0.3, size=points.shape)
    targets[100:] = random_points(rng, 100)
    estimate = estimate_homography(points, targets)
    assert estimate is not None
    assert estimate.inliers[:100].mean() > 0.95
    assert estimate.inliers[100:].mean() < 0.05
    assert corner_error(estimate.matrix, matrix, WIDTH, HEIGHT) < 1


@pytest.mark.parametrize("seed", range(5))
def test_random_matches_do_not_look_like_a_homography(seed: int) -> None:
    rng = np.random.default_rng(seed)
    estimate = estimate_homography(random_points(rng, 100), random_points(rng, 100))
    assert estimate is None or estimate.inliers.mean() < 0.2


def test_the_same_input_gives_the_same_result() -> None:
    rng = np.random.default_rng(3)
    points, targets = random_points(rng, 100), random_points(rng, 100)
    targets[:30] = points[:30]
    first, second = estimate_homography(points, targets), estimate_homography(points, targets)
    assert first is not None and second is not None
    np.testing.assert_array_equal(first.matrix, second.matrix)
    np.testing.assert_array_equal(first.inliers, second.inliers)


@pytest.mark.parametrize("count", range(4))
def test_fewer_than_four_matches_give_none(count: int) -> None:
    points = random_points(np.random.default_rng(0), count)
    assert estimate_homography(points, points) is None


@pytest.mark.parametrize(
    "points",
    [np.full((10, 2), 7.0), np.stack([np.arange(10.0), 2 * np.arange(10.0)], axis=1)],
    ids=["one point", "one line"],
)
def test_degenerate_matches_do_not_crash(points: np.ndarray) -> None:
    estimate = estimate_homography(points, points + 1)
    assert estimate is None or np.isfinite(estimate.matrix).all()


@pytest.mark.parametrize(
    ("points0", "points1"),
    [
        (np.zeros((5, 2)), np.zeros((4, 2))),
        (np.zeros((5, 3)), np.zeros((5, 3))),
        (np.zeros((5, 2)), np.full((5, 2), np.nan)),
    ],
)
def test_points_that_are_no_pairs_are_refused(points0: np.ndarray, points1: np.ndarray) -> None:
    with pytest.raises(ValueError, match="matched points"):
        estimate_homography(points0, points1)


@pytest.mark.parametrize(
    ("estimated", "expected"),
    [
        (np.eye(3), 0.0),
        ([[1, 0, 3], [0, 1, 4], [0, 0, 1]], 5.0),  # a shift moves every corner alike
        (np.diag([2, 1, 1]), (WIDTH - 1) / 2),  # the two right corners move by the width, the left ones stay
        (np.diag([1, 1, 0]), np.inf),
    ],
)
def test_corner_error_by_hand(estimated: np.ndarray, expected: float) -> None:
    error = corner_error(estimated, np.eye(3), WIDTH, HEIGHT)
    assert error == pytest.approx(expected) or (np.isinf(expected) and not np.isfinite(error))


@pytest.mark.parametrize("max_error", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("estimate", [estimate_homography, estimate_relative_pose])
def test_an_impossible_error_is_refused(estimate: Callable[..., object], max_error: float) -> None:
    points = np.random.default_rng(0).uniform(size=(20, 2))
    with pytest.raises(ValueError, match="max_error must be a positive number"):
        estimate(points, points, max_error=max_error)

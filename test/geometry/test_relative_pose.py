"""Relative pose from simulated cameras, and angles with known answers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpoint_ros.geometry import estimate_relative_pose, normalize_points, rotation_error, translation_error

FOCAL = 500.0
INTRINSICS = np.array([[FOCAL, 0, 320], [0, FOCAL, 240], [0, 0, 1]])
PIXEL = 1 / FOCAL


def rotation(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    unit = np.array(axis) / np.linalg.norm(axis)
    return cv2.Rodrigues(np.radians(degrees) * unit)[0]


def two_views(rng: np.random.Generator, count: int = 150) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Normalised points of random scene points 4 to 12 m away, rotation, and translation by 0.5 to 1 m."""
    turn = rotation(tuple(rng.normal(size=3)), rng.uniform(0, 15))
    shift = rng.normal(size=3)
    shift *= rng.uniform(0.5, 1) / np.linalg.norm(shift)
    scene = rng.uniform((-3, -2, 4), (3, 2, 12), (count, 3))
    moved = scene @ turn.T + shift
    return scene[:, :2] / scene[:, 2:], moved[:, :2] / moved[:, 2:], turn, shift


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_exact_matches_give_the_pose(seed: int) -> None:
    points0, points1, turn, shift = two_views(np.random.default_rng(seed))
    pose = estimate_relative_pose(points0, points1, max_error=PIXEL)
    assert pose is not None
    assert rotation_error(pose.rotation, turn) < 0.1
    assert translation_error(pose.translation, shift) < 1
    assert np.linalg.norm(pose.translation) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_a_third_of_the_matches_may_be_wrong(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points0, points1, turn, shift = two_views(rng, 300)
    points1 += rng.normal(scale=0.3 * PIXEL, size=points1.shape)
    points1[200:] = rng.uniform(-0.6, 0.6, (100, 2))
    pose = estimate_relative_pose(points0, points1, max_error=1.5 * PIXEL)
    assert pose is not None
    assert rotation_error(pose.rotation, turn) < 1
    assert translation_error(pose.translation, shift) < 5
    assert pose.inliers[:200].mean() > 0.9
    assert pose.inliers[200:].mean() < 0.2


@pytest.mark.parametrize("baselines", [10, 60, 100])
def test_points_many_baselines_away_count(baselines: float) -> None:
    rng = np.random.default_rng(0)
    scene = baselines * rng.uniform((-0.6, -0.4, 0.8), (0.6, 0.4, 1.3), (300, 3))
    moved = scene + (1, 0, 0)
    pose = estimate_relative_pose(scene[:, :2] / scene[:, 2:], moved[:, :2] / moved[:, 2:], max_error=PIXEL)
    assert pose is not None
    assert pose.inliers.all()
    assert rotation_error(pose.rotation, np.eye(3)) < 0.1
    assert translation_error(pose.translation, (1, 0, 0)) < 3


@pytest.mark.parametrize("seed", range(5))
def test_hardly_any_outlier_agrees_with_the_pose_of_outliers(seed: int) -> None:
    points0, points1 = np.random.default_rng(seed).uniform(-0.6, 0.6, (2, 200, 2))
    pose = estimate_relative_pose(points0, points1, max_error=PIXEL)
    assert pose is None or pose.inliers.mean() < 0.15


def test_the_same_input_gives_the_same_result() -> None:
    rng = np.random.default_rng(1)
    points0, points1, _, _ = two_views(rng)
    points1[::2] = rng.uniform(-0.6, 0.6, points1[::2].shape)
    first, second = (estimate_relative_pose(points0, points1, max_error=PIXEL) for _ in range(2))
    assert first is not None and second is not None
    np.testing.assert_array_equal(first.essential_matrix, second.essential_matrix)


@pytest.mark.parametrize("count", range(5))
def test_fewer_than_five_matches_give_none(count: int) -> None:
    points0, points1, _, _ = two_views(np.random.default_rng(0), count)
    assert estimate_relative_pose(points0, points1, max_error=PIXEL) is None


@pytest.mark.parametrize(
    "points",
    [np.full((10, 2), 0.1), np.stack([np.linspace(-0.3, 0.3, 10), np.linspace(-0.2, 0.2, 10)], axis=1)],
    ids=["one point", "one line"],
)
def test_degenerate_matches_do_not_crash(points: np.ndarray) -> None:
    pose = estimate_relative_pose(points, points, max_error=PIXEL)
    assert pose is None or np.isfinite(pose.rotation).all()


@given(seed=st.integers(0, 2**32 - 1))
def test_normalising_undoes_the_projection(seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-0.4, 0.4, (20, 2))
    distortion = np.array([-0.2, 0.05, 0.001, -0.001, 0.0])
    pixels = cv2.projectPoints(np.c_[points, np.ones(20)], np.zeros(3), np.zeros(3), INTRINSICS, distortion)[0][:, 0]
    np.testing.assert_allclose(normalize_points(pixels, INTRINSICS, distortion), points, atol=1e-4)
    np.testing.assert_allclose(normalize_points(points * FOCAL + (320, 240), INTRINSICS), points, atol=1e-9)


def test_normalising_no_points_gives_no_points() -> None:
    assert normalize_points(np.empty((0, 2)), INTRINSICS).shape == (0, 2)


@given(degrees=st.floats(0, 180), seed=st.integers(0, 2**32 - 1))
def test_rotation_error_is_the_angle_of_the_difference(degrees: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    base = rotation(tuple(rng.normal(size=3)), rng.uniform(0, 180))
    turned = base @ rotation(tuple(rng.normal(size=3)), degrees)
    assert rotation_error(base, turned) == pytest.approx(degrees, abs=1e-4)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((1, 0, 0), (1, 0, 0), 0),
        ((1, 0, 0), (0, 2, 0), 90),
        ((1, 0, 0), (-3, 0, 0), 180),
        ((1, 0, 0), (1, 1, 0), 45),
        ((1, 0, 0), (0, 0, 0), np.nan),
    ],
)
def test_translation_error_by_hand(first: tuple, second: tuple, expected: float) -> None:
    assert translation_error(first, second) == pytest.approx(expected, nan_ok=True)

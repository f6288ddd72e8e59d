"""Views matched and their geometry, against scenes with a known answer."""

from __future__ import annotations

import numpy as np
import pytest

from superpoint_ros.geometry import CameraModel, ModelMismatchError, warp_points
from superpoint_ros.matching import MatchOptions, View, match_views

HOMOGRAPHY = np.array([[1.05, 0.05, 8.0], [-0.05, 0.95, 12.0], [5e-5, 2e-5, 1.0]])
CAMERA = CameraModel(np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), "plumb_bob", np.zeros(5), (640, 480))


def views(keypoints0: np.ndarray, keypoints1: np.ndarray, wrong: int, camera: CameraModel | None = None) -> list[View]:
    """Return views with equal descriptors for partners, the last `wrong` of which are assigned in a circle."""
    descriptors = np.random.default_rng(0).normal(size=(len(keypoints0), 64)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    other = descriptors.copy()
    if wrong:
        other[-wrong:] = np.roll(descriptors[-wrong:], 1, axis=0)
    return [
        View(keypoints.astype(np.float32), values, "weights@1", camera)
        for keypoints, values in ((keypoints0, descriptors), (keypoints1, other))
    ]


@pytest.fixture
def plane() -> list[View]:
    points = np.random.default_rng(1).uniform((0, 0), (640, 480), (100, 2))
    return views(points, warp_points(points, HOMOGRAPHY), wrong=30)


def test_homography_and_its_inliers(plane: list[View]) -> None:
    result = match_views(*plane, MatchOptions(estimate="homography", max_error=1.0))
    assert result.kind == "homography" and len(result.matches) == 100
    np.testing.assert_allclose(result.matrix, HOMOGRAPHY, atol=1e-3)
    assert result.inliers[:70].all() and result.inliers[70:].sum() <= 1


def test_essential_matrix_and_its_inliers() -> None:
    points = np.random.default_rng(1).uniform((-2, -2, 4), (2, 2, 8), (100, 3))
    moved = points + [0.5, 0.1, -0.2]
    pixels = [(500 * each[:, :2] / each[:, 2:] + [320, 240]) for each in (points, moved)]
    result = match_views(*views(*pixels, wrong=30, camera=CAMERA), MatchOptions(estimate="essential", max_error=0.5))
    expected = np.array([[0, 0.2, 0.1], [-0.2, 0, -0.5], [-0.1, 0.5, 0]])
    expected /= np.linalg.norm(expected)
    assert result.matrix is not None
    found = result.matrix / np.linalg.norm(result.matrix)
    np.testing.assert_allclose(found * np.sign((found * expected).sum()), expected, atol=1e-2)
    assert result.inliers[:70].all() and result.inliers[70:].sum() < 10


def test_an_essential_matrix_needs_calibration(plane: list[View]) -> None:
    result = match_views(*plane, MatchOptions(estimate="essential"))
    assert len(result.matches) == 100 and result.matrix is None and not result.inliers.any()


def test_nothing_asked_makes_every_match_count(plane: list[View]) -> None:
    result = match_views(*plane, MatchOptions())
    assert result.kind == "none" and result.matrix is None and result.inliers.all()


@pytest.mark.parametrize("estimate", ["none", "homography", "essential"])
def test_no_keypoints_give_no_matches(estimate: str, plane: list[View]) -> None:
    empty = View(np.empty((0, 2), np.float32), np.empty((0, 64), np.float32), "weights@1", CAMERA)
    for pair in ((empty, plane[0]), (plane[0], empty), (empty, empty)):
        result = match_views(*pair, MatchOptions(estimate=estimate, search_radius=5.0, epipolar_distance=2.0))
        assert len(result.matches) == len(result.inliers) == 0 and result.matrix is None


def test_a_radius_keeps_matches_near_where_motion_predicts_them(plane: list[View]) -> None:
    options = MatchOptions(search_radius=2.0)
    moved = match_views(*plane, options, motion=HOMOGRAPHY)
    assert {(i, i) for i in range(70)} <= set(map(tuple, moved.matches.indices.tolist()))
    offsets = warp_points(plane[0].keypoints[moved.matches.indices[:, 0]], HOMOGRAPHY)
    offsets -= plane[1].keypoints[moved.matches.indices[:, 1]]
    assert np.linalg.norm(offsets, axis=1).max() <= 2.001
    assert len(match_views(*plane, options).matches) < 35  # nearly all have moved further than that


def test_rows_of_a_stereo_pair() -> None:
    left = np.random.default_rng(1).uniform((100, 0), (640, 480), (100, 2))
    pair = views(left, left - np.random.default_rng(2).uniform((10, -0.5), (80, 0.5), (100, 2)), wrong=30)
    result = match_views(*pair, MatchOptions(epipolar_distance=1.0))
    rows, columns = result.matches.indices.T
    assert set(range(70)) <= set(rows[rows == columns].tolist())
    assert np.abs(pair[0].keypoints[rows, 1] - pair[1].keypoints[columns, 1]).max() <= 1.001


def test_different_weights_are_refused(plane: list[View]) -> None:
    other = View(plane[1].keypoints, plane[1].descriptors, "weights@2")
    with pytest.raises(ModelMismatchError, match="'weights@1' and 'weights@2'"):
        match_views(plane[0], other, MatchOptions())

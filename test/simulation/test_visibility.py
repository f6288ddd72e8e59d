"""What cameras see, against what the renderer draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from superpoint_ros.geometry.pose import Pose, rotation_matrix
from superpoint_ros.simulation.flights import Path
from superpoint_ros.simulation.rendering import PinholeCamera, render
from superpoint_ros.simulation.scene import build_room
from superpoint_ros.simulation.visibility import first_hits, shared_view

CAMERA = PinholeCamera(160, 120, 100.0)
ROOM = build_room(0, colour=False)
AT_A_WALL = Pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([1.6, 0.3, 1.5]))
"""Looks along x from so near that it sees nothing but the wall."""


@pytest.mark.parametrize("seed", range(3))
def test_rays_end_on_the_faces_that_are_drawn(seed: int) -> None:
    pose = Path(seed).pose(0.0)
    grey = [replace(face, levels=(np.full((8, 8), index + 1, np.uint8),)) for index, face in enumerate(ROOM)]
    drawn = render(grey, CAMERA, pose, supersampling=1)
    y, x = np.mgrid[: CAMERA.height, : CAMERA.width]
    rays = np.linalg.solve(CAMERA.matrix, np.stack([x.ravel(), y.ravel(), np.ones(x.size)])).T
    hits, distances = first_hits(ROOM, pose, rays)
    assert len(np.unique(hits)) > 2
    assert np.mean(hits + 1 == drawn.ravel()) > 0.998  # but for pixels on edges
    assert (distances > 0.1).all()
    assert (distances < 12).all()


def test_a_ray_that_leaves_meets_nothing() -> None:
    hits, distances = first_hits(ROOM[:1], Pose.identity(), np.array([[0.0, 0, 1]]))
    assert (hits[0], distances[0]) == (-1, np.inf)


def test_what_two_cameras_share() -> None:
    pose = Path(0).pose(0.0)
    same = shared_view(ROOM, CAMERA, pose, pose)
    assert same.overlap > 0.98
    assert 0.2 < same.largest_plane < 1
    assert shared_view(ROOM, CAMERA, AT_A_WALL, AT_A_WALL).largest_plane == 1
    behind = Pose(AT_A_WALL.rotation @ rotation_matrix([0, np.pi, 0]), AT_A_WALL.position)
    assert shared_view(ROOM, CAMERA, AT_A_WALL, behind).overlap == 0
    # At a distance z from a wall, a step aside shows z * width / focal_length less a step's worth of it.
    aside = Pose(AT_A_WALL.rotation, AT_A_WALL.position - [0, 0.56, 0])
    assert shared_view(ROOM, CAMERA, AT_A_WALL, aside).overlap == pytest.approx(1 - 0.56 / (1.4 * 1.6), abs=0.07)

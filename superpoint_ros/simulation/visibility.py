"""Which parts of a room a camera sees, and which two cameras see both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..geometry.pose import Pose
from .rendering import NEAR, PinholeCamera
from .scene import Face

_STEP = 10  # pixels between the rays that stand for an image


@dataclass(frozen=True)
class SharedView:
    """What two cameras see of the same.

    Attributes
    ----------
    overlap : float
        Share, in [0, 1], of the first image that the second one shows too.
    largest_plane : float
        Share, in [0, 1], of that part which lies on a single plane; 1 if there is no such part.
    """

    overlap: float
    largest_plane: float


def shared_view(faces: Sequence[Face], camera: PinholeCamera, first: Pose, second: Pose) -> SharedView:
    """Find out what the same camera sees from both poses, on a grid of rays."""
    x, y = np.meshgrid(np.arange(_STEP / 2, camera.width, _STEP), np.arange(_STEP / 2, camera.height, _STEP))
    pixels = np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    rays = np.linalg.solve(camera.matrix, pixels).T
    seen, depths = first_hits(faces, first, rays)
    rows = np.flatnonzero(seen >= 0)
    local = second.to_body(first.to_reference(rays[rows] * depths[rows, None]))
    rows, local = rows[local[:, 2] > NEAR], local[local[:, 2] > NEAR]
    projected = local @ camera.matrix.T
    u, v = (projected[:, :2] / projected[:, 2:]).T
    inside = (u >= 0) & (u <= camera.width - 1) & (v >= 0) & (v <= camera.height - 1)
    shared = seen[rows[inside & (first_hits(faces, second, local)[0] == seen[rows])]]
    if len(shared) == 0:
        return SharedView(0.0, 1.0)
    return SharedView(len(shared) / x.size, float(np.bincount(shared).max() / len(shared)))


def first_hits(
    faces: Sequence[Face], pose: Pose, rays: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Follow rays from a camera to the first face that they meet.

    Parameters
    ----------
    faces : sequence of Face
        Each is seen from one side only.
    pose : Pose
        Of the camera's frame in the world.
    rays : ndarray, (N, 3)
        Directions in the camera's frame.

    Returns
    -------
    hits : ndarray, (N,), int64
        Index of the face; -1 if there is none.
    distances : ndarray, (N,), float64
        In lengths of the ray; inf if there is none.
    """
    hits, nearness = np.full(len(rays), -1), np.zeros(len(rays))
    for index, face in enumerate(faces):
        plane = np.column_stack([face.across @ pose.rotation, face.down @ pose.rotation, pose.to_body(face.corner)])
        if np.linalg.det(plane) < 1e-9:  # seen from behind or edge-on
            continue
        s, t, near = np.linalg.inv(plane) @ rays.T  # where on the face, and 1, divided by the distance
        met = (near > nearness) & (s >= 0) & (s <= near) & (t >= 0) & (t <= near)
        hits[met], nearness[met] = index, near[met]
    with np.errstate(divide="ignore"):
        return hits, 1 / nearness

"""Draws textured rectangles in correct perspective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..geometry.pose import Pose
from .scene import Face, Image

NEAR = 0.05
"""Metres in front of the camera where the visible space begins."""

_FAR = 1e3


@dataclass(frozen=True)
class PinholeCamera:
    """An ideal camera that looks along +z, x to the right, y down.

    Attributes
    ----------
    width, height : int
        Image size in pixels.
    focal_length : float
        In pixels. The principal point is the image's centre; the centre of the top-left pixel is (0, 0).
    """

    width: int
    height: int
    focal_length: float

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Intrinsic matrix (3, 3)."""
        return np.array(
            [
                [self.focal_length, 0, (self.width - 1) / 2],
                [0, self.focal_length, (self.height - 1) / 2],
                [0, 0, 1],
            ]
        )

    def scaled(self, factor: int) -> PinholeCamera:
        """The same view with `factor` times as many pixels along each axis."""
        return PinholeCamera(self.width * factor, self.height * factor, self.focal_length * factor)


def render(faces: Sequence[Face], camera: PinholeCamera, pose: Pose, supersampling: int = 2) -> Image:
    """Draw what the camera sees.

    Textures are sampled at the resolution that fits each depth, so that nothing flickers; edges are smooth as far as
    `supersampling` goes.

    Parameters
    ----------
    faces : sequence of Face
        In any order: nearer ones hide those behind them. All of one kind, grey or BGR.
    camera : PinholeCamera
    pose : Pose
        Of the camera's frame in the world.
    supersampling : int
        Rays per pixel along each axis, which are averaged.

    Returns
    -------
    ndarray, (height, width) or (height, width, 3), uint8
        Black where there is nothing.
    """
    fine = camera.scaled(supersampling)
    image = np.zeros((fine.height, fine.width, *faces[0].levels[0].shape[2:]), np.uint8)
    nearness = np.zeros((fine.height, fine.width), np.float32)  # 1 / depth, which is linear in the image
    for face in faces:
        _draw(face, fine, pose, image, nearness)
    return np.asarray(cv2.resize(image, (camera.width, camera.height), interpolation=cv2.INTER_AREA), np.uint8)


def _draw(face: Face, camera: PinholeCamera, pose: Pose, image: Image, nearness: NDArray[np.float32]) -> None:
    corner = pose.to_body(face.corner[None])[0]
    across, down = face.across @ pose.rotation, face.down @ pose.rotation
    plane = np.column_stack([across, down, corner])  # takes (s, t, 1) with s, t in [0, 1] to the camera's frame
    if np.linalg.det(plane) < 1e-9:  # seen from behind or edge-on
        return
    plane_to_image = camera.matrix @ plane
    rectangle = np.array([corner, corner + across, corner + across + down, corner + down])
    # A step of one pixel is, at depth z, a step of reach * z ** 1.5 texels (geometric mean over directions). Depths
    # where that is from 1 to 2 get the first level, from 2 to 4 the second and so on; nearer ones the first.
    height, width = face.levels[0].shape[:2]
    reach = np.sqrt(width * height / np.linalg.det(plane_to_image))
    limits = [(2**level / reach) ** (2 / 3) for level in range(1, len(face.levels))]
    for texture, begin, end in zip(face.levels, [NEAR, *limits], [*limits, _FAR]):
        polygon = clip_depth(rectangle, max(begin, NEAR), end)
        if len(polygon) >= 3:
            _paint(texture, polygon @ camera.matrix.T, plane_to_image, image, nearness)


def _paint(
    texture: Image,
    polygon: NDArray[np.float64],
    plane_to_image: NDArray[np.float64],
    image: Image,
    nearness: NDArray[np.float32],
) -> None:
    """Draw the part of a face whose outline in the image is `polygon` (N, 3), homogeneous and its last column depth."""
    pixels = polygon[:, :2] / polygon[:, 2:]
    left, top = np.maximum(np.floor(pixels.min(axis=0)), 0).astype(int)
    right, bottom = np.minimum(np.ceil(pixels.max(axis=0)), (image.shape[1] - 1, image.shape[0] - 1)).astype(int) + 1
    if left >= right or top >= bottom:
        return
    x, y = np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32)[:, None]
    # The inverse takes a pixel (u, v, 1) to (s, t, 1) / depth: three linear functions tell what is inside.
    s, t, near = (np.float32(a) * x + (np.float32(b) * y + np.float32(c)) for a, b, c in np.linalg.inv(plane_to_image))
    window = nearness[top:bottom, left:right]
    begin, end = polygon[:, 2].min(), polygon[:, 2].max()
    visible = (near > window) & (near <= np.float32(1 / begin)) & (near >= np.float32(1 / end))
    visible &= (s >= 0) & (s <= near) & (t >= 0) & (t <= near)
    if not visible.any():
        return
    height, width = texture.shape[:2]
    texel_to_plane = np.array([[1 / width, 0, 0.5 / width], [0, 1 / height, 0.5 / height], [0, 0, 1]])
    to_window = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]])
    drawn = cv2.warpPerspective(
        texture,
        to_window @ plane_to_image @ texel_to_plane,
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    np.copyto(window, near, where=visible)
    np.copyto(image[top:bottom, left:right], drawn, where=visible if drawn.ndim == 2 else visible[..., None])


def clip_depth(polygon: NDArray[np.float64], begin: float, end: float) -> NDArray[np.float64]:
    """Cut a convex polygon (N, 3), in the camera's frame, down to begin <= z <= end; (0, 3) if nothing is left."""
    polygon = _clip(polygon, polygon[:, 2] - begin)
    return _clip(polygon, end - polygon[:, 2])


def _clip(polygon: NDArray[np.float64], distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep the part of a convex polygon whose corners have a `distance` (N,) of at least 0 (Sutherland-Hodgman)."""
    kept = []
    for index in range(len(polygon)):
        here, previous = distance[index], distance[index - 1]
        if (here >= 0) != (previous >= 0):
            share = previous / (previous - here)
            kept.append(polygon[index - 1] + share * (polygon[index] - polygon[index - 1]))
        if here >= 0:
            kept.append(polygon[index])
    return np.array(kept).reshape(-1, polygon.shape[1])

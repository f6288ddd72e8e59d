"""Directions in which a calibrated camera sees its pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

DISTORTION_MODELS = ("plumb_bob", "rational_polynomial", "equidistant")
"""Lens models by their names in sensor_msgs/CameraInfo; "equidistant" is OpenCV's fisheye model."""

_UNTIL_CONVERGED = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-10)
_TOLERANCE = 0.1
"""Pixels between a point and its direction seen through the lens again; beyond that, the lens model does not reach."""
_NO_MOTION = np.zeros(3)
_undistort_points: Callable[..., Any] = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)
"""The function of OpenCV that takes criteria: OpenCV 5 has but one."""


@dataclass(frozen=True)
class CameraModel:
    """A calibrated camera.

    Parameters
    ----------
    matrix : ndarray, (3, 3), float64
        Camera matrix in pixels, the centre of the top-left pixel at (0, 0).
    distortion_model : {"plumb_bob", "rational_polynomial", "equidistant"}
    distortion : ndarray, (K,), float64
        Coefficients in OpenCV's order: K is 4, 5, 8, 12 or 14, or 4 for "equidistant"; none for an ideal lens.
    image_size : tuple of int
        (width, height) in pixels.

    Raises
    ------
    ValueError
        If the values are no calibration; the message says what is wrong.
    """

    matrix: NDArray[np.float64]
    distortion_model: str
    distortion: NDArray[np.float64]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        if self.matrix.shape != (3, 3) or not np.isfinite(self.matrix).all():
            raise ValueError("the camera matrix is not made of 3 x 3 finite numbers")
        if not (self.matrix[0, 0] > 0 and self.matrix[1, 1] > 0):
            raise ValueError("the camera is not calibrated: focal lengths are 0 in the camera matrix")
        if self.distortion_model not in DISTORTION_MODELS:
            expected = ", ".join(DISTORTION_MODELS)
            found = f"{self.distortion_model!r:.80}"  # cut: whoever sends a calibration must not fill the log
            raise ValueError(f"distortion model {found} is unknown; expected one of {expected}")
        counts = (0, 4) if self.distortion_model == "equidistant" else (0, 4, 5, 8, 12, 14)
        if self.distortion.ndim != 1 or len(self.distortion) not in counts or not np.isfinite(self.distortion).all():
            raise ValueError(
                f"{self.distortion.size} distortion coefficients do not suit {self.distortion_model}; "
                f"expected finite numbers, {', '.join(map(str, counts))} of them"
            )


def bearing_vectors(points: ArrayLike, camera: CameraModel) -> NDArray[np.float32]:
    """Return the directions in which `camera` sees pixels.

    Parameters
    ----------
    points : array_like, (N, 2)
        x, y in pixels of the distorted image.
    camera : CameraModel

    Returns
    -------
    ndarray, (N, 3), float32
        Unit vectors in the optical frame: x right, y down, z forward. NaN for points outside the field of view that
        the lens model describes.
    """
    pixels = np.ascontiguousarray(points, np.float64).reshape(-1, 1, 2)
    if len(pixels) == 0:
        return np.empty((0, 3), np.float32)
    is_fisheye = camera.distortion_model == "equidistant"
    undistort = cv2.fisheye.undistortPoints if is_fisheye else _undistort_points
    project = cv2.fisheye.projectPoints if is_fisheye else cv2.projectPoints
    lens = (camera.matrix, camera.distortion if len(camera.distortion) else np.zeros(4))
    normalised = undistort(pixels, *lens, R=np.eye(3), P=np.eye(3), criteria=_UNTIL_CONVERGED)
    rays = np.concatenate((normalised, np.ones((len(pixels), 1, 1))), axis=2)
    seen_again, _ = project(rays, _NO_MOTION, _NO_MOTION, *lens)
    reaches = np.abs(seen_again - pixels).max(axis=2) <= _TOLERANCE
    bearings = rays / np.linalg.norm(rays, axis=2, keepdims=True)
    return np.where(reaches[..., None], bearings, np.nan)[:, 0].astype(np.float32)

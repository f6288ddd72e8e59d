"""The ideal camera that odometry computes with, and the way from a real one to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..geometry import CameraModel, bearing_vectors

Array = NDArray[np.float64]


@dataclass(frozen=True)
class OdometryCamera:
    """A pinhole camera, or a rectified pair of them.

    Attributes
    ----------
    matrix : ndarray, (3, 3), float64
        Intrinsics of both eyes in rectified pixels.
    baseline : float
        Metres from the left to the right camera along x; 0 for a monocular camera.
    """

    matrix: Array
    baseline: float = 0.0

    @property
    def focal_length(self) -> float:
        """In pixels, along x."""
        return float(self.matrix[0, 0])

    def project(self, points: Array) -> Array:
        """Image points (N, 3), u, v in the left and u in the right eye, of `points` (N, 3) in the left one's frame."""
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = (points[:, :2] / points[:, 2:] * np.diag(self.matrix)[:2] + self.matrix[:2, 2]).T
            return np.stack([u, v, u - self.focal_length * self.baseline / points[:, 2]], axis=1)

    def normalized(self, pixels: Array) -> Array:
        """Take pixels (N, 2) to (x / z, y / z)."""
        return np.asarray((pixels - self.matrix[:2, 2]) / np.diag(self.matrix)[:2])


@dataclass(frozen=True)
class Rectifier:
    """Takes pixels of a real camera to those of the ideal one.

    Attributes
    ----------
    model : CameraModel
        Intrinsics and lens of the real camera.
    rotation : ndarray, (3, 3), float64
        From the real camera's axes to the ideal one's: ``r`` of sensor_msgs/CameraInfo.
    matrix : ndarray, (3, 3), float64
        Intrinsics of the ideal camera: the left part of ``p``.
    """

    model: CameraModel
    rotation: Array
    matrix: Array

    def rectify(self, points: ArrayLike) -> Array:
        """Take points (N, 2) to rectified pixels (N, 2); nan where the lens model does not reach."""
        bearings = bearing_vectors(points, self.model).astype(np.float64) @ self.rotation.T
        bearings[~(bearings[:, 2] > 1e-3)] = np.nan
        return np.asarray(bearings[:, :2] / bearings[:, 2:] * np.diag(self.matrix)[:2] + self.matrix[:2, 2])

"""Rigid transforms: where a camera or a robot is."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Pose:
    """Rigid transform from a body's frame to a reference frame: x_reference = rotation @ x_body + position.

    Attributes
    ----------
    rotation : ndarray, (3, 3), float64
        Orientation of the body: its columns are the body's axes in the reference frame.
    position : ndarray, (3,), float64
        Origin of the body in the reference frame, in the unit of the points.
    """

    rotation: NDArray[np.float64]
    position: NDArray[np.float64]

    @classmethod
    def identity(cls) -> Pose:
        """The body at the reference frame's origin."""
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def from_matrix(cls, matrix: ArrayLike) -> Pose:
        """Take rotation and position from a (4, 4) or (3, 4) matrix."""
        matrix = np.asarray(matrix, np.float64)
        return cls(matrix[:3, :3], matrix[:3, 3])

    @classmethod
    def from_quaternion(cls, position: ArrayLike, quaternion: ArrayLike) -> Pose:
        """Make a pose of a position (3,) and a quaternion (x, y, z, w) of any length but 0."""
        quaternion = np.asarray(quaternion, np.float64)
        x, y, z, w = quaternion / np.linalg.norm(quaternion)
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        return cls(rotation, np.asarray(position, np.float64))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The same as a homogeneous matrix (4, 4)."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.rotation, self.position
        return matrix

    @property
    def quaternion(self) -> NDArray[np.float64]:
        """The rotation as a unit quaternion (x, y, z, w), w not negative."""
        vector = rotation_vector(self.rotation)
        angle = float(np.linalg.norm(vector))
        scale = np.sin(angle / 2) / angle if angle > 1e-12 else 0.5
        return np.array([*(scale * vector), np.cos(angle / 2)])

    def inverse(self) -> Pose:
        """The reference frame as seen from the body."""
        return Pose(self.rotation.T, -self.rotation.T @ self.position)

    def __matmul__(self, other: Pose) -> Pose:
        """Chain: `other` is given in this pose's body frame."""
        return Pose(self.rotation @ other.rotation, self.rotation @ other.position + self.position)

    def to_reference(self, points: ArrayLike) -> NDArray[np.float64]:
        """Take points (N, 3) of the body's frame to the reference frame."""
        return np.asarray(np.asarray(points, np.float64) @ self.rotation.T + self.position)

    def to_body(self, points: ArrayLike) -> NDArray[np.float64]:
        """Take points (N, 3) of the reference frame to the body's frame."""
        return np.asarray((np.asarray(points, np.float64) - self.position) @ self.rotation)


def rotation_vector(rotation: ArrayLike) -> NDArray[np.float64]:
    """Axis of a rotation matrix times its angle in radians, in [0, pi]."""
    rotation = np.asarray(rotation, np.float64)
    skew = (rotation - rotation.T) / 2
    small = np.array([skew[2, 1], skew[0, 2], skew[1, 0]])  # times the sine of the angle
    if np.linalg.norm(small) < 1e-4 and np.trace(rotation) > 0:  # where OpenCV says that nothing turns
        return small
    return np.asarray(cv2.Rodrigues(rotation)[0], np.float64).ravel()


def rotation_matrix(vector: ArrayLike) -> NDArray[np.float64]:
    """Rotation matrix about the axis `vector` (3,) by its length in radians."""
    return np.asarray(cv2.Rodrigues(np.asarray(vector, np.float64))[0], np.float64)


def angle_between(first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Angles in radians, in [0, pi], between directions (..., 3) of any length; 0 where one has no length."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    # Of sine and cosine: arccos alone loses half the digits of small angles.
    return np.asarray(np.arctan2(np.linalg.norm(np.cross(first, second), axis=-1), (first * second).sum(axis=-1)))


INITIAL_POSE = Pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.zeros(3))
"""Of a level camera in a frame whose x points forward, y left and z up (REP 103): where odometry begins."""

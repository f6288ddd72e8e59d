"""Key frames and the landmarks they see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..geometry.pose import Pose, angle_between
from .bundle_adjustment import View, adjust
from .camera import Array, OdometryCamera
from .estimation import reprojection_errors
from .frames import KeypointFrame

UNKNOWN = -1
"""In place of a landmark's number where a keypoint has none."""


def unknown(frame: KeypointFrame) -> NDArray[np.int64]:
    """Numbers (N,) of the landmarks of a frame of which nothing is known."""
    return np.full(len(frame), UNKNOWN, np.int64)


@dataclass
class KeyFrame:
    """A frame that is kept.

    Attributes
    ----------
    frame : KeypointFrame
    pose : Pose
        Of the (left) camera in the odometry frame.
    landmarks : ndarray, (N,), int64
        Number of the landmark that each keypoint sees, or `UNKNOWN`.
    """

    frame: KeypointFrame
    pose: Pose
    landmarks: NDArray[np.int64]


@dataclass(frozen=True)
class LocalMap:
    """Landmarks to look for: their numbers (L,), positions (L, 3) and newest descriptors (L, D)."""

    numbers: NDArray[np.int64]
    positions: Array
    descriptors: NDArray[Any]


class LandmarkMap:
    """The key frames, oldest first, and the landmarks' positions.

    Parameters
    ----------
    camera : OdometryCamera
    limit : int
        Key frames kept; the oldest go first, and with them the landmarks that no other one sees.
    """

    def __init__(self, camera: OdometryCamera, limit: int) -> None:
        self._camera = camera
        self._limit = limit
        self.key_frames: list[KeyFrame] = []
        self.positions = np.empty((0, 3))

    def add_landmarks(self, positions: Array) -> NDArray[np.int64]:
        """Add landmarks at `positions` (N, 3); returns their numbers (N,)."""
        first = len(self.positions)
        self.positions = np.concatenate([self.positions, positions])
        return np.arange(first, first + len(positions))

    def insert(self, key_frame: KeyFrame) -> None:
        """Append a key frame, and forget the oldest if there are too many."""
        self.key_frames.append(key_frame)
        if len(self.key_frames) > self._limit:
            del self.key_frames[0]
            self._compact()

    def neighbours(self, key_frame: KeyFrame, count: int) -> list[KeyFrame]:
        """The `count` key frames that share most landmarks with `key_frame`, itself among them, oldest first."""
        seen = np.zeros(len(self.positions) + 1, bool)  # the last one stands for UNKNOWN
        seen[key_frame.landmarks] = True
        seen[UNKNOWN] = False
        shared = np.array([seen[other.landmarks].sum() for other in self.key_frames])
        best = [index for index in np.argsort(-shared, kind="stable")[:count] if shared[index] > 0]
        return [self.key_frames[index] for index in sorted(best)]

    def local_map(self, key_frames: Sequence[KeyFrame]) -> LocalMap:
        """The landmarks that these key frames see, each with the descriptor of the last one that does."""
        seen = [key_frame.landmarks != UNKNOWN for key_frame in reversed(key_frames)]
        numbers = np.concatenate([key.landmarks[valid] for key, valid in zip(reversed(key_frames), seen)])
        descriptors = np.concatenate([key.frame.descriptors[valid] for key, valid in zip(reversed(key_frames), seen)])
        numbers, first = np.unique(numbers, return_index=True)
        return LocalMap(numbers, self.positions[numbers], descriptors[first])

    def optimise(self, window: Sequence[KeyFrame], fixed: int, largest_error: float) -> Array:
        """Bundle-adjust the key frames of `window` but the first `fixed`, and what they see.

        Observations that are more than `largest_error` pixels off afterwards are given up. Returns by how many pixels
        each one was off.
        """
        observed = [np.flatnonzero(key_frame.landmarks != UNKNOWN) for key_frame in window]
        numbers = np.unique(np.concatenate([key.landmarks[rows] for key, rows in zip(window, observed)]))
        views = [
            View(key.pose, key.frame.points[rows], np.searchsorted(numbers, key.landmarks[rows]))
            for key, rows in zip(window, observed)
        ]
        poses, self.positions[numbers] = adjust(self._camera, views, self.positions[numbers], fixed=fixed)
        all_errors = []
        for key_frame, pose, view, rows in zip(window, poses, views, observed):
            key_frame.pose = pose
            landmarks = self.positions[key_frame.landmarks[rows]]
            errors = reprojection_errors(self._camera, pose, view.points, landmarks)
            key_frame.landmarks[rows[errors > largest_error]] = UNKNOWN
            all_errors.append(errors)
        return np.concatenate(all_errors)

    def parallax(self) -> Array:
        """Angles (L,) in radians between the directions in which the first and the last key frame see the landmarks."""
        first, last = self.key_frames[0].pose.position, self.key_frames[-1].pose.position
        return angle_between(self.positions - first, self.positions - last)

    def forget(self, landmarks: NDArray[np.bool_]) -> None:
        """Give up some landmarks: a mask (L,)."""
        given_up = np.append(landmarks, False)  # the last one stands for UNKNOWN
        for key_frame in self.key_frames:
            key_frame.landmarks[given_up[key_frame.landmarks]] = UNKNOWN
        self._compact()

    def rescale(self, factor: float, origin: Array) -> None:
        """Stretch everything about `origin` (3,)."""
        self.positions = origin + factor * (self.positions - origin)
        for key_frame in self.key_frames:
            position = origin + factor * (key_frame.pose.position - origin)
            key_frame.pose = Pose(key_frame.pose.rotation, position)

    def _compact(self) -> None:
        """Forget landmarks that no key frame sees, and number the others anew."""
        used = np.unique(np.concatenate([key_frame.landmarks for key_frame in self.key_frames]))
        used = used[used != UNKNOWN]
        self.positions = self.positions[used]
        for key_frame in self.key_frames:
            known = key_frame.landmarks != UNKNOWN
            key_frame.landmarks[known] = np.searchsorted(used, key_frame.landmarks[known])

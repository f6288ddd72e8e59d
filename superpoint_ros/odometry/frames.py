"""What odometry needs of one image or one pair of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..geometry import match_descriptors
from .camera import Array, OdometryCamera

_LARGEST_ROW_DIFFERENCE = 2.0  # pixels between the two eyes' rows
_LARGEST_DEPTH = 40.0  # baselines; beyond, disparity says too little


@dataclass(frozen=True)
class KeypointFrame:
    """Keypoints of one moment.

    Attributes
    ----------
    points : ndarray, (N, 3), float64
        u, v in rectified pixels of the left or only image, and u in the right one, nan where it is not known.
    descriptors : ndarray, (N, D)
        As `match_descriptors` takes them.
    """

    points: Array
    descriptors: NDArray[Any]

    def __len__(self) -> int:
        return len(self.points)


def monocular_frame(keypoints: Array, descriptors: NDArray[Any]) -> KeypointFrame:
    """Make a frame of the rectified keypoints (N, 2) of a single image; those that are nan are left out."""
    valid = np.isfinite(keypoints).all(axis=1)
    points = np.column_stack([keypoints[valid], np.full(valid.sum(), np.nan)])
    return KeypointFrame(points, descriptors[valid])


def stereo_frame(left: KeypointFrame, right: KeypointFrame, camera: OdometryCamera) -> KeypointFrame:
    """Add to the left frame where the right one sees the same points.

    A pair counts if both lie on one row and their disparity is that of a point at most 40 baselines away. Rows are
    compared after matching, not before, so that they tell wrong pairs, too.
    """
    rows, columns = match_descriptors(left.descriptors, right.descriptors).indices.T
    disparity = left.points[rows, 0] - right.points[columns, 0]
    same_row = np.abs(left.points[rows, 1] - right.points[columns, 1]) < _LARGEST_ROW_DIFFERENCE
    valid = same_row & (disparity > camera.focal_length / _LARGEST_DEPTH)
    points = left.points.copy()
    points[rows[valid], 2] = right.points[columns[valid], 0]
    return KeypointFrame(points, left.descriptors)

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

    Only pairs count that lie on one row and whose disparity is that of a point at most 40 baselines away.
    """
    disparity = np.subtract.outer(left.points[:, 0], right.points[:, 0])
    row_difference = np.subtract.outer(left.points[:, 1], right.points[:, 1])
    candidates = (np.abs(row_difference) < _LARGEST_ROW_DIFFERENCE) & (disparity > camera.focal_length / _LARGEST_DEPTH)
    rows, columns = match_descriptors(left.descriptors, right.descriptors, candidates=candidates).indices.T
    points = left.points.copy()
    points[rows, 2] = right.points[columns, 0]
    return KeypointFrame(points, left.descriptors)

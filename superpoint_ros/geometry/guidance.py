"""Which keypoints may match at all: what is known of the motion, as masks for `match_descriptors`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

RECTIFIED_STEREO = np.array([[0.0, 0, 0], [0, 0, -1], [0, 1, 0]])
"""Fundamental matrix of a rectified stereo pair: partners lie in the same row."""


def near_predictions(predicted: ArrayLike, keypoints1: ArrayLike, radius: float | ArrayLike) -> NDArray[np.bool_]:
    """Return which keypoints lie near where others are predicted.

    Parameters
    ----------
    predicted : array_like, (N0, 2)
        Where the keypoints of the first image are expected in the second, in its pixels: where they are, moved by a
        motion model, by :func:`warp_points`, or projected landmarks. One with nan has no candidates.
    keypoints1 : array_like, (N1, 2)
        Keypoints of the second image, in pixels.
    radius : float or array_like, (N0,)
        Greatest distance in pixels, inclusive.

    Returns
    -------
    ndarray, (N0, N1), bool
    """
    predicted, keypoints1 = _as_points(predicted), _as_points(keypoints1)
    squared_distances = np.subtract.outer(predicted[:, 0], keypoints1[:, 0]) ** 2
    squared_distances += np.subtract.outer(predicted[:, 1], keypoints1[:, 1]) ** 2
    limits = np.asarray(radius, np.float32) ** 2
    near: NDArray[np.bool_] = squared_distances <= (limits[:, None] if limits.ndim else limits)
    return near


def near_epipolar_lines(
    keypoints0: ArrayLike, keypoints1: ArrayLike, fundamental: ArrayLike, max_distance: float
) -> NDArray[np.bool_]:
    """Return which keypoints lie near the epipolar lines of others.

    Parameters
    ----------
    keypoints0, keypoints1 : array_like, (N0, 2) and (N1, 2)
        Keypoints of the two images, in pixels; or normalised coordinates, if `fundamental` is an essential matrix.
    fundamental : array_like, (3, 3)
        x1^T F x0 = 0; :data:`RECTIFIED_STEREO` for a rectified stereo pair.
    max_distance : float
        Greatest distance of a keypoint of the second image from the line, in the unit of the keypoints, inclusive.

    Returns
    -------
    ndarray, (N0, N1), bool
    """
    points0, points1 = np.asarray(keypoints0, float).reshape(-1, 2), np.asarray(keypoints1, float).reshape(-1, 2)
    matrix = np.asarray(fundamental, float)
    lines = points0 @ matrix[:, :2].T + matrix[:, 2]
    distances = np.abs(lines[:, :2] @ points1.T + lines[:, 2:])  # times the length of the line's normal
    near: NDArray[np.bool_] = distances <= max_distance * np.linalg.norm(lines[:, :2], axis=1, keepdims=True)
    return near


def _as_points(points: ArrayLike) -> NDArray[np.float32]:
    return np.asarray(points, np.float32).reshape(-1, 2)

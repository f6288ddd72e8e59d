"""Relative pose of two calibrated cameras from matched points."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from .homography import as_point_pairs, check_max_error
from .pose import angle_between

# In baselines. OpenCV's 50 would drop points that moved by less than a fiftieth of the focal length.
_FARTHEST = 1e9


@dataclass(frozen=True)
class RelativePose:
    """Motion that takes coordinates of the first camera to the second: x1 = rotation @ x0 + translation.

    Cameras look along +z, x to the right, y down (the ROS optical frame).

    Attributes
    ----------
    rotation : ndarray, (3, 3), float64
    translation : ndarray, (3,), float64
        Unit length: two views do not tell the scale.
    essential_matrix : ndarray, (3, 3), float64
        Of normalised points: x1^T E x0 = 0.
    inliers : ndarray, (M,), bool
        Matches that agree with the essential matrix and lie in front of both cameras.
    """

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]
    essential_matrix: NDArray[np.float64]
    inliers: NDArray[np.bool_]


def normalize_points(
    points: ArrayLike, intrinsics: ArrayLike, distortion: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Turn pixels into normalised, undistorted image coordinates (x / z, y / z).

    Parameters
    ----------
    points : array_like, (N, 2)
        In pixels, centre of the top-left pixel at (0, 0).
    intrinsics : array_like, (3, 3)
        Camera matrix, in pixels.
    distortion : array_like, (4..14,), optional
        Coefficients of OpenCV's ``plumb_bob`` or ``rational_polynomial`` model.
    """
    pixels = np.ascontiguousarray(points, np.float64).reshape(-1, 1, 2)
    if len(pixels) == 0:
        return np.empty((0, 2))
    coefficients = None if distortion is None else np.asarray(distortion, np.float64)
    return (
        cv2.undistortPoints(pixels, np.asarray(intrinsics, np.float64), coefficients).reshape(-1, 2).astype(np.float64)
    )


def estimate_relative_pose(
    points0: ArrayLike,
    points1: ArrayLike,
    *,
    max_error: float,
    confidence: float = 0.9999,
) -> RelativePose | None:
    """Estimate the essential matrix with OpenCV's USAC and take the pose from it.

    The same input always gives the same result: USAC's random generator starts from a fixed seed.

    Parameters
    ----------
    points0, points1 : array_like, (M, 2)
        Matched points in normalised image coordinates, see :func:`normalize_points`.
    max_error : float
        Greatest distance of a point from its epipolar line in normalised coordinates: pixels divided
        by the focal length.
    confidence : float, in (0, 1)
        Probability with which an outlier-free sample is to be drawn.

    Returns
    -------
    RelativePose or None
        None if there are fewer than five matches or no pose fits.

    Raises
    ------
    ValueError
        If the points do not come in pairs, or `max_error` is not a positive number.
    """
    source, target = as_point_pairs(points0, points1)
    check_max_error(max_error)
    if len(source) < 5:
        return None
    # On simulated views with noise, USAC_ACCURATE has a third of the error of USAC_MAGSAC or of plain RANSAC.
    stacked, mask = cv2.findEssentialMat(source, target, np.eye(3), cv2.USAC_ACCURATE, confidence, max_error)
    if stacked is None or not np.isfinite(stacked).all():
        return None
    matrices = stacked.astype(np.float64).reshape(-1, 3, 3)
    agrees = np.asarray(mask, np.uint8)
    candidates = (_recover_pose(source, target, matrix, agrees) for matrix in matrices)
    best = max(candidates, key=lambda pose: int(pose.inliers.sum()))
    return best if best.inliers.any() else None


def _recover_pose(
    source: NDArray[np.float64], target: NDArray[np.float64], essential: NDArray[np.float64], agrees: NDArray[np.uint8]
) -> RelativePose:
    """The one of the four poses of `essential` that has most of the points in front of both cameras."""
    _, rotation, translation, in_front, _ = cv2.recoverPose(
        essential, source, target, np.eye(3), distanceThresh=_FARTHEST, mask=agrees.copy()
    )
    return RelativePose(
        np.asarray(rotation, np.float64),
        np.asarray(translation, np.float64).ravel(),
        essential,
        np.asarray(in_front).ravel().astype(bool),
    )


def rotation_error(estimated: ArrayLike, true: ArrayLike) -> float:
    """Angle, in degrees in [0, 180], of the rotation between two rotation matrices."""
    difference = np.asarray(estimated, np.float64).T @ np.asarray(true, np.float64)
    # Of the half-angle's sine, which keeps its precision where arccos of the trace loses half the digits.
    half_sine = np.linalg.norm(difference - np.eye(3)) / np.sqrt(8)
    return float(np.degrees(2 * np.arcsin(min(half_sine, 1.0))))


def translation_error(estimated: ArrayLike, true: ArrayLike) -> float:
    """Angle, in degrees in [0, 180], between two translation directions; nan if one of them has no length."""
    first, second = np.asarray(estimated, np.float64), np.asarray(true, np.float64)
    if not (first.any() and second.any()):
        return float("nan")
    return float(np.degrees(angle_between(first, second)))

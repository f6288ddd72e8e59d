"""Poses from landmarks, and landmarks from poses."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..geometry.pose import Pose, angle_between, rotation_matrix
from .bundle_adjustment import View, adjust_pose
from .camera import Array, OdometryCamera

LARGEST_ERROR = 3.0
"""Pixels between an observation that agrees with a pose and its expected place."""
LEAST_PARALLAX = np.radians(1.0)
"""Angle between two lines of sight below which they say too little about where they meet."""

_RANSAC_ITERATIONS = 1000
_LEAST_POINTS = 4  # that determine a pose without doubt


@dataclass(frozen=True)
class PoseEstimate:
    """A camera's pose.

    Attributes
    ----------
    pose : Pose
    inliers : ndarray, (M,), bool
        Which observations agree with it.
    covariance : ndarray, (6, 6), float64
        Of rotation (about the camera's axes, rad^2) and position (in the reference frame), for observations with a
        standard deviation of one pixel.
    """

    pose: Pose
    inliers: NDArray[np.bool_]
    covariance: Array


def estimate_pose(
    camera: OdometryCamera, points: Array, landmarks: Array, largest_error: float, least_inliers: int
) -> PoseEstimate | None:
    """Find the pose of a camera that sees `landmarks` (M, 3) at `points` (M, 3).

    Perspective-n-point with OpenCV's USAC, refined on what agrees, stereo included.

    Parameters
    ----------
    camera : OdometryCamera
    points : ndarray, (M, 3)
        As in `KeypointFrame`.
    landmarks : ndarray, (M, 3)
        In the reference frame.
    largest_error : float
        Pixels between an observation that agrees and its expected place.
    least_inliers : int
        Observations that must agree.

    Returns
    -------
    PoseEstimate or None
        None if too few agree.
    """
    if len(points) < max(least_inliers, _LEAST_POINTS):
        return None
    pixels, matrix = np.ascontiguousarray(points[:, :2]), camera.matrix.copy()
    try:
        found, _, vector, translation, rows = cv2.solvePnPRansac(
            landmarks, pixels, matrix, np.zeros(4), params=_usac(largest_error)
        )
    except cv2.error:  # degenerate points
        return None
    if not found or rows is None or len(rows) < least_inliers:
        return None
    pose = Pose(rotation_matrix(vector), np.asarray(translation, np.float64).ravel()).inverse()
    inliers = np.zeros(len(points), bool)
    inliers[rows.ravel()] = True
    return refine_pose(camera, pose, points, landmarks, largest_error, least_inliers, inliers)


def _usac(largest_error: float) -> cv2.UsacParams:
    """Settings of RANSAC; local optimisation finds more of what agrees than plain RANSAC, in less time."""
    settings = cv2.UsacParams()
    settings.threshold = largest_error
    settings.confidence = 0.9999
    settings.maxIterations = _RANSAC_ITERATIONS
    settings.loIterations = 10
    settings.loSampleSize = 50
    return settings


def refine_pose(
    camera: OdometryCamera,
    pose: Pose,
    points: Array,
    landmarks: Array,
    largest_error: float,
    least_inliers: int,
    inliers: NDArray[np.bool_] | None = None,
) -> PoseEstimate | None:
    """Move `pose` so that it agrees best with what agrees with it already, or with `inliers` (M,).

    Parameters and result are those of :func:`estimate_pose`.
    """
    least_inliers = max(least_inliers, _LEAST_POINTS)
    if inliers is None:
        inliers = reprojection_errors(camera, pose, points, landmarks) < largest_error
    for _ in range(2):
        if inliers.sum() < least_inliers:
            return None
        pose = adjust_pose(camera, View(pose, points[inliers], np.flatnonzero(inliers)), landmarks)
        inliers = reprojection_errors(camera, pose, points, landmarks) < largest_error
    if inliers.sum() < least_inliers:
        return None
    return PoseEstimate(pose, inliers, _covariance(camera, pose, points[inliers], landmarks[inliers]))


def _covariance(camera: OdometryCamera, pose: Pose, points: Array, landmarks: Array) -> Array:
    """Of `pose`, from which `landmarks` (M, 3) are seen at `points` (M, 3); as in `PoseEstimate`."""
    local, known = pose.to_body(landmarks), np.isfinite(points)
    slopes = []  # by motions of the points: rotation about the camera's axes, then position
    for eye, of_rows in ((0.0, known[:, :2]), (camera.baseline, known[:, 2:])):
        derivatives = cv2.projectPoints(local, np.zeros(3), np.array([-eye, 0, 0]), camera.matrix, None)[1]
        by_motion = derivatives[:, :6].reshape(len(local), 2, 6)[:, : of_rows.shape[1]]
        slopes.append(by_motion[of_rows])
    by_rotation, by_position = np.split(np.concatenate(slopes), 2, axis=1)
    by_pose = -np.hstack([by_rotation, by_position @ pose.rotation.T])
    return np.linalg.pinv(by_pose.T @ by_pose)


def reprojection_errors(camera: OdometryCamera, pose: Pose, points: Array, landmarks: Array) -> Array:
    """Distances (M,) in pixels between `points` and where `landmarks` should appear; inf behind the camera."""
    local = pose.to_body(landmarks)
    difference = camera.project(local) - points
    known = np.where(np.isfinite(points), difference, 0.0)
    return np.where(local[:, 2] > 0, np.linalg.norm(known, axis=1), np.inf)


def landmarks_from_disparity(camera: OdometryCamera, pose: Pose, points: Array) -> Array:
    """Where the points (M, 3) of a stereo pair lie in the reference frame."""
    depth = camera.focal_length * camera.baseline / (points[:, 0] - points[:, 2])
    rays = np.column_stack([camera.normalized(points[:, :2]), np.ones(len(points))])
    return pose.to_reference(rays * depth[:, None])


def triangulate(
    camera: OdometryCamera, pose0: Pose, points0: Array, pose1: Pose, points1: Array, largest_error: float
) -> tuple[Array, Array]:
    """Where pairs of points (M, 3) of two key frames meet.

    Returns
    -------
    landmarks : ndarray, (M, 3), float64
        In the reference frame; nan where the point would lie behind a camera or does not fit both within
        `largest_error` pixels.
    parallax : ndarray, (M,), float64
        Angle between both lines of sight in radians.
    """
    if len(points0) == 0:
        return np.empty((0, 3)), np.empty(0)
    projections = [pose.inverse().matrix[:3] for pose in (pose0, pose1)]
    rays = [np.ascontiguousarray(camera.normalized(points[:, :2]).T) for points in (points0, points1)]
    homogeneous = cv2.triangulatePoints(*projections, *rays)
    with np.errstate(divide="ignore", invalid="ignore"):
        landmarks = (homogeneous[:3] / homogeneous[3]).T.astype(np.float64)
    landmarks[~np.isfinite(landmarks).all(axis=1)] = 1e9
    errors = [
        reprojection_errors(camera, pose, points, landmarks) for pose, points in ((pose0, points0), (pose1, points1))
    ]
    parallax = angle_between(landmarks - pose0.position, landmarks - pose1.position)
    landmarks[np.maximum(*errors) > largest_error] = np.nan
    return landmarks, parallax

"""How the map of a single camera begins, and how large it is."""

from __future__ import annotations

import numpy as np

from ..geometry import Matches, estimate_relative_pose
from ..geometry.pose import Pose
from .camera import Array, OdometryCamera
from .estimation import LARGEST_ERROR, LEAST_PARALLAX, triangulate
from .frames import KeypointFrame
from .landmark_map import KeyFrame, LandmarkMap, unknown
from .settings import OdometrySettings

LEAST_TO_INITIALISE = 50
"""Matches, and among them inliers, that two frames must have to begin with."""

_INITIAL_PARALLAX = np.radians(2.5)  # median
_INITIAL_DEPTH = 1.0  # median, where nothing fixes the scale
_GROUND_TRIALS = 300
_GROUND_TILT = np.radians(25.0)  # between the ground's normal and the camera's vertical axis
_GROUND_THICKNESS = 0.03  # of the camera's height
_GROUND_SUPPORT = 15  # landmarks


def map_from_two_views(
    camera: OdometryCamera,
    settings: OdometrySettings,
    first: KeypointFrame,
    second: KeypointFrame,
    matches: Matches,
    start: Pose,
) -> LandmarkMap | None:
    """Begin a map with two frames of a single camera.

    Parameters
    ----------
    camera : OdometryCamera
    settings : OdometrySettings
    first, second : KeypointFrame
    matches : Matches
        Of both.
    start : Pose
        Of the first one, in the odometry frame.

    Returns
    -------
    LandmarkMap or None
        With both as key frames; None if they see too little of the same, from places too near to each other, or
        what should give the scale.
    """
    rows, columns = matches.indices.T
    points0, points1 = first.points[rows], second.points[columns]
    motion = estimate_relative_pose(
        camera.normalized(points0[:, :2]),
        camera.normalized(points1[:, :2]),
        max_error=LARGEST_ERROR / 2 / camera.focal_length,
    )
    if motion is None or motion.inliers.sum() < LEAST_TO_INITIALISE:
        return None
    moved = start @ Pose(motion.rotation, motion.translation).inverse()
    landmarks, parallax = triangulate(camera, start, points0, moved, points1, LARGEST_ERROR)
    good = motion.inliers & np.isfinite(landmarks[:, 0]) & (parallax > LEAST_PARALLAX)
    if good.sum() < LEAST_TO_INITIALISE or np.median(parallax[motion.inliers]) < _INITIAL_PARALLAX:
        return None
    begun = LandmarkMap(camera, settings.max_key_frames)
    numbers = begun.add_landmarks(landmarks[good])
    for frame, pose, seen in ((first, start, rows), (second, moved, columns)):
        known = unknown(frame)
        known[seen[good]] = numbers
        begun.insert(KeyFrame(frame, pose, known))
    begun.optimise(begun.key_frames, fixed=1, largest_error=LARGEST_ERROR)
    return begun if _fix_scale(begun, settings) else None


def _fix_scale(begun: LandmarkMap, settings: OdometrySettings) -> bool:
    """Give a map of two key frames its scale; False if what should give it cannot be seen."""
    first, second = begun.key_frames
    local = first.pose.to_body(begun.positions)
    known, unscaled = _INITIAL_DEPTH, float(np.median(local[:, 2]))
    if settings.initial_baseline:
        known = settings.initial_baseline
        unscaled = float(np.linalg.norm(second.pose.position - first.pose.position))
    elif settings.camera_height:
        height = height_above_ground(local)
        if height is None:
            return False
        known, unscaled = settings.camera_height, height
    begun.rescale(known / unscaled, first.pose.position)
    return True


def height_above_ground(points: Array) -> float | None:
    """Height of a roughly level camera above the largest level plane below it.

    Parameters
    ----------
    points : ndarray, (N, 3)
        Landmarks in the camera's frame (y down), in any unit.

    Returns
    -------
    float or None
        In the same unit; None if there is no such plane.
    """
    if len(points) < _GROUND_SUPPORT:
        return None
    rng = np.random.default_rng(0)
    best_height, best_support = None, _GROUND_SUPPORT - 1
    for sample in points[rng.integers(len(points), size=(_GROUND_TRIALS, 3))]:
        normal = np.cross(sample[1] - sample[0], sample[2] - sample[0])
        length = np.linalg.norm(normal)
        if length == 0 or abs(normal[1]) < length * np.cos(_GROUND_TILT):
            continue
        down = normal / length * np.sign(normal[1])
        height = float(down @ sample[0])
        support = int((np.abs(points @ down - height) < _GROUND_THICKNESS * height).sum())
        if support > best_support:
            best_height, best_support = height, support
    return best_height

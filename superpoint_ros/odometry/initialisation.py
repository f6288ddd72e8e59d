"""How the map of a single camera begins, and how large it is."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ..geometry import estimate_homography, estimate_relative_pose, match_descriptors
from ..geometry.pose import Pose, angle_between, rotation_vector
from .camera import Array, OdometryCamera
from .estimation import LARGEST_ERROR, LEAST_PARALLAX, estimate_pose, triangulate
from .frames import KeypointFrame
from .landmark_map import UNKNOWN, KeyFrame, LandmarkMap, unknown
from .settings import OdometrySettings

LEAST_TO_INITIALISE = 50
"""Matches of the first and the last frame, and landmarks from them, that a map must have to begin."""

_INITIAL_PARALLAX = 13.6  # pixels at the image's centre, which keypoints err by; median
_LEAST_EXPLAINED = 0.5  # of the matches of the first and the last frame
_CLEARLY_WORSE = 1.03  # times as much unexplained
_SAME_DIRECTION = np.radians(10.0)
_MOST_FRAMES = 30
_FRAMES_BETWEEN = 3  # the first and the last one that have a say, where there are so many; up to five
_FIRST_KEY_FRAMES = 7
_INITIAL_DEPTH = 1.0  # median, where nothing fixes the scale
_GROUND_TRIALS = 300
_GROUND_TILT = np.radians(25.0)  # between the ground's normal and the camera's vertical axis
_GROUND_THICKNESS = 0.03  # of the camera's height
_GROUND_SUPPORT = 15  # landmarks


class Tracks:
    """The keypoints of a first frame, followed through the frames after it.

    Parameters
    ----------
    frames : sequence of KeypointFrame
        At least the first one.

    Attributes
    ----------
    frames : list of KeypointFrame
    seen : list of ndarray, (N,), int64
        Where each keypoint of the first frame is in each of the frames, or `UNKNOWN`.
    """

    def __init__(self, frames: Sequence[KeypointFrame]) -> None:
        first, *others = frames
        self.frames, self.seen = [first], [np.arange(len(first))]
        for frame in others:
            self.follow(frame)

    def follow(self, frame: KeypointFrame) -> int:
        """Find the keypoints in the next frame; return how many."""
        if len(self.frames) == _MOST_FRAMES:  # a camera that stands still goes on for long
            del self.frames[1::2], self.seen[1::2]
        tracks, rows = match_descriptors(self.frames[0].descriptors, frame.descriptors).indices.T
        seen = np.full(len(self.frames[0]), UNKNOWN)
        seen[tracks] = rows
        self.frames.append(frame)
        self.seen.append(seen)
        return len(tracks)

    def newer_half(self) -> Tracks:
        """Follow the keypoints of a later first frame."""
        return Tracks(self.frames[len(self.frames) // 2 :])


def begin_map(camera: OdometryCamera, settings: OdometrySettings, tracks: Tracks, start: Pose) -> LandmarkMap | Tracks:
    """Begin a map with the frames that a single camera has taken so far.

    Where most of what is seen lies in one plane, two views have two explanations. Therefore all that follow from the
    essential matrix and from the homography between the first and the last frame are tried, and the one that explains
    the frames between them best is taken; while another one explains them nearly as well, it is better to wait.
    A motion that contradicts most of the matches is none. Where only such are left and most keypoints are out of sight,
    as in blur, the tracks had better begin later.

    Parameters
    ----------
    camera : OdometryCamera
    settings : OdometrySettings
    tracks : Tracks
    start : Pose
        Of the first frame, in the odometry frame.

    Returns
    -------
    LandmarkMap or Tracks
        If the frames see too little of the same, from places too near to each other, or not what should give the
        scale: the tracks to go on with.
    """
    common = np.flatnonzero(tracks.seen[-1] != UNKNOWN)
    points0, points1 = tracks.frames[0].points[common], tracks.frames[-1].points[tracks.seen[-1][common]]
    may_wait = len(common) > len(tracks.frames[0]) / 2 and len(tracks.frames) < _MOST_FRAMES
    starts, parallaxes = [], []
    for motion in _motions(camera, points0, points1):
        moved = start @ motion.inverse()
        landmarks, parallax = triangulate(camera, start, points0, moved, points1, LARGEST_ERROR)
        met = np.isfinite(landmarks[:, 0])
        if met.sum() >= max(LEAST_TO_INITIALISE, _LEAST_EXPLAINED * len(common)):
            starts.append(((start, moved), common[met], landmarks[met]))
            parallaxes.append(np.median(parallax[met]))
    if not starts:
        return tracks if may_wait else tracks.newer_half()
    least_parallax = _INITIAL_PARALLAX / camera.focal_length
    if max(parallaxes) < least_parallax:
        return tracks
    attempts = [_explain(camera, settings, tracks, *each) for each in starts]
    begun, cost = min(attempts, key=lambda attempt: attempt[1])
    rivals = [other for other, its_cost in attempts if its_cost <= _CLEARLY_WORSE * cost]
    undecided = max(angle_between(_way(begun), _way(rival)) for rival in rivals) > _SAME_DIRECTION
    if np.median(begun.parallax()) < least_parallax or (undecided and may_wait):
        return tracks
    begun.forget(begun.parallax() < LEAST_PARALLAX)
    return begun if len(begun.positions) >= LEAST_TO_INITIALISE and _fix_scale(begun, settings) else tracks


def _motions(camera: OdometryCamera, points0: Array, points1: Array) -> list[Pose]:
    """What takes points of the first camera to the second, up to scale, if anything does."""
    first, second = (camera.normalized(points[:, :2]) for points in (points0, points1))
    motions = []
    general = estimate_relative_pose(first, second, max_error=LARGEST_ERROR / 2 / camera.focal_length)
    if general is not None:
        motions.append(Pose(general.rotation, general.translation))
    planar = estimate_homography(first, second, max_error=LARGEST_ERROR / camera.focal_length)
    if planar is not None:
        _, rotations, translations, _ = cv2.decomposeHomographyMat(planar.matrix, np.eye(3))
        for rotation, translation in zip(rotations, translations):
            length = np.linalg.norm(translation)
            if length > 0:
                motions.append(
                    Pose(np.asarray(rotation, np.float64), np.asarray(translation / length, np.float64).ravel())
                )
    return [motion for index, motion in enumerate(motions) if not any(_alike(motion, m) for m in motions[:index])]


def _alike(first: Pose, second: Pose) -> bool:
    turned = np.linalg.norm(rotation_vector(first.rotation.T @ second.rotation))
    return bool(turned < _SAME_DIRECTION / 2 and angle_between(first.position, second.position) < _SAME_DIRECTION / 2)


def _explain(
    camera: OdometryCamera,
    settings: OdometrySettings,
    tracks: Tracks,
    ends: tuple[Pose, Pose],
    chosen: NDArray[np.int64],
    landmarks: Array,
) -> tuple[LandmarkMap, float]:
    """The map in which `chosen` tracks see `landmarks`, first and last frame are at `ends`; and how badly it fits."""
    begun = LandmarkMap(camera, max(settings.max_key_frames, _FIRST_KEY_FRAMES))
    numbers = np.full(len(tracks.frames[0]), UNKNOWN)
    numbers[chosen] = begun.add_landmarks(landmarks)
    between = range(1, len(tracks.frames) - 1)
    observed = 0
    for index in (0, *between[:: max(1, len(between) // _FRAMES_BETWEEN)], len(tracks.frames) - 1):
        frame, seen = tracks.frames[index], tracks.seen[index]
        known = np.flatnonzero((seen != UNKNOWN) & (numbers != UNKNOWN))
        observed += int((seen != UNKNOWN).sum())
        if index in between:
            points = frame.points[seen[known]]
            estimate = estimate_pose(
                camera, points, begun.positions[numbers[known]], LARGEST_ERROR, settings.min_inliers
            )
            if estimate is None:
                continue
            pose = estimate.pose
        else:
            pose = ends[index > 0]
        visible = unknown(frame)
        visible[seen[known]] = numbers[known]
        begun.insert(KeyFrame(frame, pose, visible))
    errors = begun.optimise(begun.key_frames, fixed=1, largest_error=LARGEST_ERROR)
    fitting = errors[errors < LARGEST_ERROR]
    return begun, float((fitting**2).sum() + LARGEST_ERROR**2 * (observed - len(fitting)))


def _way(begun: LandmarkMap) -> Array:
    """From the first to the last camera position (3,)."""
    return np.asarray(begun.key_frames[-1].pose.position - begun.key_frames[0].pose.position)


def _fix_scale(begun: LandmarkMap, settings: OdometrySettings) -> bool:
    """Give a map that has just begun its scale; False if what should give it cannot be seen."""
    first, second = begun.key_frames[0], begun.key_frames[-1]
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

"""Visual odometry: each frame's pose from the landmarks of nearby key frames.

The way of a frame:

1. Its keypoints are matched with the landmarks of the key frames around the last one that it was seen from, near where
   a constant velocity lets these be expected.
2. PnP with RANSAC gives the pose, and more landmarks are found where it lets them be expected. If too few agree the
   frame is lost: it is compared with all key frames, and tracking goes on from the first one that fits
   (relocalisation). After a while without, a new map begins.
3. When little of the last key frame is left in view, the frame becomes a key frame: keypoints without a landmark get
   one, from disparity or by triangulation with the key frames before, and the key frames around are bundle-adjusted.

There is no loop closure: what is forgotten and seen again counts as new.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..geometry import match_descriptors, near_predictions
from ..geometry.pose import INITIAL_POSE, Pose
from .bundle_adjustment import check_installed
from .camera import Array, OdometryCamera
from .estimation import (
    LARGEST_ERROR,
    LEAST_PARALLAX,
    PoseEstimate,
    estimate_pose,
    landmarks_from_disparity,
    refine_pose,
    triangulate,
)
from .frames import KeypointFrame
from .initialisation import LEAST_TO_INITIALISE, Tracks, begin_map
from .landmark_map import UNKNOWN, KeyFrame, LandmarkMap, LocalMap, unknown
from .settings import OdometrySettings

_NEIGHBOURS = 8  # key frames that make the local map and are adjusted together
_ANCHORS = 8  # older ones that see the same landmarks and hold these in place
_LEAST_TO_RELOCALISE = 30  # matches: more than to track, because no motion vouches for the place
_RELOCALISATION_TRIALS = 20  # key frames compared with one lost frame
_SEARCH_ANGLE = 0.1  # radians between a landmark and where constant velocity predicts it
_NEW_VIEW = 0.6  # share of the key frame's landmarks still seen, below which a frame becomes the next one
_NEW_PLACE = 0.15  # motion in shares of the median depth, above which it does


class State(enum.Enum):
    """What odometry knows."""

    INITIALISING = "initialising"
    TRACKING = "tracking"
    LOST = "lost"


@dataclass(frozen=True)
class Update:
    """What came of a frame.

    Attributes
    ----------
    state : State
    pose : Pose or None
        Of the (left) camera in the odometry frame; None unless tracking.
    covariance : ndarray, (6, 6), float64, or None
        Of rotation about the camera's axes and position in the odometry frame, with a pixel as standard deviation of
        keypoints. It knows nothing of the drift of the map.
    inliers : int
        Landmarks that agree with the pose.
    is_key_frame : bool
    """

    state: State
    pose: Pose | None = None
    covariance: Array | None = None
    inliers: int = 0
    is_key_frame: bool = False


class Odometry:
    """Follows a camera; see the module's description.

    Parameters
    ----------
    camera : OdometryCamera
        With a baseline, frames are expected to be of a stereo pair; see `frames`.
    settings : OdometrySettings

    Attributes
    ----------
    state : State
        After the last frame.
    map : LandmarkMap

    Raises
    ------
    ValueError
        If the Python package that adjusts the map is missing.
    """

    def __init__(self, camera: OdometryCamera, settings: OdometrySettings | None = None) -> None:
        check_installed()
        self.camera = camera
        self.settings = settings or OdometrySettings()
        self.state = State.INITIALISING
        self._begin(INITIAL_POSE)

    def _begin(self, pose: Pose) -> None:
        """Start a new map at `pose`."""
        self.map = LandmarkMap(self.camera, self.settings.max_key_frames)
        self._start_pose = self._last_pose = pose
        self._tracks: Tracks | None = None
        self._is_unproven = False  # a single camera's map in which no frame has been tracked yet
        self._motion = Pose.identity()
        self._lost_frames = 0

    def process(self, frame: KeypointFrame) -> Update:
        """Take the next frame."""
        if not self.map.key_frames:
            update = self._initialise(frame)
        else:
            update = self._track(frame) or self._relocalise(frame) or Update(State.LOST)
        self.state = update.state
        if update.pose is not None:
            tracked = update.covariance is not None and not self._lost_frames
            self._motion = self._last_pose.inverse() @ update.pose if tracked else Pose.identity()
            self._last_pose, self._lost_frames = update.pose, 0
            self._is_unproven &= update.covariance is None
        elif self.map.key_frames:
            self._lost_frames += 1
            if self._lost_frames == self.settings.restart_after or self._is_unproven:
                self._begin(self._last_pose)
        return update

    # The beginning

    def _initialise(self, frame: KeypointFrame) -> Update:
        found = self._begin_stereo(frame) if self.camera.baseline else self._begin_monocular(frame)
        if not found:
            return Update(State.INITIALISING)
        newest = self.map.key_frames[-1]
        self._refer_to(newest)
        return Update(State.TRACKING, newest.pose, None, self._reference_size, is_key_frame=True)

    def _begin_stereo(self, frame: KeypointFrame) -> bool:
        if np.isfinite(frame.points[:, 2]).sum() < self.settings.min_inliers:
            return False
        self._insert(frame, self._start_pose, unknown(frame))
        return True

    def _begin_monocular(self, frame: KeypointFrame) -> bool:
        """Begin with frames that see enough of the same from places far enough apart."""
        if self._tracks is not None and self._tracks.follow(frame) >= LEAST_TO_INITIALISE:
            begun = begin_map(self.camera, self.settings, self._tracks, self._start_pose)
            if isinstance(begun, LandmarkMap):
                self.map, self._is_unproven = begun, True
                return True
            self._tracks = begun
        else:
            self._tracks = Tracks([frame])
        return False

    # Tracking

    def _track(self, frame: KeypointFrame) -> Update | None:
        located = self._locate(frame, self._local, self.settings.min_inliers, self._last_pose @ self._motion)
        if located is None:
            return None
        estimate, landmarks = located
        pose, is_key_frame = estimate.pose, self._deserves_key_frame(estimate)
        if is_key_frame:
            self._insert(frame, pose, landmarks)
            window = self.map.neighbours(self.map.key_frames[-1], _NEIGHBOURS + _ANCHORS)
            if len(window) > 1:
                least = 1 if self.camera.baseline or len(window) == 2 else 2  # the second one holds the scale
                self.map.optimise(window, max(least, len(window) - _NEIGHBOURS), LARGEST_ERROR)
            self._refer_to(self.map.key_frames[-1])
            pose = self.map.key_frames[-1].pose
        return Update(State.TRACKING, pose, estimate.covariance, int(estimate.inliers.sum()), is_key_frame)

    def _locate(
        self, frame: KeypointFrame, local: LocalMap, least_inliers: int, predicted: Pose | None = None
    ) -> tuple[PoseEstimate, NDArray[np.int64]] | None:
        """Find the pose from which `frame` sees `local`, and the landmark of each keypoint.

        Landmarks are looked for near where they are predicted; failing that, or without prediction, everywhere; and
        once a pose is found, again close to where it expects them.
        """
        estimate = None
        for guess in (predicted, None) if predicted else (None,):
            rows, columns = self._find(frame, local, guess, _SEARCH_ANGLE * self.camera.focal_length)
            estimate = estimate_pose(
                self.camera, frame.points[rows], local.positions[columns], LARGEST_ERROR, least_inliers
            )
            if estimate is not None:
                break
        if estimate is None:
            return None
        rows, columns = self._find(frame, local, estimate.pose, 2 * LARGEST_ERROR)
        estimate = refine_pose(
            self.camera, estimate.pose, frame.points[rows], local.positions[columns], LARGEST_ERROR, least_inliers
        )
        if estimate is None:
            return None
        landmarks = unknown(frame)
        landmarks[rows[estimate.inliers]] = local.numbers[columns[estimate.inliers]]
        return estimate, landmarks

    def _find(
        self, frame: KeypointFrame, local: LocalMap, pose: Pose | None, radius: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Match keypoints (rows) with landmarks (columns), within `radius` pixels of where `pose` expects these."""
        candidates = None
        if pose is not None:
            seen = pose.to_body(local.positions)
            expected = np.where(seen[:, 2:] > 0, self.camera.project(seen)[:, :2], np.nan)
            candidates = near_predictions(expected, frame.points[:, :2], radius).T
        rows, columns = match_descriptors(frame.descriptors, local.descriptors, candidates=candidates).indices.T
        return rows, columns

    def _relocalise(self, frame: KeypointFrame) -> Update | None:
        """Compare a lost frame with key frames, newest first and further back with each lost frame."""
        candidates = self.map.key_frames[::-1]
        start = self._lost_frames * _RELOCALISATION_TRIALS % len(candidates)
        for candidate in (candidates[start:] + candidates[:start])[:_RELOCALISATION_TRIALS]:
            local = self.map.local_map([candidate])
            located = self._locate(frame, local, max(_LEAST_TO_RELOCALISE, self.settings.min_inliers))
            if located is not None:
                self._refer_to(candidate)
                estimate = located[0]
                return Update(State.TRACKING, estimate.pose, estimate.covariance, int(estimate.inliers.sum()))
        return None

    def _refer_to(self, key_frame: KeyFrame) -> None:
        """Track from here on what is seen around `key_frame`."""
        self._reference = key_frame
        self._local = self.map.local_map(self.map.neighbours(key_frame, _NEIGHBOURS))
        known = key_frame.landmarks[key_frame.landmarks != UNKNOWN]
        self._reference_size = len(known)
        self._reference_depth = float(np.median(key_frame.pose.to_body(self.map.positions[known])[:, 2]))

    def _deserves_key_frame(self, estimate: PoseEstimate) -> bool:
        moved = np.linalg.norm(estimate.pose.position - self._reference.pose.position)
        seen = estimate.inliers.sum()
        return bool(seen < _NEW_VIEW * self._reference_size or moved > _NEW_PLACE * self._reference_depth)

    # Key frames

    def _insert(self, frame: KeypointFrame, pose: Pose, landmarks: NDArray[np.int64]) -> None:
        """Make a key frame, and landmarks of what it sees for the first time."""
        new = (landmarks == UNKNOWN) & np.isfinite(frame.points[:, 2])
        landmarks[new] = self.map.add_landmarks(landmarks_from_disparity(self.camera, pose, frame.points[new]))
        key_frame = KeyFrame(frame, pose, landmarks)
        for other in self.map.neighbours(key_frame, 3)[::-1]:
            self._triangulate_with(other, key_frame)
        self.map.insert(key_frame)

    def _triangulate_with(self, other: KeyFrame, key_frame: KeyFrame) -> None:
        """Make landmarks of the keypoints that have none in either key frame but match."""
        free0, free1 = (np.flatnonzero(key.landmarks == UNKNOWN) for key in (other, key_frame))
        matches = match_descriptors(other.frame.descriptors[free0], key_frame.frame.descriptors[free1])
        rows, columns = free0[matches.indices[:, 0]], free1[matches.indices[:, 1]]
        landmarks, parallax = triangulate(
            self.camera,
            other.pose,
            other.frame.points[rows],
            key_frame.pose,
            key_frame.frame.points[columns],
            LARGEST_ERROR,
        )
        good = np.isfinite(landmarks[:, 0]) & (parallax > LEAST_PARALLAX)
        numbers = self.map.add_landmarks(landmarks[good])
        other.landmarks[rows[good]] = numbers
        key_frame.landmarks[columns[good]] = numbers

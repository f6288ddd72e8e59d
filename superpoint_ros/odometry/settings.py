"""What a user may decide about odometry."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OdometrySettings:
    """How odometry decides.

    Attributes
    ----------
    min_inliers : int
        Landmarks that must agree with a pose.
    max_key_frames : int
        Key frames kept for relocalisation; with a single camera at least the seven that a map may begin with.
    restart_after : int
        Lost frames after which a new map begins at the last known pose; 0 for never.
    initial_baseline : float
        Monocular: metres between the first and the last of the frames that the map begins with; 0 if not known.
    camera_height : float
        Monocular: metres of the (roughly level) camera above the ground when the map begins; 0 if not known.
    """

    min_inliers: int = 20
    max_key_frames: int = 60
    restart_after: int = 30
    initial_baseline: float = 0.0
    camera_height: float = 0.0

"""The parameters of the odometry node."""

from __future__ import annotations

from dataclasses import dataclass

from superpoint_ros.odometry import OdometrySettings

from ..parameters import TOPIC_PREFIX, check, parameter


def _are_cameras(names: tuple[str, ...]) -> bool:
    return (
        len(names) in (1, 2) and len(set(names)) == len(names) and all(TOPIC_PREFIX.fullmatch(name) for name in names)
    )


@dataclass(frozen=True)
class OdometryParameters:
    """Values of all parameters of the odometry node.

    Raises
    ------
    ValueError
        If one of them is not allowed; the message names it.
    """

    autostart: bool = parameter(
        True, "Whether the node configures and activates itself at start, instead of waiting for a lifecycle manager."
    )
    cameras: tuple[str, ...] = parameter(
        ("camera",),
        "One camera, or the left and the right one of a stereo pair: <name>/keypoints and <name>/camera_info in.",
        accepts=_are_cameras,
        constraint="one or two different names that can start a topic name",
    )
    odom_frame: str = parameter("odom", "Frame of the poses; its origin is the first camera pose, x forward, z up.")
    publish_tf: bool = parameter(
        True,
        "Whether to publish the transform from odom_frame to the camera's frame, where tf2_ros is installed. Switch it "
        "off where the camera's frame already has a parent.",
    )
    min_inliers: int = parameter(20, "Landmarks that must agree with a pose.", minimum=6, maximum=1000)
    max_key_frames: int = parameter(
        60, "Key frames kept for relocalisation; a megabyte each.", minimum=3, maximum=10_000
    )
    restart_after: int = parameter(
        30,
        "Lost frames after which a new map begins at the last known pose; 0 waits for a known place for ever.",
        minimum=0,
        maximum=1_000_000,
    )
    initial_baseline: float = parameter(
        0.0,
        "One camera: metres between the two frames that the map begins with, to fix the scale; 0 if not known.",
        minimum=0.0,
        maximum=1000.0,
    )
    camera_height: float = parameter(
        0.0,
        "One camera, held level: its height in metres above the ground when the map begins, to fix the scale; 0 if not "
        "known.",
        minimum=0.0,
        maximum=1000.0,
    )
    max_path_length: int = parameter(
        2000, "Newest poses kept in the path; it is published at key frames.", minimum=1, maximum=1_000_000
    )

    def __post_init__(self) -> None:
        check(self)

    def settings(self) -> OdometrySettings:
        """Return the part that the algorithm takes."""
        return OdometrySettings(
            min_inliers=self.min_inliers,
            max_key_frames=self.max_key_frames,
            restart_after=self.restart_after,
            initial_baseline=self.initial_baseline,
            camera_height=self.camera_height,
        )

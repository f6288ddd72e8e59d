"""The parameters of the odometry node."""

from __future__ import annotations

from dataclasses import dataclass

from superpoint_ros.odometry import OdometrySettings

from ..parameters.common import NodeParameters, cameras_parameter, stale_after_parameter
from ..parameters.declaration import parameter


@dataclass(frozen=True)
class OdometryParameters(NodeParameters):
    """Values of all parameters of the odometry node.

    Raises
    ------
    ValueError
        If one of them is not allowed; the message names it.
    """

    cameras: tuple[str, ...] = cameras_parameter(
        "One camera, or the left and the right one of a stereo pair: <name>/keypoints and <name>/camera_info in.",
        "one or two different names that can start a topic name",
        at_most=2,
    )
    sync_slop: float = parameter(
        0.005,
        "Seconds by which the stamps of left and right may differ; 0.0 pairs equal stamps only.",
        minimum=0.0,
        maximum=1.0,
    )
    odom_frame: str = parameter("odom", "Frame of the poses; its origin is the first camera pose, x forward, z up.")
    publish_tf: bool = parameter(
        True,
        "Whether to publish the transform from odom_frame to the camera's frame, where tf2_ros is installed. Switch it "
        "off where the camera's frame already has a parent.",
    )
    min_inliers: int = parameter(20, "Landmarks that must agree with a pose.", minimum=6, maximum=1000)
    max_key_frames: int = parameter(
        60,
        "Key frames kept for relocalisation, with one camera at least seven; a megabyte each.",
        minimum=3,
        maximum=10_000,
    )
    restart_after: int = parameter(
        30,
        "Lost frames after which a new map begins at the last known pose; 0 waits for a known place for ever.",
        minimum=0,
        maximum=1_000_000,
    )
    initial_baseline: float = parameter(
        0.0,
        "One camera: metres between the first and the last of the frames that the map begins with, to fix the scale; "
        "0 if not known.",
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

    stale_after: float = stale_after_parameter("keypoints")

    def algorithm(self) -> OdometrySettings:
        """Return the part that the algorithm takes."""
        return OdometrySettings(
            min_inliers=self.min_inliers,
            max_key_frames=self.max_key_frames,
            restart_after=self.restart_after,
            initial_baseline=self.initial_baseline,
            camera_height=self.camera_height,
        )

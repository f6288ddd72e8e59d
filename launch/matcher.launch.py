"""Starts the matcher, with the detector before it unless told otherwise: --show-args lists the arguments."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, OpaqueFunction
from launch_ros.actions import Node

from superpoint_ros.nodes import launching

ARGUMENTS = [
    launching.params_file_argument("matcher"),
    DeclareLaunchArgument(
        "mode",
        default_value="",
        choices=["", "consecutive", "keyframes", "stereo"],
        description="What each frame is matched to: the one before, the last key frame, or the other image of a stereo "
        "pair. Empty: as params_file says.",
    ),
    DeclareLaunchArgument(
        "estimate",
        default_value="",
        choices=["", "none", "homography", "essential"],
        description="What is estimated from the matches. Empty: as params_file says.",
    ),
    DeclareLaunchArgument(
        "cameras",
        default_value="",
        description="Names of the cameras, separated by commas: 'left,right' for stereo. The matcher subscribes to "
        "<name>/keypoints. Empty: as params_file says.",
    ),
    DeclareLaunchArgument(
        "image_topic",
        default_value="",
        description="Image topic of the camera, where it is not <name>/image_raw. For one camera.",
    ),
    launching.switch_argument(
        "detector",
        "true",
        "Whether to start the detector too; false where it runs already, or keypoints come from a bag.",
    ),
    launching.params_file_argument("detector", "detector_params_file"),
    launching.namespace_argument(),
    launching.switch_argument("rviz", "false", "Whether to open rviz2 with the tracks of the first camera."),
]


def start(context: LaunchContext) -> list[GroupAction | Node]:
    """Make the nodes, now that the arguments have values."""
    argument = launching.values(context, ARGUMENTS)
    cameras = launching.camera_names(argument)
    camera = cameras[0] if cameras else "camera"
    matcher = launching.node(
        context,
        "matcher",
        argument["namespace"],
        parameters=[argument["params_file"], launching.overrides(argument, ("mode", "estimate"), cameras)],
        remappings=launching.image_remappings(argument, camera),
    )
    detector_arguments = {
        "params_file": argument["detector_params_file"],
        "cameras": ",".join(cameras),
        "image_topic": argument["image_topic"],
        "namespace": argument["namespace"],
        "rviz": "false",
    }
    overlay = "stereo_matches_image" if argument["mode"] == "stereo" else "tracks_image"
    # The rviz configuration says /camera: lead that to the camera at hand, in the namespace.
    remappings = [
        ("/camera/tracks_image", f"{camera}/{overlay}"),
        ("/camera/image_raw", argument["image_topic"].rstrip("/") or f"{camera}/image_raw"),
    ]
    return [
        launching.rviz(argument, "matcher", remappings),
        launching.included("detector", detector_arguments, argument["detector"]),
        matcher,
    ]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])

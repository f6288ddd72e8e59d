"""Starts the detector, and rviz2 on request: `ros2 launch superpoint_ros detector.launch.py --show-args`."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch_ros.actions import Node

from superpoint_ros.nodes import launching

ARGUMENTS = [
    launching.params_file_argument("detector"),
    DeclareLaunchArgument(
        "cameras",
        default_value="",
        description="Names of the cameras, separated by commas, such as 'left,right': the detector subscribes to "
        "<name>/image_raw and publishes <name>/keypoints and <name>/keypoints_image. Empty: as params_file says.",
    ),
    DeclareLaunchArgument(
        "image_topic",
        default_value="",
        description="Image topic of the camera, where it is not <name>/image_raw. For one camera: the one that "
        "'cameras' names, otherwise 'camera'. Its compressed images are expected at <image_topic>/compressed.",
    ),
    DeclareLaunchArgument(
        "weights",
        default_value="",
        description="Weights: 'default', 'small', a file, a Hugging Face folder or id. Empty: as params_file says.",
    ),
    DeclareLaunchArgument(
        "device",
        default_value="",
        description="Where the network runs: 'auto', 'cpu', 'cuda:0', ... Empty: as params_file says.",
    ),
    launching.namespace_argument(),
    launching.switch_argument(
        "rviz", "false", "Whether to open rviz2 with the images and keypoints of the first camera."
    ),
]


def start(context: LaunchContext) -> list[Node]:
    """Make the nodes, now that the arguments have values."""
    argument = launching.values(context, ARGUMENTS)
    cameras = launching.camera_names(argument)
    camera = cameras[0] if cameras else "camera"
    detector = launching.node(
        context,
        "detector",
        argument["namespace"],
        parameters=[argument["params_file"], launching.overrides(argument, ("weights", "device"), cameras)],
        remappings=launching.image_remappings(argument, camera),
    )
    # The rviz configuration says /camera: lead that to the camera at hand, in the namespace.
    remappings = [
        ("/camera/image_raw", argument["image_topic"].rstrip("/") or f"{camera}/image_raw"),
        ("/camera/keypoints_image", f"{camera}/keypoints_image"),
    ]
    return [launching.rviz(argument, "detector", remappings), detector]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])

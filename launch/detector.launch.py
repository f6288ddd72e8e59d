"""Starts the detector, and rviz2 on request: `ros2 launch superpoint_ros detector.launch.py --show-args`."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from superpoint_ros.nodes.fast_dds import profile_environment

SHARE = Path(get_package_share_directory("superpoint_ros"))

ARGUMENTS = [
    DeclareLaunchArgument(
        "params_file",
        default_value=str(SHARE / "config" / "detector.yaml"),
        description="Parameters of the detector, a YAML file. The arguments below come before what it says.",
    ),
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
        description="Weights: 'default', a file, a Hugging Face model folder or id. Empty: as params_file says.",
    ),
    DeclareLaunchArgument(
        "device",
        default_value="",
        description="Where the network runs: 'auto', 'cpu', 'cuda:0', ... Empty: as params_file says.",
    ),
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics."),
    DeclareLaunchArgument(
        "rviz",
        default_value="false",
        choices=["true", "false"],
        description="Whether to open rviz2 with the images and keypoints of the first camera.",
    ),
]


def start(context: LaunchContext) -> list[Node]:
    """Make the nodes, now that the arguments have values."""
    argument = {action.name: LaunchConfiguration(action.name).perform(context) for action in ARGUMENTS}
    cameras = [name.strip() for name in argument["cameras"].split(",") if name.strip()]
    topic = argument["image_topic"].rstrip("/")
    if topic:
        cameras = cameras or ["camera"]
        if len(cameras) > 1:
            raise RuntimeError(f"image_topic:={topic} is for one camera, but cameras:= names {len(cameras)}: {cameras}")
    if not Path(argument["params_file"]).is_file():
        raise RuntimeError(f"params_file:={argument['params_file']} is no file")

    # Typed, for otherwise a weights file named 2026 or a camera named on would not stay a string.
    overrides = {
        name: ParameterValue(argument[name], value_type=str) for name in ("weights", "device") if argument[name]
    }
    if cameras:
        overrides["cameras"] = ParameterValue(cameras, value_type=list[str])
    camera = cameras[0] if cameras else "camera"
    images = f"{camera}/image_raw"
    detector = Node(
        package="superpoint_ros",
        executable="detector",
        name="detector",
        namespace=argument["namespace"],
        parameters=[argument["params_file"], overrides],
        remappings=[(images, topic), (f"{images}/compressed", f"{topic}/compressed")] if topic else [],
        additional_env=profile_environment(context.environment, SHARE / "config" / "fastdds.xml"),
        output="screen",
        emulate_tty=True,
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        name="superpoint_rviz",
        namespace=argument["namespace"],
        arguments=["-d", str(SHARE / "config" / "detector.rviz")],
        # The rviz configuration says /camera: lead that to the camera at hand, in the namespace.
        remappings=[
            ("/camera/image_raw", topic or images),
            ("/camera/keypoints_image", f"{camera}/keypoints_image"),
        ],
        condition=IfCondition(argument["rviz"]),
        output="screen",
    )
    return [rviz, detector]  # where rviz2 is not installed, the launch fails before anything runs


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])

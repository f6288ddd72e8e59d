"""Starts the matcher, with the detector before it unless told otherwise: --show-args lists the arguments."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from superpoint_ros.nodes.fast_dds import profile_environment

SHARE = Path(get_package_share_directory("superpoint_ros"))

ARGUMENTS = [
    DeclareLaunchArgument(
        "params_file",
        default_value=str(SHARE / "config" / "matcher.yaml"),
        description="Parameters of the matcher, a YAML file. The arguments below come before what it says.",
    ),
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
    DeclareLaunchArgument(
        "detector",
        default_value="true",
        choices=["true", "false"],
        description="Whether to start the detector too; false where it runs already, or keypoints come from a bag.",
    ),
    DeclareLaunchArgument(
        "detector_params_file",
        default_value=str(SHARE / "config" / "detector.yaml"),
        description="Parameters of the detector, a YAML file.",
    ),
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the nodes and their topics."),
    DeclareLaunchArgument(
        "rviz",
        default_value="false",
        choices=["true", "false"],
        description="Whether to open rviz2 with the tracks of the first camera.",
    ),
]


def start(context: LaunchContext) -> list[GroupAction | Node]:
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

    overrides = {
        name: ParameterValue(argument[name], value_type=str) for name in ("mode", "estimate") if argument[name]
    }
    if cameras:
        overrides["cameras"] = ParameterValue(cameras, value_type=list[str])
    camera = cameras[0] if cameras else "camera"
    images = f"{camera}/image_raw"
    matcher = Node(
        package="superpoint_ros",
        executable="matcher",
        name="matcher",
        namespace=argument["namespace"],
        parameters=[argument["params_file"], overrides],
        remappings=[(images, topic), (f"{images}/compressed", f"{topic}/compressed")] if topic else [],
        additional_env=profile_environment(context.environment, SHARE / "config" / "fastdds.xml"),
        output="screen",
        emulate_tty=True,
    )
    overlay = "stereo_matches_image" if argument["mode"] == "stereo" else "tracks_image"
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        name="superpoint_rviz",
        namespace=argument["namespace"],
        arguments=["-d", str(SHARE / "config" / "matcher.rviz")],
        # The rviz configuration says /camera: lead that to the camera at hand, in the namespace.
        remappings=[("/camera/tracks_image", f"{camera}/{overlay}"), ("/camera/image_raw", topic or images)],
        condition=IfCondition(argument["rviz"]),
        output="screen",
    )
    return [rviz, _detector(argument, cameras), matcher]  # where rviz2 is not installed, the launch fails at once


def _detector(argument: dict[str, str], cameras: list[str]) -> GroupAction:
    """Include detector.launch.py, if it is wanted."""
    arguments = {
        "params_file": argument["detector_params_file"],
        "cameras": ",".join(cameras),
        "image_topic": argument["image_topic"],
        "namespace": argument["namespace"],
        "rviz": "false",
    }
    source = PythonLaunchDescriptionSource(str(Path(__file__).with_name("detector.launch.py")))
    include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    # A group keeps the detector's arguments, some of which have names of ours, to itself.
    return GroupAction([include], condition=IfCondition(argument["detector"]))


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])

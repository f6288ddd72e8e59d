"""Plays a video, images, a camera, a bag or a virtual camera to the detector: no camera driver is needed."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from superpoint_ros.nodes.fast_dds import profile_environment

SHARE = Path(get_package_share_directory("superpoint_ros"))

ARGUMENTS = [
    DeclareLaunchArgument(
        "source",
        default_value="virtual",
        description="What to play: a video file, an image folder, /dev/videoN, a bag, or 'virtual', a camera that "
        "moves over photographs.",
    ),
    DeclareLaunchArgument(
        "rate",
        default_value="0.0",
        description="Images per second; 0.0 keeps the timing of the source.",
    ),
    DeclareLaunchArgument(
        "loop",
        default_value="true",
        choices=["true", "false"],
        description="Whether to start again at the end of the source.",
    ),
]


def start_player(context: LaunchContext) -> list[Node]:
    """Make the player publish what the detector subscribes to: <first of cameras>/image_raw, or image_topic."""
    camera = LaunchConfiguration("cameras").perform(context).split(",")[0].strip() or "camera"
    topic = LaunchConfiguration("image_topic").perform(context).rstrip("/")
    parameters = {
        "source": ParameterValue(LaunchConfiguration("source"), value_type=str),
        "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float),
        "loop": ParameterValue(LaunchConfiguration("loop"), value_type=bool),
        "camera_name": ParameterValue(camera, value_type=str),
    }
    player = Node(
        package="superpoint_ros",
        executable="camera_player",
        name="camera_player",
        namespace=LaunchConfiguration("namespace"),
        parameters=[parameters],
        remappings=[(f"{camera}/image_raw", topic)] if topic else [],
        additional_env=profile_environment(context.environment, SHARE / "config" / "fastdds.xml"),
        output="screen",
        emulate_tty=True,
    )
    return [player]


def generate_launch_description() -> LaunchDescription:
    detector = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(Path(__file__).with_name("detector.launch.py")))
    )
    return LaunchDescription([*ARGUMENTS, detector, OpaqueFunction(function=start_player)])

"""Plays a video, images, a camera, a bag or a virtual camera to the detector: no camera driver is needed."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from superpoint_ros.nodes import launching

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
    launching.switch_argument("loop", "true", "Whether to start again at the end of the source."),
]


def start_player(context: LaunchContext) -> list[Node]:
    """Make the player publish what the detector subscribes to: <first of cameras>/image_raw, or image_topic."""
    names = ("cameras", "image_topic", "namespace")  # of detector.launch.py
    argument = {name: LaunchConfiguration(name).perform(context) for name in names}
    camera = (launching.camera_names(argument) or ["camera"])[0]
    parameters = {
        "source": ParameterValue(LaunchConfiguration("source"), value_type=str),
        "rate": ParameterValue(LaunchConfiguration("rate"), value_type=float),
        "loop": ParameterValue(LaunchConfiguration("loop"), value_type=bool),
        "camera_name": ParameterValue(camera, value_type=str),
    }
    remappings = launching.image_remappings(argument, camera)
    return [
        launching.node(context, "camera_player", argument["namespace"], parameters=[parameters], remappings=remappings)
    ]


def generate_launch_description() -> LaunchDescription:
    detector = PythonLaunchDescriptionSource(str(launching.SHARE / "launch" / "detector.launch.py"))
    return LaunchDescription([*ARGUMENTS, IncludeLaunchDescription(detector), OpaqueFunction(function=start_player)])

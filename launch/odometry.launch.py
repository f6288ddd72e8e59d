"""Starts detector and odometry on one camera, a stereo pair or a simulation: --show-args lists the arguments."""

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
        default_value=str(SHARE / "config" / "odometry.yaml"),
        description="Parameters of the odometry, a YAML file. The arguments below come before what it says.",
    ),
    DeclareLaunchArgument(
        "cameras",
        default_value="left,right",
        description="The camera, or the left and right one of a stereo pair: <name>/image_raw and <name>/camera_info.",
    ),
    DeclareLaunchArgument(
        "simulation",
        default_value="",
        description="Flies simulated cameras, as many as there are names, through a room: 'room' or 'room:FLIGHT' "
        "(docs/odometry.md). Empty: the cameras are real.",
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
        description="Whether to open rviz2 with trajectory, landmarks and images.",
    ),
]


def start(context: LaunchContext) -> list[GroupAction | Node]:
    """Make the nodes, now that the arguments have values."""
    argument = {action.name: LaunchConfiguration(action.name).perform(context) for action in ARGUMENTS}
    cameras = [name.strip() for name in argument["cameras"].split(",") if name.strip()]
    if len(cameras) not in (1, 2):
        raise RuntimeError(f"cameras:={argument['cameras']} must name one camera, or a left and a right one")
    if argument["simulation"] and len(cameras) == 2 and cameras != ["left", "right"]:
        raise RuntimeError(f"cameras:={argument['cameras']}: the simulated stereo camera has the names left,right")
    if not Path(argument["params_file"]).is_file():
        raise RuntimeError(f"params_file:={argument['params_file']} is no file")
    transport = profile_environment(context.environment, SHARE / "config" / "fastdds.xml")
    common = {"package": "superpoint_ros", "namespace": argument["namespace"], "output": "screen", "emulate_tty": True}
    odometry = Node(
        **common,
        executable="odometry",
        name="odometry",
        parameters=[argument["params_file"], {"cameras": ParameterValue(cameras, value_type=list[str])}],
        # Its matrices are small: threads of the linear algebra would only get in the detector's way.
        additional_env={"OPENBLAS_NUM_THREADS": "1", **transport},
    )
    nodes: list[GroupAction | Node] = [_rviz(argument, cameras[0]), _detector(argument, cameras), odometry]
    if argument["simulation"]:
        player = {
            "source": ParameterValue(argument["simulation"], value_type=str),
            "stereo": len(cameras) == 2,
            "camera_name": ParameterValue(cameras[0], value_type=str),
            # The true poses count from the first frame, the odometry's from the first that it gets: begin together.
            "wait_for_subscribers": 1,
        }
        nodes.append(
            Node(
                **common,
                executable="camera_player",
                name="camera_player",
                parameters=[player],
                additional_env=transport,
            )
        )
    return nodes  # where rviz2 is not installed, the launch fails at once


def _rviz(argument: dict[str, str], camera: str) -> Node:
    topics = ("image_raw", "camera_info", "keypoints_image", "tracks_image")
    return Node(
        package="rviz2",
        executable="rviz2",
        name="superpoint_rviz",
        namespace=argument["namespace"],
        arguments=["-d", str(SHARE / "config" / "odometry.rviz")],
        # The rviz configuration says /left and the root namespace: lead that to the camera at hand.
        remappings=[(f"/left/{topic}", f"{camera}/{topic}") for topic in topics]
        + [(f"/{topic}", topic) for topic in ("odometry", "path", "landmarks", "ground_truth/path")],
        condition=IfCondition(argument["rviz"]),
        output="screen",
    )


def _detector(argument: dict[str, str], cameras: list[str]) -> GroupAction:
    """Include detector.launch.py; a group keeps its arguments, some of which have names of ours, to itself."""
    arguments = {
        "params_file": argument["detector_params_file"],
        "cameras": ",".join(cameras),
        "image_topic": "",
        "namespace": argument["namespace"],
        "rviz": "false",
    }
    source = PythonLaunchDescriptionSource(str(Path(__file__).with_name("detector.launch.py")))
    return GroupAction([IncludeLaunchDescription(source, launch_arguments=arguments.items())])


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])

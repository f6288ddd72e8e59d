"""Starts detector and odometry on one camera, a stereo pair or a simulation: --show-args lists the arguments."""

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, OpaqueFunction
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from superpoint_ros.nodes import launching

ARGUMENTS = [
    launching.params_file_argument("odometry"),
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
    launching.params_file_argument("detector", "detector_params_file"),
    launching.switch_argument(
        "matcher", "true", "Whether to start the matcher too, which draws tracks while somebody looks at them."
    ),
    launching.params_file_argument("matcher", "matcher_params_file"),
    launching.namespace_argument(),
    launching.switch_argument("rviz", "false", "Whether to open rviz2 with trajectory, landmarks and images."),
]

RVIZ_TOPICS = (
    ("image_raw", "camera_info", "keypoints_image", "tracks_image"),
    (
        "odometry",
        "path",
        "landmarks",
        "ground_truth/path",
    ),
)
"""Of the first camera, and of the odometry: what the rviz configuration shows."""


def start(context: LaunchContext) -> list[GroupAction | Node]:
    """Make the nodes, now that the arguments have values."""
    argument = launching.values(context, ARGUMENTS)
    cameras = launching.camera_names(argument)
    if len(cameras) not in (1, 2):
        raise RuntimeError(f"cameras:={argument['cameras']} must name one camera, or a left and a right one")
    if argument["simulation"] and len(cameras) == 2 and cameras != ["left", "right"]:
        raise RuntimeError(f"cameras:={argument['cameras']}: the simulated stereo camera has the names left,right")
    namespace = argument["namespace"]
    odometry = launching.node(
        context,
        "odometry",
        namespace,
        # Threads of NumPy's linear algebra, which matches descriptors, would get in the detector's way.
        environment={"OPENBLAS_NUM_THREADS": "1"},
        parameters=[argument["params_file"], launching.overrides(argument, (), cameras)],
    )
    common = {"namespace": namespace, "rviz": "false"}
    detector = {"params_file": argument["detector_params_file"], "cameras": ",".join(cameras), **common}
    matcher = {"params_file": argument["matcher_params_file"], "cameras": cameras[0], "detector": "false", **common}
    # The rviz configuration says /left and the root namespace: lead that to the camera at hand.
    of_camera, of_odometry = RVIZ_TOPICS
    remappings = [(f"/left/{topic}", f"{cameras[0]}/{topic}") for topic in of_camera]
    remappings += [(f"/{topic}", topic) for topic in of_odometry]
    nodes = [
        launching.rviz(argument, "odometry", remappings),
        launching.included("detector", detector),
        launching.included("matcher", matcher, argument["matcher"]),
        odometry,
    ]
    return [*nodes, *([_player(context, argument, cameras)] if argument["simulation"] else [])]


def _player(context: LaunchContext, argument: dict[str, str], cameras: list[str]) -> Node:
    """Return the simulated camera or cameras."""
    parameters = {
        "source": ParameterValue(argument["simulation"], value_type=str),
        "stereo": len(cameras) == 2,
        "camera_name": ParameterValue(cameras[0], value_type=str),
        # The true poses count from the first frame, the odometry's from the first that it gets: begin together.
        "wait_for_subscribers": 1,
    }
    return launching.node(context, "camera_player", argument["namespace"], parameters=[parameters])


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])

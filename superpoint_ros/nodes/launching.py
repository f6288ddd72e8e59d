"""What the launch files have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch import LaunchContext
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from .processes.fast_dds import profile_environment

SHARE = Path(get_package_share_directory("superpoint_ros"))


def params_file_argument(node: str, name: str = "params_file") -> DeclareLaunchArgument:
    """Declare the file with the parameters of a node; config/<node>.yaml by default."""
    description = f"Parameters of the {node}, a YAML file. Other arguments come before what it says."
    return DeclareLaunchArgument(name, default_value=str(SHARE / "config" / f"{node}.yaml"), description=description)


def switch_argument(name: str, default: str, description: str) -> DeclareLaunchArgument:
    """Declare an argument that is true or false."""
    return DeclareLaunchArgument(name, default_value=default, choices=["true", "false"], description=description)


def namespace_argument() -> DeclareLaunchArgument:
    """Declare the namespace."""
    return DeclareLaunchArgument(
        "namespace", default_value="", description="Namespace of the nodes and their topics; empty for none."
    )


def values(context: LaunchContext, declared: Iterable[DeclareLaunchArgument]) -> dict[str, str]:
    """Return the arguments' values by name; those that are a params_file exist.

    Raises
    ------
    RuntimeError
        If such a file does not exist.
    """
    found = {action.name: LaunchConfiguration(action.name).perform(context) for action in declared}
    for name, value in found.items():
        if name.endswith("params_file") and not Path(value).is_file():
            raise RuntimeError(f"{name}:={value} is no file")
    return found


def camera_names(argument: dict[str, str]) -> list[str]:
    """Return the cameras that the arguments name; none if the parameter file is to say.

    Raises
    ------
    RuntimeError
        If an image_topic is given for several cameras.
    """
    names = [name.strip() for name in argument["cameras"].split(",") if name.strip()]
    topic = argument.get("image_topic", "")
    if topic and len(names) > 1:
        raise RuntimeError(f"image_topic:={topic} is for one camera, but cameras:= names {len(names)}: {names}")
    return names or (["camera"] if topic else [])


def overrides(argument: dict[str, str], names: Sequence[str], cameras: list[str]) -> dict[str, ParameterValue]:
    """Return the parameters among the arguments that are not empty, and the cameras if there are any.

    They have types, for otherwise a weights file named 2026 or a camera named on would not stay a text.
    """
    result = {name: ParameterValue(argument[name], value_type=str) for name in names if argument[name]}
    if cameras:
        result["cameras"] = ParameterValue(cameras, value_type=list[str])
    return result


def image_remappings(argument: dict[str, str], camera: str) -> list[tuple[str, str]]:
    """Return what leads the images of a camera to image_topic, if that is given."""
    topic, images = argument["image_topic"].rstrip("/"), f"{camera}/image_raw"
    return [(images, topic), (f"{images}/compressed", f"{topic}/compressed")] if topic else []


def node(
    context: LaunchContext, executable: str, namespace: str, environment: dict[str, str] | None = None, **options: Any
) -> Node:
    """Return one of the package's nodes, with the transport profile unless the user has chosen a transport."""
    profile = profile_environment(context.environment, SHARE / "config" / "fastdds.xml")
    return Node(
        package="superpoint_ros",
        executable=executable,
        name=executable,
        namespace=namespace,
        additional_env={**profile, **(environment or {})},
        output="screen",
        emulate_tty=True,
        **options,
    )


def rviz(argument: dict[str, str], configuration: str, remappings: list[tuple[str, str]]) -> Node:
    """Return rviz2 with config/<configuration>.rviz, if it is wanted.

    Start it first: where rviz2 is not installed the launch then fails before anything runs.
    """
    return Node(
        package="rviz2",
        executable="rviz2",
        name="superpoint_rviz",
        namespace=argument["namespace"],
        arguments=["-d", str(SHARE / "config" / f"{configuration}.rviz")],
        remappings=remappings,
        condition=IfCondition(argument["rviz"]),
        output="screen",
    )


def included(name: str, arguments: dict[str, str], wanted: str = "true") -> GroupAction:
    """Include another launch file if it is wanted; a group keeps its arguments, which have names of ours, to itself."""
    source = PythonLaunchDescriptionSource(str(SHARE / "launch" / f"{name}.launch.py"))
    include = IncludeLaunchDescription(source, launch_arguments=arguments.items())
    return GroupAction([include], condition=IfCondition(wanted))

"""What the launch files accept and refuse. Needs launch_ros, but starts nothing."""

from pathlib import Path
from typing import Any

import pytest

REASON = "launch comes with a ROS 2 distribution, not with wheels"
pytest.importorskip("launch_ros", reason=REASON)
pytest.importorskip("launch.launch_description_sources", reason=REASON)

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory  # noqa: E402
from launch import LaunchContext  # noqa: E402
from launch.actions import OpaqueFunction  # noqa: E402
from launch.launch_description_sources import get_launch_description_from_python_launch_file  # noqa: E402

try:
    FOLDER = Path(get_package_share_directory("superpoint_ros"), "launch")
except PackageNotFoundError:
    pytest.skip("superpoint_ros is not built", allow_module_level=True)

DETECTOR_ARGUMENTS = {"image_topic", "cameras", "params_file", "weights", "device", "rviz", "namespace"}

MATCHER_ARGUMENTS = {"params_file", "mode", "estimate", "cameras", "image_topic", "detector", "detector_params_file"}
MATCHER_ARGUMENTS |= {"namespace", "rviz"}

ODOMETRY_ARGUMENTS = {"params_file", "cameras", "simulation", "detector_params_file", "namespace", "rviz"}
ODOMETRY_ARGUMENTS |= {"matcher", "matcher_params_file"}


def description(name: str) -> Any:
    return get_launch_description_from_python_launch_file(str(FOLDER / name))


def started(
    arguments: dict[str, str], environment: dict[str, str] | None = None, name: str = "detector.launch.py"
) -> list[Any]:
    """Return the actions that a launch file makes of its arguments."""
    detector = description(name)
    context = LaunchContext()
    context.environment.update(environment or {})
    context.launch_configurations.update(arguments)
    for argument in detector.get_launch_arguments():
        argument.visit(context)
    (opaque,) = [entity for entity in detector.entities if isinstance(entity, OpaqueFunction)]
    return opaque.execute(context)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("detector.launch.py", DETECTOR_ARGUMENTS),
        ("demo.launch.py", DETECTOR_ARGUMENTS | {"source", "rate", "loop"}),
        ("matcher.launch.py", MATCHER_ARGUMENTS),
        ("odometry.launch.py", ODOMETRY_ARGUMENTS),
    ],
)
def test_every_argument_is_described(name: str, expected: set[str]) -> None:
    arguments = description(name).get_launch_arguments()
    assert {argument.name for argument in arguments} == expected
    assert all(len(argument.description) > 20 for argument in arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"params_file": "/no/such/file.yaml"}, "params_file:=/no/such/file.yaml is no file"),
        ({"image_topic": "/image", "cameras": "left, right"}, "is for one camera, but cameras:= names 2"),
        ({"rviz": "perhaps"}, 'Argument "rviz" provided value "perhaps" is not valid'),
    ],
)
def test_bad_arguments_are_refused_before_anything_runs(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        started(arguments)


def test_the_detector_starts_without_arguments() -> None:
    assert [action.node_executable for action in started({})] == ["rviz2", "detector"]


def test_the_matcher_starts_with_a_detector_of_the_same_cameras() -> None:
    rviz, _, matcher = started({"cameras": "left,right", "mode": "stereo"}, name="matcher.launch.py")
    assert [action.node_executable for action in (rviz, matcher)] == ["rviz2", "matcher"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"params_file": "/no/such/file.yaml"}, "params_file:=/no/such/file.yaml is no file"),
        ({"image_topic": "/image", "cameras": "left, right"}, "is for one camera, but cameras:= names 2"),
        ({"mode": "mono"}, 'Argument "mode" provided value "mono" is not valid'),
    ],
)
def test_bad_arguments_of_the_matcher_are_refused(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        started(arguments, name="matcher.launch.py")


def test_the_odometry_starts_with_detector_matcher_and_simulation() -> None:
    rviz, _, _, odometry, player = started({"simulation": "room:fast"}, name="odometry.launch.py")
    executables = [action.node_executable for action in (rviz, odometry, player)]
    assert executables == ["rviz2", "odometry", "camera_player"]
    assert len(started({"cameras": "camera"}, name="odometry.launch.py")) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cameras": "a,b,c"}, "must name one camera, or a left and a right one"),
        ({"cameras": "a,b", "simulation": "room"}, "the simulated stereo camera has the names left,right"),
        ({"params_file": "/nowhere.yaml"}, "params_file:=/nowhere.yaml is no file"),
    ],
)
def test_bad_arguments_of_the_odometry_are_refused(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        started(arguments, name="odometry.launch.py")

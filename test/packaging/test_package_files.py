"""What is shipped is complete and consistent; the files are read as they lie in the repository."""

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from superpoint_ros.__main__ import EXTRAS
from superpoint_ros.nodes.processes.fast_dds import profile_environment

ROOT = Path(__file__).parents[2]
PACKAGE = ElementTree.parse(ROOT / "package.xml").getroot()
BUILT_FOR = sorted(path.parent.name for path in (ROOT / "install").glob("*/.built"))
"""ROS distributions that `make build` has built the package for."""


def test_versions_agree() -> None:
    command = [sys.executable, "setup.py", "--quiet", "--version"]
    version = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()[-1]
    assert version == PACKAGE.findtext("version")


def test_the_library_imports_without_ros() -> None:
    modules = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for folder in ("superpoint", "geometry", "matching", "simulation", "odometry", "training", "evaluation", "bags")
        for path in (ROOT / "superpoint_ros" / folder).rglob("*.py")
    )
    without_ros = "import sys; sys.modules.update(dict.fromkeys(['rclpy', 'sensor_msgs', 'std_msgs', 'cv_bridge']))"
    imports = "\n".join(f"import {module}" for module in modules)
    subprocess.run([sys.executable, "-c", f"{without_ros}\n{imports}"], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("command", "package", "remedy"),
    [("bag", "rosbags", "pip install '.[bags]' brings it"), ("extract", "cv2", "README")],
)
def test_a_command_says_which_package_it_lacks(command: str, package: str, remedy: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from superpoint_ros.__main__ import main; main([{command!r}])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"{command} needs the Python package {package}" in result.stderr
    assert remedy in result.stderr
    assert result.stderr.count("\n") == 1


def test_extras_that_commands_name_exist() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert all(f"\n{extra} = [" in project for extra in EXTRAS.values())


def test_messages_import_without_torch() -> None:
    pytest.importorskip("superpoint_ros.msg", reason="the messages are not built")
    code = "import sys; from superpoint_ros.msg import KeypointArray; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_openvino_reports_nothing_to_its_makers() -> None:
    pytest.importorskip("openvino")
    code = """
import sys, numpy
from superpoint_ros.superpoint import SuperPointExtractor
extractor = SuperPointExtractor.from_pretrained("random", device="cpu", backend="openvino", precision="fp32")
extractor(numpy.zeros((64, 64), numpy.uint8))
assert "openvino.tools.ovc" in sys.modules
sys.exit(sys.modules.get("openvino_telemetry") is not None)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("distribution", BUILT_FOR)
def test_everything_is_installed(distribution: str) -> None:
    install = ROOT / "install" / distribution
    (package,) = install.glob("lib/python3*/site-packages/superpoint_ros")
    places = {
        "superpoint_ros": package,
        **{name: install / "share/superpoint_ros" / name for name in ("launch", "config")},
    }
    sources = {
        places[top] / path.relative_to(ROOT / top)
        for top in places
        for path in (ROOT / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    executables = {
        install / "lib/superpoint_ros" / name for name in ("detector", "matcher", "odometry", "camera_player")
    }
    missing = sorted(str(path) for path in sources | executables if not path.is_file())
    assert not missing, f"run: make build ROS_DISTRO={distribution}"


def test_fast_dds_profile_has_room_for_colour_images() -> None:
    profile = ElementTree.parse(ROOT / "config" / "fastdds.xml").getroot()
    sizes = {
        element.tag.rpartition("}")[2]: int(element.text or 0) for element in profile.iter() if _is_number(element)
    }
    assert sizes.items() >= {"segment_size": 64 << 20, "sendBufferSize": 4 << 20, "receiveBufferSize": 4 << 20}.items()
    ids = [element.text for element in profile.iter() if element.tag.endswith("}transport_id")]
    assert sorted(ids[:2]) == sorted(ids[2:]), "each transport is described and used"


def test_cyclonedds_settings_send_large_packets_and_have_room_for_images() -> None:
    settings = ElementTree.parse(ROOT / "config" / "cyclonedds.xml").getroot()
    space = {"": "https://cdds.io/config"}
    assert settings.findtext("Domain/General/MaxMessageSize", namespaces=space) == "65500B"
    buffer = settings.find("Domain/Internal/SocketReceiveBufferSize", namespaces=space)
    assert buffer is not None and buffer.get("min") == "4MB"


def _is_number(element: ElementTree.Element) -> bool:
    return (element.text or "").strip().isdigit()


@pytest.mark.parametrize("change", [None, ("<segment_size>", "<segment_sise>")], ids=["shipped", "broken"])
def test_fast_dds_takes_the_profile(change: tuple[str, str] | None, tmp_path: Path) -> None:
    rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    if "fastrtps" not in rclpy.get_rmw_implementation_identifier():
        pytest.skip("another middleware than Fast DDS is in use")
    profile = tmp_path / "profile.xml"
    profile.write_text((ROOT / "config" / "fastdds.xml").read_text().replace(*change or ("", "")))
    code = "import rclpy; rclpy.init(); rclpy.create_node('probe'); rclpy.try_shutdown()"
    environment = "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"
    command = ["env", *(f"{name}={profile}" for name in environment), sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=change is None)
    assert ("XMLPARSER" in result.stdout + result.stderr) == (change is not None)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"ROS_DISTRO": "kilted"}, {"FASTDDS_DEFAULT_PROFILES_FILE": "/p.xml"}),
        ({"ROS_DISTRO": "jazzy"}, {"FASTRTPS_DEFAULT_PROFILES_FILE": "/p.xml"}),
        ({}, {"FASTDDS_DEFAULT_PROFILES_FILE": "/p.xml"}),
        ({"ROS_DISTRO": "jazzy", "FASTDDS_DEFAULT_PROFILES_FILE": ""}, {"FASTRTPS_DEFAULT_PROFILES_FILE": "/p.xml"}),
        ({"ROS_DISTRO": "kilted", "FASTDDS_DEFAULT_PROFILES_FILE": "/mine.xml"}, {}),
        ({"ROS_DISTRO": "kilted", "FASTRTPS_DEFAULT_PROFILES_FILE": "/mine.xml"}, {}),
        ({"ROS_DISTRO": "jazzy", "FASTRTPS_DEFAULT_PROFILES_FILE": "/mine.xml"}, {}),
        ({"ROS_DISTRO": "kilted", "FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}, {}),
    ],
)
def test_the_users_transport_profile_stays(environment: dict[str, str], expected: dict[str, str]) -> None:
    assert profile_environment(environment, "/p.xml") == expected


@pytest.mark.parametrize("distribution", BUILT_FOR)
@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"FASTDDS_DEFAULT_PROFILES_FILE": ""},
        {"FASTDDS_DEFAULT_PROFILES_FILE": "/mine.xml"},
        {"FASTRTPS_DEFAULT_PROFILES_FILE": "/mine.xml"},
        {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"},
    ],
)
def test_ros_env_follows_the_same_rule(distribution: str, chosen: dict[str, str]) -> None:
    names = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {**chosen, "SUPERPOINT_ROS_DISTRO": distribution}
    result = subprocess.run(
        ["scripts/ros_env", "env"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    found = dict(line.split("=", 1) for line in result.stdout.splitlines() if line.startswith(names))
    profile = profile_environment({**chosen, "ROS_DISTRO": distribution}, ROOT / "config" / "fastdds.xml")
    assert found == {**chosen, **profile}


@pytest.mark.parametrize(("name", "overlay"), [("detector", "keypoints_image"), ("matcher", "tracks_image")])
def test_rviz_shows_images_and_overlay(name: str, overlay: str) -> None:
    rviz = yaml.safe_load((ROOT / "config" / f"{name}.rviz").read_text())
    displays = rviz["Visualization Manager"]["Displays"]
    topics = {display["Topic"]["Value"] for display in displays if display["Enabled"]}
    assert topics == {"/camera/image_raw", f"/camera/{overlay}"}
    launch_file = (ROOT / "launch" / f"{name}.launch.py").read_text()
    assert all(f'"{topic}"' in launch_file for topic in topics), "the launch file leads these to the camera at hand"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ([], {}, "kilted"),
        (["ROS_DISTRO=jazzy"], {}, "jazzy"),
        ([], {"ROS_DISTRO": "jazzy"}, "kilted"),  # a sourced ROS
        ([], {"ROS_DISTRO": "rolling"}, "kilted"),
        (["ROS_DISTRO=kilted"], {"ROS_DISTRO": "rolling"}, "kilted"),
    ],
)
def test_only_the_command_line_chooses_the_distribution(
    arguments: list[str], environment: dict[str, str], expected: str
) -> None:
    settings = [f"{name}={value}" for name, value in environment.items()]
    command = ["env", "-u", "MAKEFLAGS", "-u", "ROS_DISTRO", *settings, "make", "--dry-run", "--always-make"]
    result = subprocess.run([*command, "env", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(re.findall(r"\.venv/(\w+)", result.stdout)) == {expected}


def test_an_unknown_distribution_is_refused() -> None:
    result = subprocess.run(
        ["make", "--dry-run", "env", "ROS_DISTRO=noetic"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert "ROS_DISTRO=noetic is none of: jazzy kilted" in result.stderr


def test_rviz_and_foxglove_show_the_same_of_odometry() -> None:
    topics = {"/path", "/ground_truth/path", "/landmarks", "/odometry"}
    topics |= {f"/left/{topic}" for topic in ("camera_info", "image_raw", "keypoints_image", "tracks_image")}
    rviz = yaml.safe_load((ROOT / "config" / "odometry.rviz").read_text())["Visualization Manager"]
    displayed = {display["Topic"]["Value"] for display in rviz["Displays"] if "Topic" in display}
    foxglove = json.loads((ROOT / "config" / "odometry.foxglove.json").read_text())
    panels = foxglove["configById"]
    shown = {topic for panel in panels.values() for topic in panel.get("topics", {})}
    shown |= {panel["imageMode"]["imageTopic"] for panel in panels.values() if panel.get("imageMode")}
    assert displayed == topics
    assert shown == topics - {"/odometry"}  # which Foxglove's 3D panel does not draw; path and transform say the same
    assert set(re.findall(r'"(\w+!\w+)"', json.dumps(foxglove["layout"]))) == set(panels)
    launch_file = (ROOT / "launch" / "odometry.launch.py").read_text()
    assert all(f'"{topic.removeprefix("/left/").lstrip("/")}"' in launch_file for topic in topics)

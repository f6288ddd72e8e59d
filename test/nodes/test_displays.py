"""What the rviz configurations and the Foxglove layout show is published, as the type that they expect."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

from node_testing import NodeProcess, Probe

CONFIG = Path(__file__).parents[2] / "config"
TYPES = {  # of rviz_default_plugins
    "Path": "nav_msgs/msg/Path",
    "Odometry": "nav_msgs/msg/Odometry",
    "PointCloud2": "sensor_msgs/msg/PointCloud2",
    "CameraInfo": "sensor_msgs/msg/CameraInfo",
    "Image": "sensor_msgs/msg/Image",
}
NODES: dict[str, dict[str, Any]] = {
    "detector": {"cameras": ["left"], "weights": "random", "device": "cpu", "backend": "torch"},
    "matcher": {"cameras": ["left"]},
    "odometry": {"cameras": ["left"]},
    "camera_player": {"source": "room", "stereo": True, "width": 160, "rate": 1.0, "loop": True},
}


def shown_by_rviz(name: str) -> set[tuple[str, str]]:
    """Return topics and types; configurations for one camera call it /camera."""
    displays = yaml.safe_load((CONFIG / f"{name}.rviz").read_text())["Visualization Manager"]["Displays"]
    return {
        (display["Topic"]["Value"].replace("/camera/", "/left/"), TYPES[display["Class"].rpartition("/")[2]])
        for display in displays
        if "Topic" in display
    }


def shown_by_foxglove() -> set[tuple[str, str]]:
    """Return the topics of images and calibrations with their types; those of the scene are rviz's, too."""
    panels = json.loads((CONFIG / "odometry.foxglove.json").read_text())["configById"].values()
    scene = {topic for panel in panels for topic in panel.get("topics", {})}
    assert scene and scene <= {topic for topic, _ in shown_by_rviz("odometry")}
    modes = [panel["imageMode"] for panel in panels if panel.get("imageMode")]
    images = {(mode["imageTopic"], TYPES["Image"]) for mode in modes}
    return images | {(mode["calibrationTopic"], TYPES["CameraInfo"]) for mode in modes if "calibrationTopic" in mode}


def test_everything_shown_is_published_as_the_type_expected(
    start_node: Callable[..., NodeProcess], probe: Probe
) -> None:
    shown = shown_by_foxglove().union(*map(shown_by_rviz, ("detector", "matcher", "odometry")))
    assert {type_name for _, type_name in shown} == set(TYPES.values())
    for executable, parameters in NODES.items():
        start_node(executable, parameters)

    def missing() -> set[tuple[str, str]]:
        return {
            (topic, type_name)
            for topic, type_name in shown
            if type_name not in {info.topic_type for info in probe.get_publishers_info_by_topic(topic)}
        }

    try:
        probe.wait_until(lambda: not missing(), "publishers of all that is shown")
    except AssertionError:
        assert not missing()

"""The shipped SROS2 policy names what the nodes use, and nothing else: compared with the graph of running nodes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

from keystore import Rights, enclaves, rights
from node_testing import NodeProcess, Probe
from sensor_msgs.msg import Image

POLICY = Path(__file__).parents[2] / "config" / "security" / "policy.xml"
PARAMETERS: dict[str, dict[str, Any]] = {
    "camera_player": {"source": "room", "width": 160, "height": 120, "rate": 5.0},
    "detector": {"weights": "random", "device": "cpu", "backend": "torch", "resize": 64},
    "matcher": {"estimate": "essential"},
    "odometry": {"publish_tf": True},
}


def used_by(probe: Probe, node: str) -> Rights:
    """Look up what a running node of the root namespace uses."""
    queries = (
        probe.get_publisher_names_and_types_by_node,
        probe.get_subscriber_names_and_types_by_node,
        probe.get_service_names_and_types_by_node,
        probe.get_client_names_and_types_by_node,
    )
    return Rights(*(frozenset(name for name, _ in query(node, "/")) for query in queries))


@pytest.mark.parametrize("node", PARAMETERS)
def test_the_policy_allows_a_node_what_it_uses_and_nothing_else(
    node: str, start_node: Callable[..., NodeProcess], probe: Probe
) -> None:
    allowed = rights(enclaves(POLICY)[f"/superpoint_ros/{node}"])
    if importlib.util.find_spec("tf2_ros") is None:  # the node goes on without
        allowed = replace(allowed, publish=allowed.publish - {"/tf"})
    start_node(node, PARAMETERS[node])
    probe.wait_until(lambda: node in probe.get_node_names(), node)
    watched = [probe.collect(Image, topic) for topic in ("camera/keypoints_image", "camera/tracks_image")]
    try:
        probe.wait_until(lambda: used_by(probe, node) == allowed, "a graph like the policy")
    except AssertionError:
        assert used_by(probe, node) == allowed
    finally:
        for images in watched:
            probe.destroy_subscription(images.subscription)

"""DDS security between processes, with a keystore made from the shipped policy: who is not let in stays out."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")
if shutil.which("openssl") is None:
    pytest.skip("needs openssl", allow_module_level=True)

from keystore import make_keystore
from node_testing import NodeProcess

POLICY = Path(__file__).parents[2] / "config" / "security" / "policy.xml"
PEER = Path(__file__).with_name("security_peer.py")
MODEL = {"weights": "random", "device": "cpu", "backend": "torch", "resize": 64}
NO_SECURITY = "doesn't have the security libraries"
COMPLAINT = re.compile(r"\[(ERROR|FATAL)\]|\[\w+ Error\]|Traceback")
"""A line that a node logs, one of Fast DDS such as ``[SECURITY Error]``, or an error that nobody caught."""


@pytest.fixture(scope="module")
def keystore(ros_domain: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keystore(tmp_path_factory.mktemp("security") / "keystore", POLICY, ros_domain)


def secured(keystore: Path) -> dict[str, str]:
    return {
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
        "ROS_SECURITY_KEYSTORE": str(keystore),
    }


@pytest.fixture(scope="module")
def environment(keystore: Path) -> Iterator[dict[str, str]]:
    """Start the package's own nodes with security; returns their variables."""
    variables = secured(keystore)
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    yield variables
    for name, value in before.items():
        os.environ.pop(name)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="module")
def detector(environment: dict[str, str], start_node: Callable[..., NodeProcess]) -> NodeProcess:
    """An active detector, where the middleware has security at all."""
    node = start_node("detector", MODEL, "--enclave", "/superpoint_ros/detector")
    try:
        node.wait_for_output("superpoint_ros/random")
    except AssertionError:
        if NO_SECURITY in node.output:
            pytest.skip("this Fast DDS is built without security; ROS distributions build it with")
        raise
    return node


def peer(name: str, frame_id: str, variables: dict[str, str], *arguments: str, seconds: int = 5) -> dict[str, Any]:
    """Run a participant for a while; returns what it got."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ROS_SECURITY_")}
    command = [sys.executable, str(PEER), name, frame_id, str(seconds), "--ros-args", *arguments]
    result = subprocess.run(command, env={**environment, **variables}, capture_output=True, text=True, timeout=120)
    if result.returncode:
        return {"reader": result.stderr, "writer": result.stderr, "frames": []}
    report: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return report


def test_security_that_the_middleware_lacks_is_refused_and_not_ignored(
    environment: dict[str, str], start_node: Callable[..., NodeProcess], keystore: Path
) -> None:
    node = start_node("detector", MODEL, "--enclave", "/superpoint_ros/nobody")
    assert node.process.wait(60) == 1
    assert "Traceback" not in node.output
    assert "nobody" in node.output or NO_SECURITY in node.output  # the enclave without keys, or no security at all


def test_the_policys_nodes_reach_each_other_and_nobody_else_does(
    detector: NodeProcess,
    environment: dict[str, str],
    start_node: Callable[..., NodeProcess],
    tmp_path: Path,
    ros_domain: int,
) -> None:
    as_camera = ("--enclave", "/superpoint_ros/camera_player")
    parameters = {"source": "virtual", "width": 160, "height": 120, "frame_id": "trusted", "rate": 10.0}
    camera = start_node("camera_player", parameters, *as_camera)
    others = [start_node(name, {}, "--enclave", f"/superpoint_ros/{name}") for name in ("matcher", "odometry")]
    camera.wait_for_output("playing")
    consumer = ("--enclave", "/superpoint_ros/consumer")
    assert peer("consumer", "", environment, *consumer, seconds=15)["frames"] == ["trusted"]
    for node in others:  # a right that the policy forgets ends them, fails their configure, or is told by Fast DDS
        assert node.process.poll() is None and not COMPLAINT.search(node.output), node.output

    # Whoever has the camera's keys can send images: the attempts below fail for want of keys, not of skill.
    second = [sys.executable, str(PEER), "camera_player", "second", "20", "--ros-args", *as_camera]
    with subprocess.Popen(second, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        assert peer("consumer", "", environment, *consumer, seconds=15)["frames"] == ["second", "trusted"]

    strangers = make_keystore(tmp_path / "strangers", POLICY, ros_domain)
    attempts = {
        "unsecured": ("intruder", {}, ()),
        "another authority": ("intruder", secured(strangers), as_camera),
        "another enclave": ("consumer", environment, consumer),
    }
    long = [sys.executable, str(PEER), "consumer", "", "45", "--ros-args", *consumer]
    with subprocess.Popen(long, stdout=subprocess.PIPE, text=True) as witness:
        for what, (name, variables, arguments) in attempts.items():
            report = peer(name, f"intruder: {what}", variables, *arguments, seconds=10)
            if what == "another enclave":
                assert report["writer"], "a consumer may publish images"
            else:
                assert report["frames"] == [], f"{what} reads keypoints"
        printed, _ = witness.communicate()
    assert json.loads(printed.splitlines()[-1])["frames"] == ["trusted"]

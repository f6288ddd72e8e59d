"""What odometry makes of keypoints that come late, alone, from another time, of another kind, or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")
pytest.importorskip("pycolmap", reason="odometry needs it: pip install pycolmap")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from nav_msgs.msg import Odometry
from node_testing import NodeProcess, Probe, latest_status
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from superpoint_ros.msg import KeypointArray

from superpoint_ros.nodes.messages.keypoints import to_message
from superpoint_ros.superpoint import Features

SIZE = (320, 240)
FOCAL_LENGTH = 250.0
BASELINE = 0.1
STATUS = "follower: west"


def calibration(side: int = 0) -> CameraInfo:
    """Return that of the left (0) or the right (1) camera."""
    info = CameraInfo(width=SIZE[0], height=SIZE[1], distortion_model="plumb_bob")
    info.k = [FOCAL_LENGTH, 0.0, SIZE[0] / 2, 0.0, FOCAL_LENGTH, SIZE[1] / 2, 0.0, 0.0, 1.0]
    info.r = np.eye(3).ravel()
    info.p = np.insert(np.reshape(info.k, (3, 3)), 3, [-side * BASELINE * FOCAL_LENGTH, 0, 0], axis=1).ravel()
    return info


class StereoCamera:
    """Publishes what a stereo camera sees of a cloud of points as it moves to the right, and gets poses back."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.seconds = 100.0
        self._keypoints = [probe.create_publisher(KeypointArray, f"{eye}/keypoints", 10) for eye in ("west", "east")]
        self._infos = [probe.create_publisher(CameraInfo, f"{eye}/camera_info", 10) for eye in ("west", "east")]
        self._poses = probe.collect(Odometry, "west/odometry")
        for publisher in self._keypoints + self._infos:
            probe.wait_until(lambda: publisher.get_subscription_count() > 0, "the odometry")  # noqa: B023
        probe.wait_until(self._is_answered, "a first pose")

    def _is_answered(self) -> bool:
        for side, publisher in enumerate(self._infos):
            publisher.publish(calibration(side))
        self.send(0.0)
        self.probe.spin_for(0.3, unless=lambda: bool(self._poses))
        return bool(self._poses)

    def send(self, moved: float, late: float = 0.0, eyes: int = 2, place: int = 0, **options: str) -> Time:
        """Publish keypoints seen `moved` metres right of the start, with the right stamps `late` seconds later."""
        generator = np.random.default_rng(place)
        points = generator.uniform((-1.0, -0.7, 2.0), (1.2, 0.7, 5.0), (150, 3))
        descriptors = generator.normal(size=(150, 64)).astype(np.float32)
        descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
        self.seconds += 0.1
        stamps = [_time(self.seconds), _time(self.seconds + late)]
        for side in range(eyes):
            seen = points - [moved + side * BASELINE, 0, 0]
            pixels = FOCAL_LENGTH * seen[:, :2] / seen[:, 2:] + np.array(SIZE) / 2
            features = Features(pixels.astype(np.float32), np.ones(150, np.float32), descriptors, SIZE)
            header = Header(stamp=stamps[side], frame_id="west_optical_frame")
            self._keypoints[side].publish(to_message(header, features, **{"model": "weights@1", **options}))
        return stamps[0]

    def pose(self, moved: float, **options: float) -> Odometry:
        """Publish keypoints and return the pose that they give."""
        stamp = self.send(moved, **options)
        found: list[Odometry] = []

        def has_come() -> bool:
            found[:] = [pose for pose in self._poses if pose.header.stamp == stamp]
            return bool(found)

        self.probe.wait_until(has_come, "a pose")
        return found[0]


def _time(seconds: float) -> Time:
    whole, nanoseconds = divmod(round(seconds * 1e9), 10**9)
    return Time(sec=whole, nanosec=nanoseconds)


def to_the_right(message: Odometry) -> float:
    """Return how far the camera is to the right of the origin: x is forward, y left."""
    return -float(message.pose.pose.position.y)


def covariance(message: Odometry) -> np.ndarray:
    return np.reshape(message.pose.covariance, (6, 6))


@pytest.fixture(scope="module")
def follower(start_node: Callable[..., NodeProcess], probe: Probe) -> SimpleNamespace:
    """An odometry node that has a map, what it sees, and what it says."""
    parameters = {"cameras": ["west", "east"], "restart_after": 3, "stale_after": 1.0}
    node = start_node("odometry", parameters, "-r", "__node:=follower", "-r", "odometry:=west/odometry")
    reports = probe.collect(DiagnosticArray, "/diagnostics")
    return SimpleNamespace(node=node, camera=StereoCamera(probe), reports=reports)


def test_left_and_right_stamps_may_differ_a_little(follower: SimpleNamespace) -> None:
    for moved in (0.02, 0.04, 0.06):
        assert to_the_right(follower.camera.pose(moved, late=0.003)) == pytest.approx(moved, abs=0.003)


def test_stamps_that_go_back_begin_a_new_map(follower: SimpleNamespace) -> None:
    camera, maps = follower.camera, follower.node.output.count("new map")
    camera.pose(0.1)
    camera.seconds -= 50
    again = camera.pose(0.1)
    assert to_the_right(again) == pytest.approx(0, abs=1e-6)
    assert not covariance(again).any(), "the first pose defines the frame"
    assert to_the_right(camera.pose(0.15)) == pytest.approx(0.05, abs=0.003)
    assert "stamps went back by 49.900 s" in follower.node.output
    assert follower.node.output.count("new map") == maps + 1


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"descriptor_type": "int8"}, "int8 descriptors of 'weights@1'"),
        ({"model": "weights@2"}, "float32 descriptors of 'weights@2'"),
        ({"model": "x" * 1_000_000}, f"float32 descriptors of '{'x' * 80}...'"),
    ],
)
def test_descriptors_of_another_kind_are_refused_with_the_remedy(
    options: dict[str, str], found: str, follower: SimpleNamespace, probe: Probe
) -> None:
    reason = f"the keypoints have {found}, the map has float32 descriptors of 'weights@1'"
    remedy = "set the detector's parameters back, or deactivate and activate this node"
    moved = to_the_right(follower.camera.pose(0.1))

    def is_said() -> bool:
        follower.camera.send(0.1, **options)
        probe.spin_for(0.2)
        status = latest_status(follower.reports, STATUS)
        return status is not None and status.level == DiagnosticStatus.ERROR and reason in status.message

    probe.wait_until(is_said, reason)
    assert remedy in latest_status(follower.reports, STATUS).message
    assert to_the_right(follower.camera.pose(0.1)) == pytest.approx(moved, abs=0.003), "the map is still there"


def test_where_a_later_map_begins_is_not_said_to_be_certain(follower: SimpleNamespace) -> None:
    camera = follower.camera
    known = covariance(camera.pose(0.1))
    assert np.diag(known).min() > 0 and np.diag(known).max() < 1
    for _ in range(3):  # after which restart_after gives the map up
        camera.send(0.1, place=1)
    assert (np.diag(covariance(camera.pose(0.1, place=1))) >= 1e6).all()
    assert np.diag(covariance(camera.pose(0.12, place=1))).max() < 1
    assert "lost: the keypoints fit no pose" in follower.node.output
    assert "no known place found: a new map begins" in follower.node.output


def test_diagnostics_tell_when_keypoints_stop_or_one_side_does(follower: SimpleNamespace, probe: Probe) -> None:
    follower.camera.send(0.1)

    def says(level: bytes, text: str) -> bool:
        probe.spin_for(0.2)
        status = latest_status(follower.reports, STATUS)
        return status is not None and status.level == level and text in status.message

    probe.wait_until(lambda: says(DiagnosticStatus.STALE, "no keypoints on /west/keypoints for "), "STALE")

    def says_alone() -> bool:
        follower.camera.send(0.1, eyes=1)
        return says(DiagnosticStatus.ERROR, "no pairs: nothing on /east/keypoints")

    probe.wait_until(says_alone, "ERROR for want of pairs")
    assert follower.node.stop() == 0
    assert "Traceback" not in follower.node.output


class Watcher:
    """An odometry node of a camera of the same name, and what it says."""

    def __init__(self, name: str, start_node: Callable[..., NodeProcess], probe: Probe, **overrides: str) -> None:
        prefix = f"qos_overrides./{name}/camera_info.subscription"
        parameters = {f"{prefix}.{policy}": value for policy, value in overrides.items()}
        self._probe, self._status = probe, f"{name}: {name}"
        self._reports = probe.collect(DiagnosticArray, "/diagnostics")
        self._keypoints = probe.create_publisher(KeypointArray, f"{name}/keypoints", 10)
        self.node = start_node("odometry", {"cameras": [name], **parameters}, "-r", f"__node:={name}")

    def wait_for(self, text: str, message: KeypointArray) -> None:
        """Publish keypoints until their status says `text`."""

        def is_said() -> bool:
            self._keypoints.publish(message)
            self._probe.spin_for(0.2)
            status = latest_status(self._reports, self._status)
            return status is not None and text in status.message

        self._probe.wait_until(is_said, text)
        assert self.node.stop() == 0
        assert "Traceback" not in self.node.output


EMPTY = KeypointArray(width=SIZE[0], height=SIZE[1])


def test_takes_calibration_that_a_latched_publisher_has_already_sent(
    start_node: Callable[..., NodeProcess], probe: Probe
) -> None:
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = probe.create_publisher(CameraInfo, "lasting/camera_info", latched)
    publisher.publish(calibration())
    Watcher("lasting", start_node, probe).wait_for("initialising", EMPTY)


def test_takes_calibration_of_a_best_effort_publisher(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = probe.create_publisher(CameraInfo, "hasty/camera_info", best_effort)
    timer = probe.create_timer(0.1, lambda: publisher.publish(calibration()))
    Watcher("hasty", start_node, probe).wait_for("initialising", EMPTY)
    probe.destroy_timer(timer)


def test_says_why_no_calibration_can_arrive(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    probe.create_publisher(CameraInfo, "picky/camera_info", best_effort)
    reason = "nothing can arrive on /picky/camera_info: its publishers offer reliability best_effort"
    Watcher("picky", start_node, probe, reliability="reliable").wait_for(reason, EMPTY)


def test_an_unknown_policy_of_the_calibration_fails_with_one_sentence(
    start_node: Callable[..., NodeProcess], probe: Probe
) -> None:
    watcher = Watcher("mistaken", start_node, probe, reliability="perfect")
    watcher.node.wait_for_output("cannot activate: parameter qos_overrides./mistaken/camera_info.subscription: ")
    assert probe.state("mistaken") == "inactive"
    assert watcher.node.stop() == 0
    assert "perfect" in watcher.node.output and "Traceback" not in watcher.node.output


def test_missing_colmap_fails_configure_with_one_sentence(
    start_node: Callable[..., NodeProcess], probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u; find = u.find_spec; "
        "u.find_spec = lambda name, *further: None if name == 'pycolmap' else find(name, *further)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    node = start_node("odometry", {}, "-r", "__node:=without_colmap")
    node.wait_for_output("cannot configure: odometry needs the Python package pycolmap: pip install pycolmap")
    assert probe.state("without_colmap") == "unconfigured"
    assert node.stop() == 0
    assert "Traceback" not in node.output

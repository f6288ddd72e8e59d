"""Quality of service of a detector process: what it adopts, what parameters override, and what it says about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_testing import Connection, NodeProcess, Probe, image_message, latest_status, textured_image
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from superpoint_ros.msg import KeypointArray

from superpoint_ros.nodes.detector.camera import Camera
from superpoint_ros.nodes.detector.parameters import DetectorParameters
from superpoint_ros.nodes.matcher.parameters import MatcherParameters
from superpoint_ros.nodes.matcher.stereo_stream import StereoStream
from superpoint_ros.nodes.matcher.temporal_stream import TemporalStream
from superpoint_ros.nodes.topics import qos

MODEL = {"weights": "random", "device": "cpu", "backend": "torch", "resize": 64}
RELIABLE, BEST_EFFORT = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
VOLATILE, TRANSIENT_LOCAL = DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL


def profile(reliability: ReliabilityPolicy, durability: DurabilityPolicy) -> QoSProfile:
    return QoSProfile(depth=1, reliability=reliability, durability=durability)


@pytest.mark.parametrize(
    ("offers", "expected"),
    [
        ([], (RELIABLE, VOLATILE)),
        ([(RELIABLE, VOLATILE)], (RELIABLE, VOLATILE)),
        ([(BEST_EFFORT, VOLATILE)], (BEST_EFFORT, VOLATILE)),
        ([(RELIABLE, TRANSIENT_LOCAL)], (RELIABLE, TRANSIENT_LOCAL)),
        ([(RELIABLE, VOLATILE), (BEST_EFFORT, VOLATILE)], (BEST_EFFORT, VOLATILE)),
        ([(RELIABLE, VOLATILE), (RELIABLE, TRANSIENT_LOCAL)], (RELIABLE, VOLATILE)),
    ],
)
def test_adopts_the_strongest_quality_that_all_publishers_offer(
    offers: Sequence[tuple[Any, Any]], expected: tuple[Any, Any]
) -> None:
    profiles = [profile(*offer) for offer in offers]
    chosen = qos.adopted(qos.adopting(depth=5), profiles)
    assert chosen == expected
    assert not any(qos.unmet(profile(*chosen), offer) for offer in profiles)
    for reliability in (RELIABLE, BEST_EFFORT):
        for durability in (VOLATILE, TRANSIENT_LOCAL):  # asked for: kept
            assert qos.adopted(profile(reliability, durability), profiles) == (reliability, durability)


def start(start_node: Callable[..., NodeProcess], name: str, **overrides: Any) -> NodeProcess:
    """Start a detector called `name` with a camera of the same name; "__" in overrides stands for a dot."""
    parameters = {f"qos_overrides./{name}/{key.replace('__', '.')}": value for key, value in overrides.items()}
    return start_node("detector", {**MODEL, "cameras": [name], **parameters}, "-r", f"__node:={name}")


def test_an_override_wins_over_what_is_offered(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    node = start(start_node, "thrifty", image_raw__subscription__reliability="best_effort")
    camera = Connection(probe, "thrifty", reliable=True)
    camera.result(image_message(textured_image(64, 64), "rgb8"))
    info = next(info for info in probe.get_subscriptions_info_by_topic("thrifty/image_raw"))
    assert info.qos_profile.reliability == BEST_EFFORT
    node.wait_for_output("subscribed to /thrifty/image_raw as best effort, volatile (offered: reliable, volatile)")
    overrides = [f"qos_overrides./thrifty/image_raw.subscription.{name}" for name in ("reliability", "durability")]
    assert probe.get_parameter_values("thrifty", *overrides) == ["best_effort", "best_available"]


def test_depth_and_publishers_can_be_overridden(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    start(
        start_node,
        "custom",
        image_raw__subscription__depth=3,
        keypoints__publisher__reliability="best_effort",
        keypoints__publisher__durability="transient_local",
        keypoints_image__publisher__reliability="best_effort",
    )
    probe.wait_until(lambda: probe.get_subscriptions_info_by_topic("custom/image_raw"), "the subscription")
    names = ("image_raw.subscription.depth", "keypoints.publisher.depth")
    assert probe.get_parameter_values("custom", *(f"qos_overrides./custom/{name}" for name in names)) == [3, 5]
    offered = {
        topic: probe.get_publishers_info_by_topic(f"custom/{topic}")[0].qos_profile
        for topic in ("keypoints", "keypoints_image")
    }
    assert offered["keypoints"].reliability == offered["keypoints_image"].reliability == BEST_EFFORT
    assert offered["keypoints"].durability == TRANSIENT_LOCAL and offered["keypoints_image"].durability == VOLATILE


def test_says_in_one_sentence_when_nothing_can_match(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    node = start(start_node, "strict", image_raw__subscription__reliability="reliable")
    diagnostics = probe.collect(DiagnosticArray, "/diagnostics")
    probe.create_publisher(Image, "strict/image_raw", profile(BEST_EFFORT, VOLATILE))
    expected = (
        "nothing can arrive on /strict/image_raw: its publishers offer reliability best_effort, and the parameter "
        "qos_overrides./strict/image_raw.subscription.reliability asks for reliable; remove that parameter or change "
        "the publisher"
    )
    node.wait_for_output(expected)

    def is_reported() -> bool:
        status = latest_status(diagnostics, "strict: strict")
        return status is not None and (status.level, status.message) == (DiagnosticStatus.ERROR, expected)

    probe.wait_until(is_reported, "the mismatch on /diagnostics")
    camera = Connection(probe, "strict", reliable=True)  # a second publisher, which matches
    camera.result(image_message(textured_image(64, 64), "rgb8"))
    probe.wait_until(lambda: not is_reported(), "the mismatch to be gone")


def test_takes_what_a_latched_publisher_has_already_sent(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    publisher = probe.create_publisher(Image, "latched/image_raw", profile(RELIABLE, TRANSIENT_LOCAL))
    keypoints = probe.collect(KeypointArray, "latched/keypoints")
    message = image_message(textured_image(64, 64), "rgb8")
    message.header.stamp = probe.next_stamp()
    publisher.publish(message)
    parameters = {**MODEL, "cameras": ["latched"], "process_without_subscribers": True}
    latched = {"qos_overrides./latched/keypoints.publisher.durability": "transient_local"}
    node = start_node("detector", {**parameters, **latched}, "-r", "__node:=latched")
    node.wait_for_output("subscribed to /latched/image_raw as reliable, transient local")
    if not keypoints:  # volatile subscribers may have come too late to be known; this one asks for what is kept
        keypoints = probe.collect(KeypointArray, "latched/keypoints", profile(RELIABLE, TRANSIENT_LOCAL))
    probe.wait_until(lambda: keypoints, "the keypoints of an image published before the detector started")
    assert keypoints[0].header.stamp == message.header.stamp


@pytest.mark.parametrize(("reliability", "durability"), [(RELIABLE, TRANSIENT_LOCAL), (BEST_EFFORT, VOLATILE)])
def test_takes_calibration_from_publishers_of_every_quality(
    reliability: Any, durability: Any, start_node: Callable[..., NodeProcess], probe: Probe
) -> None:
    name = f"lens_{reliability.name}_{durability.name}".lower()
    infos = probe.create_publisher(CameraInfo, f"{name}/camera_info", profile(reliability, durability))
    info = CameraInfo(width=64, height=64, k=[50.0, 0.0, 32.0, 0.0, 50.0, 32.0, 0.0, 0.0, 1.0])
    infos.publish(info)  # of a latched publisher once is enough
    start_node("detector", {**MODEL, "cameras": [name], "publish_bearings": True}, "-r", f"__node:={name}")
    camera = Connection(probe, name)

    def has_bearings() -> bool:
        if durability == VOLATILE:
            infos.publish(info)
        return len(camera.result(image_message(textured_image(64, 64), "rgb8")).bearings) > 0

    probe.wait_until(has_bearings, "bearings")


def test_what_calibration_asks_for_can_be_overridden(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    node = start(start_node, "modest", camera_info__subscription__reliability="best_effort")
    probe.create_publisher(CameraInfo, "modest/camera_info", profile(RELIABLE, VOLATILE))
    node.wait_for_output("subscribed to /modest/camera_info as best effort, volatile (offered: reliable, volatile)")


@pytest.mark.parametrize(
    ("override", "verb"),
    [("image_raw__subscription__reliability", "activate"), ("keypoints__publisher__reliability", "configure")],
)
def test_an_unknown_policy_fails_with_one_sentence(
    override: str, verb: str, start_node: Callable[..., NodeProcess], probe: Probe
) -> None:
    name, state = f"mistaken_{verb}", {"activate": "inactive", "configure": "unconfigured"}[verb]
    node = start(start_node, name, **{override: "perfect"})
    node.wait_for_output(f"cannot {verb}: ")
    errors = [line for line in node.output.splitlines() if "ERROR" in line]
    assert len(errors) == 1 and f"cannot {verb}: parameter qos_overrides./{name}/" in errors[0]
    assert "reliability" in errors[0] and "perfect" in errors[0]
    assert probe.state(name) == state
    diagnostics = probe.collect(DiagnosticArray, "/diagnostics")

    def says(level: bytes, *texts: str) -> bool:
        status = latest_status(diagnostics, f"{name}: model")
        return status is not None and status.level == level and all(text in status.message for text in texts)

    probe.wait_until(lambda: says(DiagnosticStatus.ERROR, f"{state}: ", "perfect"), "the reason on /diagnostics")
    assert not probe.change_state(name, verb)
    if verb == "activate":
        assert probe.change_state(name, "cleanup")
        probe.wait_until(lambda: says(DiagnosticStatus.OK, "unconfigured"), "the reason to be forgotten")
    assert "Traceback" not in node.output
    assert node.stop() == 0


def eye(node: LifecycleNode) -> None:
    Camera(node, "left", DetectorParameters, lambda frame: None, lambda size: None)


def track(node: LifecycleNode) -> None:
    TemporalStream(node, "left", lambda: MatcherParameters(estimate="essential"), lambda descriptors: descriptors)


def pair(node: LifecycleNode) -> None:
    parameters = MatcherParameters(estimate="essential")
    StereoStream(node, ("left", "right"), lambda: parameters, lambda descriptors: descriptors)


@pytest.mark.parametrize(
    ("make", "mistaken"),
    [
        (eye, "left/keypoints_image.publisher"),
        (eye, "left/camera_info.subscription"),
        (track, "left/tracks_image.publisher"),
        (track, "left/image_raw.subscription"),  # for the overlay, once it is watched
        (track, "left/camera_info.subscription"),
        (pair, "right/camera_info.subscription"),
    ],
)
def test_what_is_advertised_before_an_unknown_policy_is_given_back(
    make: Callable[[LifecycleNode], None], mistaken: str, probe: Probe
) -> None:
    override = Parameter(f"qos_overrides./{mistaken}.reliability", value="perfect")
    node = LifecycleNode("attempt", parameter_overrides=[override])  # `probe` starts ROS

    def entities() -> list[Any]:
        return [*node.publishers, *node.subscriptions, *node.timers]

    before = entities()
    with pytest.raises(ValueError, match=f"parameter qos_overrides./{mistaken}: .*`perfect`"):
        make(node)
    assert entities() == before
    node.destroy_node()

"""Images on their way to a detector process: nothing lost, whatever the publisher offers and whenever it comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_testing import Connection, NodeProcess, Probe, counts, image_message, latest_status, settled, textured_image
from rclpy.qos import HistoryPolicy, QoSProfile
from rclpy.time import Time
from sensor_msgs.msg import CompressedImage, Image
from superpoint_ros.msg import KeypointArray

CAMERAS = ["fast", "slow", "shy", "late", "odd"]
# Large images, little computing, and a queue for pauses of a busy machine: the transport is what is tested.
MODEL = {"weights": "random", "device": "cpu", "backend": "torch", "resize": 64, "frame_policy": "all"}


@pytest.fixture(scope="module")
def detector(start_node: Callable[..., NodeProcess], probe: Probe) -> SimpleNamespace:
    node = start_node("detector", {**MODEL, "cameras": CAMERAS})
    return SimpleNamespace(node=node, diagnostics=probe.collect(DiagnosticArray, "/diagnostics"))


def send(probe: Probe, camera: Connection, message: Any, rate: float, count: int) -> list[int]:
    """Publish `count` images at a steady rate; returns their stamps, those of a steady camera, in nanoseconds."""
    start = time.monotonic()
    first = probe.get_clock().now().nanoseconds
    stamps = [first + round(number * 1e9 / rate) for number in range(count)]
    for number, stamp in enumerate(stamps):
        message.header.stamp = Time(nanoseconds=stamp).to_msg()
        camera.publish(message)
        probe.spin_for(max(0.0, start + (number + 1) / rate - time.monotonic()))
    return stamps


def test_vga_colour_at_30_hz_arrives_complete(detector: SimpleNamespace, probe: Probe) -> None:
    camera = Connection(probe, "fast")
    message = image_message(textured_image(480, 640), "bgr8")
    stamps = send(probe, camera, message, rate=30.0, count=90)

    def all_accounted_for() -> bool:
        return settled(counts(detector.diagnostics, "detector: fast")) == camera.sent

    probe.wait_until(all_accounted_for, f"{camera.sent} images to be accounted for")
    found = counts(detector.diagnostics, "detector: fast")
    assert found["images received"] == camera.sent
    assert all(found[f"dropped: {reason}"] == 0 for reason in ("overload", "malformed", "failed"))
    assert found["missing: gaps between stamps"] == 0
    results = [Time.from_msg(result.header.stamp).nanoseconds for result in camera.keypoints]
    assert results == sorted(results) and set(results) <= set(stamps)
    assert found["images processed"] >= len(stamps)


def test_missing_images_are_counted_from_the_stamps(detector: SimpleNamespace, probe: Probe) -> None:
    camera = Connection(probe, "slow")
    message = image_message(textured_image(48, 64), "rgb8")
    first = probe.get_clock().now().nanoseconds
    lost = {20, 21, 30}
    for number in (number for number in range(40) if number not in lost):
        message.header.stamp = Time(nanoseconds=first + number * 100_000_000).to_msg()
        camera.publish(message)
        probe.spin_for(0.02)

    def is_counted() -> bool:
        return counts(detector.diagnostics, "detector: slow").get("missing: gaps between stamps") == len(lost)

    probe.wait_until(is_counted, "the count of missing images")
    warnings = [
        status
        for array in detector.diagnostics
        for status in array.status
        if status.name == "detector: slow" and status.level == DiagnosticStatus.WARN
    ]
    assert any("missing" in status.message for status in warnings)


def test_adopts_a_best_effort_publisher_and_says_so(detector: SimpleNamespace, probe: Probe) -> None:
    Connection(probe, "shy", reliable=False)  # would wait forever if the detector insisted on reliable
    expected = "subscribed to /shy/image_raw as best effort, volatile (offered: best effort, volatile)"
    assert detector.node.output.count(expected) == 1


def test_follows_a_camera_that_comes_back_with_another_offer(detector: SimpleNamespace, probe: Probe) -> None:
    for reliable in (False, True, False):
        Connection(probe, "late", reliable=reliable).close()
        probe.wait_until(lambda: probe.count_publishers("late/image_raw") == 0, "the camera to be gone")


def test_says_when_the_topic_carries_another_type(detector: SimpleNamespace, probe: Probe) -> None:
    probe.create_publisher(CompressedImage, "odd/image_raw", 1)

    def is_reported() -> bool:
        status = latest_status(detector.diagnostics, "detector: odd")
        return status is not None and status.level == DiagnosticStatus.ERROR

    probe.wait_until(is_reported, "the mismatch on /diagnostics")
    expected = "/odd/image_raw carries sensor_msgs/msg/CompressedImage but sensor_msgs/msg/Image is expected"
    assert expected in latest_status(detector.diagnostics, "detector: odd").message
    detector.node.wait_for_output(expected)


def test_policy_all_processes_every_image_in_order(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    parameters = {**MODEL, "cameras": ["bag"], "frame_policy": "all"}
    start_node("detector", parameters, "-r", "__node:=thorough")
    camera = Connection(probe, "bag")
    message = image_message(textured_image(240, 320), "rgb8")
    stamps = []
    for number in range(60):  # in bursts of 30: faster than the model for a while
        message.header.stamp.nanosec = number + 1
        camera.publish(message)
        stamps.append(number + 1)
        if number % 30 == 29:
            probe.wait_until(lambda: len(camera.keypoints) == len(stamps), f"{len(stamps)} results")
    assert [result.header.stamp.nanosec for result in camera.keypoints] == stamps


def test_policy_all_keeps_images_while_the_model_is_busy(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    parameters = {**MODEL, "resize": 0, "threads": 1, "max_keypoints": 10, "cameras": ["burst"]}
    start_node("detector", parameters, "-r", "__node:=retentive")
    keypoints = probe.collect(KeypointArray, "burst/keypoints", 1000)
    Connection(probe, "burst")
    probe.wait_until(lambda: keypoints, "keypoints")
    sender = probe.create_publisher(Image, "burst/image_raw", QoSProfile(history=HistoryPolicy.KEEP_ALL, depth=1))
    probe.wait_until(lambda: sender.get_subscription_count() > 0, "the detector to listen")
    del keypoints[:]
    message = image_message(textured_image(120, 160), "rgb8")
    stamps = list(range(1, 401))  # many times faster than the model: nearly all of them wait
    for stamp in stamps:
        message.header.stamp.nanosec = stamp
        sender.publish(message)
    probe.wait_until(lambda: len(keypoints) == len(stamps), "all results")
    assert [result.header.stamp.nanosec for result in keypoints] == stamps

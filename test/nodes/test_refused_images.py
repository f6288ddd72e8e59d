"""What detector and matcher do with images that they refuse, in this process."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image as pillow

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

import rclpy
from node_testing import Probe, compressed_message, image_message, textured_image
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from superpoint_ros import images
from superpoint_ros.nodes.detector.camera import Camera, Frame
from superpoint_ros.nodes.detector.parameters import DetectorParameters
from superpoint_ros.nodes.matcher.background import Background
from superpoint_ros.nodes.reporting.rare_warnings import RareWarnings

IMAGE = image_message(textured_image(24, 32), "rgb8")


@pytest.fixture
def node(probe: Probe) -> Iterator[LifecycleNode]:
    """A node whose callbacks raise into the test; `probe` starts ROS."""
    node = LifecycleNode("receiver")
    yield node
    node.destroy_node()


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts of all warnings that are meant to be rare."""
    texts: list[str] = []
    monkeypatch.setattr(RareWarnings, "__call__", lambda _, text: texts.append(text))
    return texts


class Detector:
    """A camera of the detector, and the frames that it accepts."""

    def __init__(self, node: LifecycleNode, **parameters: Any) -> None:
        self.frames: list[Frame] = []
        self.sizes: list[tuple[int, int]] = []
        self.settings = DetectorParameters(process_without_subscribers=True, **parameters)
        self.camera = Camera(node, "camera", lambda: self.settings, self.frames.append, self.sizes.append)
        self.camera.subscribe()

    def has_accepted(self, message: Any) -> bool:
        return any(frame.message.header.stamp == message.header.stamp for frame in self.frames)


class Matcher:
    """The background of the matcher's overlay."""

    def __init__(self, node: LifecycleNode) -> None:
        self._background = Background(node, "camera", "raw")
        self._background.watch(True)

    def has_accepted(self, message: Any) -> bool:
        return bool(self._background.at(message.header, (message.width, message.height)).any())


@pytest.fixture
def send(probe: Probe, node: LifecycleNode) -> Callable[..., None]:
    """Return a function that has `node` receive messages of one type on a topic."""

    def send(topic: str, *messages: Any, until: Callable[[], bool]) -> None:
        publisher = probe.create_publisher(type(messages[0]), topic, 10)
        probe.wait_until(lambda: publisher.get_subscription_count() > 0, f"a subscriber of {topic}")
        for message in messages:
            message.header.stamp = probe.next_stamp()
            publisher.publish(message)
        for _ in range(600):
            if until():
                break
            rclpy.spin_once(node, timeout_sec=0.1)
        else:
            pytest.fail(f"no success with the last message on {topic}")
        probe.destroy_publisher(publisher)

    return send


@pytest.mark.parametrize(("receiver_type", "failing"), [(Detector, "check"), (Matcher, "check"), (Matcher, "to_array")])
def test_whatever_a_message_makes_the_check_raise_costs_that_message_only(
    receiver_type: type[Detector | Matcher],
    failing: str,
    node: LifecycleNode,
    send: Callable[..., None],
    warnings: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = getattr(images, failing)

    def surprise(message: Image, *arguments: Any) -> Any:
        if message.header.frame_id == "surprise":
            raise RuntimeError("nobody expects this")
        return original(message, *arguments)

    monkeypatch.setattr(images, failing, surprise)
    receiver, bad, good = receiver_type(node), copy.deepcopy(IMAGE), copy.deepcopy(IMAGE)
    bad.header.frame_id = "surprise"
    send("camera/image_raw", bad, good, until=lambda: receiver.has_accepted(good))
    assert not receiver.has_accepted(bad)
    assert "/camera/image_raw" in warnings[0] and "nobody expects this" in warnings[0]


def png(width: int, height: int) -> CompressedImage:
    buffer = io.BytesIO()
    pillow.new("L", (width, height)).save(buffer, "PNG")
    return compressed_message(buffer.getvalue(), "png")


def mono(width: int, height: int) -> Image:
    return image_message(np.zeros((height, width), np.uint8), "mono8")


@pytest.mark.parametrize(
    ("transport", "topic", "make"), [("raw", "image_raw", mono), ("compressed", "image_raw/compressed", png)]
)
def test_more_pixels_than_max_pixels_are_refused_by_name_and_exactly_as_many_are_not(
    transport: str,
    topic: str,
    make: Callable[[int, int], Any],
    node: LifecycleNode,
    send: Callable[..., None],
    warnings: list[str],
) -> None:
    detector = Detector(node, image_transport=transport, max_pixels=1024)
    largest, too_large, larger = make(32, 32), make(41, 25), make(41, 25)
    send(f"camera/{topic}", too_large, largest, until=lambda: detector.has_accepted(largest))
    assert not detector.has_accepted(too_large)
    assert detector.camera.statistics.snapshot().totals["malformed"] == 1
    assert warnings == [
        f"image on /camera/{topic} dropped: size 41 x 25 is too large; expected at most 1024 pixels "
        "(parameter max_pixels)"
    ]
    detector.settings = replace(detector.settings, max_pixels=1025)
    send(f"camera/{topic}", larger, until=lambda: detector.has_accepted(larger))


@pytest.mark.parametrize(("size", "expected"), [((2**32 - 1, 2**32 - 1), []), ((41, 25), []), ((32, 32), [(32, 32)])])
def test_a_camera_info_of_more_pixels_than_max_pixels_prepares_for_nothing(
    size: tuple[int, int], expected: list[tuple[int, int]], node: LifecycleNode, send: Callable[..., None]
) -> None:
    detector = Detector(node, max_pixels=1024)
    info = CameraInfo(width=size[0], height=size[1])
    send("camera/camera_info", info, until=lambda: "not calibrated" in detector.camera.calibration.problem(None))
    assert detector.sizes == expected

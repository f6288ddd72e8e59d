"""Help for tests that talk to real node processes over DDS; importing it needs ROS 2 and the built messages."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from ament_index_python.packages import get_package_prefix
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, SetParameters, SetParametersAtomically
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from superpoint_ros.msg import KeypointArray

TIMEOUT = 60.0  # seconds; only ever reached when something is wrong, even on a busy machine


def free_domain() -> tuple[int, socket.socket]:
    """Find a ROS domain that no other test session on this machine uses: a bound port marks it as taken."""
    domains = list(range(1, 100))
    random.shuffle(domains)
    for domain in domains:
        marker = socket.socket()
        try:
            marker.bind(("127.0.0.1", 22119 + domain))
        except OSError:
            marker.close()
            continue
        return domain, marker
    raise RuntimeError("all ROS domains are in use")


class NodeProcess:
    """An executable of the package that runs as a process of its own, with its output in a file."""

    def __init__(self, executable: str, parameters: dict[str, Any], log: Path, *arguments: str) -> None:
        program = Path(get_package_prefix("superpoint_ros"), "lib", "superpoint_ros", executable)
        values = [f"{name}:={_yaml(value)}" for name, value in parameters.items()]
        command = [sys.executable, str(program), "--ros-args", *arguments]
        command += [word for value in values for word in ("-p", value)]
        self._log = log
        with log.open("wb") as output:
            environment = {**os.environ, "RCUTILS_LOGGING_BUFFERED_STREAM": "0"}
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_for_output(self, text: str) -> None:
        deadline = time.monotonic() + TIMEOUT
        while text not in self.output:
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.output}"
            assert time.monotonic() < deadline, f"{text!r} did not appear in:\n{self.output}"
            time.sleep(0.05)

    def stop(self, with_signal: signal.Signals = signal.SIGINT) -> int:
        """Signal the process; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        try:
            return self.process.wait(TIMEOUT)
        finally:
            self.process.kill()


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_yaml, value))}]"
    return str(value)


class Probe(Node):
    """Plays the rest of the robot: publishes images, collects what comes back, calls services."""

    def __init__(self, name: str = "probe") -> None:
        super().__init__(name)
        self._stamps = 0

    # Waiting

    def wait_until(self, condition: Callable[[], Any], what: str, timeout: float = TIMEOUT) -> None:
        """Handle events until `condition` holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"timed out waiting for {what}"
            rclpy.spin_once(self, timeout_sec=0.05)

    def spin_for(self, seconds: float, unless: Callable[[], bool] = lambda: False) -> None:
        """Handle events for a while, or until something happens."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not unless():
            rclpy.spin_once(self, timeout_sec=0.05)

    # Topics

    def collect(self, message_type: type, topic: str, qos: Any = 100) -> list[Any]:
        """Subscribe; returns the list that fills with messages, and with the subscription as `list.subscription`."""
        messages = _Messages()
        messages.subscription = self.create_subscription(message_type, topic, messages.append, qos)
        return messages

    def image_publisher(self, topic: str, message_type: type | None = None, reliable: bool = True) -> Any:
        """Advertise images and wait until the detector subscribes to them."""
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        publisher = self.create_publisher(message_type or Image, topic, QoSProfile(depth=100, reliability=reliability))
        self.wait_until(lambda: publisher.get_subscription_count() > 0, f"a subscriber of {topic}")
        return publisher

    def next_stamp(self) -> Time:
        """Return a stamp that no other image has."""
        self._stamps += 1
        now = self.get_clock().now().to_msg()
        return Time(sec=now.sec, nanosec=self._stamps)

    # Services

    def call(self, service_type: type, name: str, request: Any) -> Any:
        client = self.create_client(service_type, name)
        try:
            self.wait_until(client.service_is_ready, f"service {name}")
            future = client.call_async(request)
            self.wait_until(future.done, f"an answer of {name}")
            return future.result()
        finally:
            self.destroy_client(client)

    def set_parameters(self, node: str, **values: Any) -> list[Any]:
        """Set parameters one by one; returns a SetParametersResult for each."""
        request = SetParameters.Request(parameters=_parameters(values))
        return list(self.call(SetParameters, f"{node}/set_parameters", request).results)

    def set_parameters_atomically(self, node: str, **values: Any) -> Any:
        request = SetParametersAtomically.Request(parameters=_parameters(values))
        return self.call(SetParametersAtomically, f"{node}/set_parameters_atomically", request).result

    def get_parameter_values(self, node: str, *names: str) -> list[Any]:
        values = self.call(GetParameters, f"{node}/get_parameters", GetParameters.Request(names=names)).values
        return [parameter_value_to_python(value) for value in values]

    def change_state(self, node: str, label: str) -> bool:
        request = ChangeState.Request(transition=Transition(label=label))
        return bool(self.call(ChangeState, f"{node}/change_state", request).success)

    def state(self, node: str) -> str:
        return str(self.call(GetState, f"{node}/get_state", GetState.Request()).current_state.label)


class _Messages(list[Any]):
    subscription: Any = None


def _parameters(values: dict[str, Any]) -> list[Any]:
    return [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]


def image_message(pixels: np.ndarray, encoding: str, **fields: Any) -> Image:
    """Return a message of (H, W, ...) pixels without row padding; `fields` override what follows from them."""
    height, width = pixels.shape[:2]
    message = Image(**{"height": height, "width": width, "encoding": encoding, "step": pixels[0].nbytes, **fields})
    message.header.frame_id = "camera_optical_frame"
    message.data = array("B", np.ascontiguousarray(pixels).tobytes())
    return message


def compressed_message(data: bytes, format: str) -> CompressedImage:
    message = CompressedImage(format=format)
    message.header.frame_id = "camera_optical_frame"
    message.data = array("B", data)
    return message


def textured_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return an RGB image with structure at several scales, (H, W, 3) uint8."""
    generator = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for cells in (2, 5, 12):
        coarse = generator.uniform(0, 85, (cells, cells, 3))
        image += coarse[np.arange(height) * cells // height][:, np.arange(width) * cells // width]
    return image.astype(np.uint8)


def latest_status(arrays: list[DiagnosticArray], name: str) -> DiagnosticStatus | None:
    """Return the newest status whose name ends so."""
    for message in reversed(arrays):
        for status in message.status:
            if status.name.endswith(name):
                return status
    return None


def values(status: DiagnosticStatus) -> dict[str, str]:
    return {item.key: item.value for item in status.values}


def counts(arrays: list[DiagnosticArray], name: str) -> dict[str, int]:
    """Return what the newest status whose name ends so has counted; empty if there is none."""
    status = latest_status(arrays, name)
    return {key: int(value) for key, value in values(status).items() if value.isdecimal()} if status else {}


def settled(counts: dict[str, int]) -> int:
    """Return how many of the received images were processed or dropped; the rest waits or is under way."""
    return counts.get("images processed", 0) + sum(n for key, n in counts.items() if key.startswith("dropped"))


class Connection:
    """Images into a camera of a detector, and the keypoints that come back; both have met when this is made.

    Discovery goes both ways and the detector ignores images while nobody listens, so images are sent until the last
    one is answered; those before are answered or dropped by then.

    Attributes
    ----------
    publisher : rclpy.publisher.Publisher
    keypoints : list of KeypointArray
        Without those answers.
    first : Image or CompressedImage
        What was sent to meet; may be sent again.
    sent : int
        Images published until now.
    """

    def __init__(
        self, probe: Probe, camera: str = "camera", topic: str = "image_raw", first: Any = None, reliable: bool = True
    ) -> None:
        self._probe = probe
        self._camera = camera
        self.first = first or image_message(textured_image(16, 16), "rgb8")
        self.sent = 0
        self.publisher = probe.image_publisher(f"{camera}/{topic}", type(self.first), reliable)
        self.listen()

    def listen(self) -> None:
        """Subscribe to keypoints and wait until the detector knows."""
        probe, first = self._probe, self.first
        self.keypoints = probe.collect(KeypointArray, f"{self._camera}/keypoints")
        patience, deadline = 0.5, time.monotonic() + TIMEOUT  # seconds

        def is_answered() -> bool:
            return any(result.header.stamp == first.header.stamp for result in self.keypoints)

        while not is_answered():
            assert time.monotonic() < deadline, f"no keypoints of {self._camera}"
            first.header.stamp = probe.next_stamp()
            self.publish(first)
            probe.spin_for(patience, unless=is_answered)
            patience *= 1.5
        del self.keypoints[:]

    def publish(self, message: Any) -> None:
        self.publisher.publish(message)
        self.sent += 1

    def result(self, message: Any) -> KeypointArray:
        """Publish an image with a new stamp and return the message about it."""
        message.header.stamp = self._probe.next_stamp()
        self.publish(message)
        found: list[KeypointArray] = []

        def arrived() -> bool:
            found[:] = [result for result in self.keypoints if result.header.stamp == message.header.stamp]
            return bool(found)

        self._probe.wait_until(arrived, "the result of an image")
        return found[0]

    def stop_listening(self) -> None:
        """Unsubscribe from keypoints."""
        self._probe.destroy_subscription(self.keypoints.subscription)

    def close(self) -> None:
        """Leave; the detector sees a camera and a listener go."""
        self.stop_listening()
        self._probe.destroy_publisher(self.publisher)

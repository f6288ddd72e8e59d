"""Counts how many messages get from one process to another, and how fast: by size, quality of service and settings.

Publisher and subscriber are processes of their own on this host. Prints Markdown tables:

    scripts/ros_env python benchmarks/transport.py

With Fast DDS every case runs with its defaults and with config/fastdds.xml; another middleware
(RMW_IMPLEMENTATION=rmw_cyclonedds_cpp, rmw_zenoh_cpp) runs as you have set it up.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import Image
from superpoint_ros.msg import KeypointArray

from superpoint_ros.nodes.processes.fast_dds import profile_environment

PROFILE = Path(__file__).parents[1] / "config" / "fastdds.xml"
TOPIC = "transport_benchmark"
DISCOVERY_LIMIT = 20.0
"""Seconds for publisher and subscriber to find each other."""
PATIENCE = 1.5
"""Seconds without a message after which no more is expected."""


@dataclass(frozen=True)
class Payload:
    """What is sent: an image of this size, or keypoints where the encoding is empty."""

    encoding: str
    width: int
    height: int
    keypoints: int = 0

    @property
    def message_type(self) -> type[Any]:
        """Of ROS."""
        return Image if self.encoding else KeypointArray

    def message(self) -> Any:
        """Return a message to fill in a stamp and send."""
        if not self.encoding:
            x, descriptors = array("f", bytes(4 * self.keypoints)), array("f", bytes(4 * 256 * self.keypoints))
            return KeypointArray(
                width=self.width, height=self.height, x=x, y=x, scores=x, descriptor_size=256, descriptors=descriptors
            )
        step = self.width * {"mono8": 1, "bgr8": 3}[self.encoding]
        message = Image(width=self.width, height=self.height, step=step, encoding=self.encoding)
        message.data = array("B", bytes(step * self.height))
        return message

    def __str__(self) -> str:
        if not self.encoding:
            return f"{self.keypoints} keypoints, {1028 * self.keypoints / 1e6:.1f} MB"
        data = len(self.message().data)
        return f"{self.encoding} {self.width}x{self.height}, {data / 1e6:.1f} MB"


PAYLOADS = {
    "mono_vga": Payload("mono8", 640, 480),
    "color_vga": Payload("bgr8", 640, 480),
    "color_720p": Payload("bgr8", 1280, 720),
    "color_1080p": Payload("bgr8", 1920, 1080),
    "keypoints": Payload("", 640, 480, keypoints=1000),
}


@dataclass(frozen=True)
class Endpoint:
    """How one side is set up."""

    reliability: str
    profile: bool

    def __str__(self) -> str:
        return f"{self.reliability.replace('_', ' ')}, {'`fastdds.xml`' if self.profile else 'defaults'}"

    def start(self, role: str, payload: str, options: argparse.Namespace) -> subprocess.Popen[str]:
        """Run this side in a process of its own."""
        chosen = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS")
        environment = {name: value for name, value in os.environ.items() if name not in chosen}
        if self.profile:
            environment |= profile_environment(environment, PROFILE)
        command = [sys.executable, __file__, "--role", role, "--reliability", self.reliability, "--payload", payload]
        command += ["--frames", str(options.frames), "--rate", str(options.rate)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


SIDES = (  # publisher, subscriber
    (Endpoint("best_effort", False), Endpoint("best_effort", False)),
    (Endpoint("best_effort", False), Endpoint("best_effort", True)),
    (Endpoint("reliable", False), Endpoint("best_effort", False)),
    (Endpoint("reliable", False), Endpoint("reliable", False)),
    (Endpoint("best_effort", True), Endpoint("best_effort", False)),
    (Endpoint("best_effort", True), Endpoint("best_effort", True)),
    (Endpoint("reliable", True), Endpoint("reliable", False)),
    (Endpoint("reliable", True), Endpoint("reliable", True)),
)


def publish(options: argparse.Namespace) -> None:
    """Publish messages stamped with the monotonic clock, which all processes of a host share."""
    payload = PAYLOADS[options.payload]
    node = rclpy.create_node("publisher")
    publisher = node.create_publisher(payload.message_type, TOPIC, quality(options))
    deadline = time.monotonic() + DISCOVERY_LIMIT
    while publisher.get_subscription_count() == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)  # the subscriber has to find the publisher, too
    message = payload.message()
    start = time.monotonic()
    for number in range(options.frames):
        time.sleep(max(0.0, start + number / options.rate - time.monotonic()))
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(time.monotonic_ns(), 10**9)
        publisher.publish(message)
    publisher.wait_for_all_acked(Duration(seconds=5))
    time.sleep(PATIENCE)


def subscribe(options: argparse.Namespace) -> None:
    """Print the latencies of the messages that arrive, in seconds, as JSON."""
    latencies: list[float] = []

    def receive(message: Any) -> None:
        latencies.append(time.monotonic() - message.header.stamp.sec - message.header.stamp.nanosec * 1e-9)

    node = rclpy.create_node("subscriber")
    node.create_subscription(PAYLOADS[options.payload].message_type, TOPIC, receive, quality(options))
    end = time.monotonic() + DISCOVERY_LIMIT + options.frames / options.rate + PATIENCE
    publishers_seen = False
    while time.monotonic() < end and len(latencies) < options.frames:
        rclpy.spin_once(node, timeout_sec=0.1)
        publishers = node.count_publishers(TOPIC)
        if publishers_seen and publishers == 0:
            break
        publishers_seen = publishers_seen or publishers > 0
    print(json.dumps(latencies))


def quality(options: argparse.Namespace) -> QoSProfile:
    """Return the quality of service of either side: as a camera driver has it, ten messages deep."""
    return QoSProfile(depth=10, reliability=ReliabilityPolicy[options.reliability.upper()])


def measure(payload: str, publisher: Endpoint, subscriber: Endpoint, options: argparse.Namespace) -> str:
    """Return the last columns of a row: share that arrived, median and 99th percentile of the latency."""
    receiving = subscriber.start("subscribe", payload, options)
    sending = publisher.start("publish", payload, options)
    printed, _ = receiving.communicate()
    if sending.wait() or receiving.returncode:
        sys.exit("transport.py: one of the processes failed; its message is above")
    milliseconds = [1e3 * seconds for seconds in json.loads(printed)]
    arrived = f"{100 * len(milliseconds) / options.frames:.0f} %"
    if len(milliseconds) < 2:
        return f"{arrived} | | |"
    p99 = statistics.quantiles(milliseconds, n=100, method="inclusive")[98]
    return f"{arrived} | {statistics.median(milliseconds):.1f} ms | {p99:.1f} ms |"


def print_sizes(options: argparse.Namespace, profiles: Sequence[bool]) -> None:
    """Measure every payload with the same settings on both sides, and print the cases as they come."""
    print("| message | both sides | arrived | latency p50 | p99 |\n| --- | --- | ---: | ---: | ---: |")
    for name, payload in PAYLOADS.items():
        for profile in profiles:
            for reliability in ("best_effort", "reliable"):
                side = Endpoint(reliability, profile)
                print(f"| {payload} | {side} | {measure(name, side, side, options)}", flush=True)


def print_sides(options: argparse.Namespace) -> None:
    """Measure which side needs the profile, with VGA colour images, and print the cases as they come."""
    print("| publisher | subscriber | arrived | latency p50 | p99 |\n| --- | --- | ---: | ---: | ---: |")
    for publisher, subscriber in SIDES:
        print(f"| {publisher} | {subscriber} | {measure('color_vga', publisher, subscriber, options)}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, or one side of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=90, help="messages per case (default: 90)")
    parser.add_argument("--rate", type=float, default=30.0, help="messages per second (default: 30)")
    parser.add_argument("--table", choices=("sizes", "sides"), help="only this one of the two tables")
    for name, choices in (  # for its own processes
        ("role", ("publish", "subscribe")),
        ("reliability", ("reliable", "best_effort")),
        ("payload", tuple(PAYLOADS)),
    ):
        parser.add_argument(f"--{name}", choices=choices, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.frames < 1 or not options.rate > 0:
        parser.error("--frames and --rate must be above 0")
    if options.role is None:
        is_fast_dds = "fastrtps" in get_rmw_implementation_identifier()
        if options.table != "sides":
            print_sizes(options, profiles=(False, True) if is_fast_dds else (False,))
        if options.table != "sizes" and is_fast_dds:
            print()
            print_sides(options)
        return
    rclpy.init(args=[])
    try:
        {"publish": publish, "subscribe": subscribe}[options.role](options)
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()

"""Counts how many large images get from one process to another, by transport profile and quality of service.

Publisher and subscriber are processes of their own on this host, with Fast DDS. Prints a Markdown table:

    scripts/ros_env python benchmarks/transport.py --frames 150 --rate 30
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

import rclpy
from rclpy.duration import Duration
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.utilities import get_rmw_implementation_identifier
from sensor_msgs.msg import Image

from superpoint_ros.nodes.fast_dds import profile_environment

PROFILE = Path(__file__).parents[1] / "config" / "fastdds.xml"
TOPIC = "transport_benchmark"
WIDTH, HEIGHT = 640, 480  # bgr8: 0.9 MB
DISCOVERY_LIMIT = 20.0
"""Seconds for publisher and subscriber to find each other."""
PATIENCE = 2.0
"""Seconds without an image after which no more is expected."""


@dataclass(frozen=True)
class Endpoint:
    """How one side is set up."""

    reliability: str
    profile: bool

    def __str__(self) -> str:
        return f"{self.reliability.replace('_', ' ')}, {'`fastdds.xml`' if self.profile else 'defaults'}"

    def start(self, role: str, options: argparse.Namespace) -> subprocess.Popen[str]:
        """Run this side in a process of its own."""
        chosen = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_BUILTIN_TRANSPORTS")
        environment = {name: value for name, value in os.environ.items() if name not in chosen}
        if self.profile:
            environment |= profile_environment(environment, PROFILE)
        command = [sys.executable, __file__, "--role", role, "--reliability", self.reliability]
        command += ["--frames", str(options.frames), "--rate", str(options.rate)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


CASES = (  # publisher, subscriber
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
    """Publish images stamped with the monotonic clock, which all processes of a host share."""
    node = rclpy.create_node("publisher")
    publisher = node.create_publisher(Image, TOPIC, quality(options))
    deadline = time.monotonic() + DISCOVERY_LIMIT
    while publisher.get_subscription_count() == 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)  # the subscriber has to find the publisher, too
    message = Image(width=WIDTH, height=HEIGHT, step=3 * WIDTH, encoding="bgr8")
    message.data = array("B", bytes(message.step * HEIGHT))
    start = time.monotonic()
    for number in range(options.frames):
        time.sleep(max(0.0, start + number / options.rate - time.monotonic()))
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(time.monotonic_ns(), 10**9)
        publisher.publish(message)
    publisher.wait_for_all_acked(Duration(seconds=5))
    time.sleep(PATIENCE)


def subscribe(options: argparse.Namespace) -> None:
    """Print the latencies of the images that arrive, in seconds, as JSON."""
    latencies: list[float] = []

    def receive(message: Image) -> None:
        latencies.append(time.monotonic() - message.header.stamp.sec - message.header.stamp.nanosec * 1e-9)

    node = rclpy.create_node("subscriber")
    node.create_subscription(Image, TOPIC, receive, quality(options))
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
    """Return the quality of service of either side: as a camera driver has it, ten images deep."""
    return QoSProfile(depth=10, reliability=ReliabilityPolicy[options.reliability.upper()])


def measure(publisher: Endpoint, subscriber: Endpoint, options: argparse.Namespace) -> list[float]:
    """Return the latencies of the images that arrived, in seconds."""
    receiving = subscriber.start("subscribe", options)
    sending = publisher.start("publish", options)
    printed, _ = receiving.communicate()
    if sending.wait() or receiving.returncode:
        sys.exit("transport.py: one of the processes failed; its message is above")
    latencies: list[float] = json.loads(printed)
    return latencies


def print_table(options: argparse.Namespace) -> None:
    """Measure all cases and print them as they come."""
    print(f"| publisher | subscriber | arrived of {options.frames} | latency p50 |\n| --- | --- | --- | --- |")
    for publisher, subscriber in CASES:
        latencies = measure(publisher, subscriber, options)
        latency = f"{1e3 * statistics.median(latencies):.1f} ms" if latencies else ""
        print(f"| {publisher} | {subscriber} | {len(latencies)} | {latency} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, or one side of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=150, help="images per case (default: 150)")
    parser.add_argument("--rate", type=float, default=30.0, help="images per second (default: 30)")
    parser.add_argument("--role", choices=("publish", "subscribe"), help=argparse.SUPPRESS)  # for its own processes
    parser.add_argument("--reliability", choices=("reliable", "best_effort"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.frames < 1 or not options.rate > 0:
        parser.error("--frames and --rate must be above 0")
    if options.role is None:
        if "fastrtps" not in get_rmw_implementation_identifier():
            sys.exit("transport.py compares settings of Fast DDS: RMW_IMPLEMENTATION=rmw_fastrtps_cpp")
        print_table(options)
        return
    rclpy.init(args=[])
    try:
        {"publish": publish, "subscribe": subscribe}[options.role](options)
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()

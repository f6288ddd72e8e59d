"""Measures the detector node as its users meet it: latency by stage, first image against later ones, CPU use.

A camera (this process) publishes one photograph again and again; a detector process answers. The time from stamp to
arrival of each KeypointArray comes from the messages, the stages from the node's own /diagnostics, the CPU time from
the operating system. Prints Markdown tables, one row for each executor of rclpy:

    scripts/ros_env python benchmarks/node.py --rate 10 --frames 120 --precision bf16
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import Executor, ExternalShutdownException, MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.experimental import EventsExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.time import Time
from sensor_msgs.msg import Image
from skimage import data
from superpoint_ros.msg import KeypointArray

from superpoint_ros.nodes.detector.node import Detector
from superpoint_ros.nodes.processes.fast_dds import profile_environment

PROFILE = Path(__file__).parents[1] / "config" / "fastdds.xml"
EXECUTORS: dict[str, type[Executor]] = {
    "SingleThreadedExecutor": SingleThreadedExecutor,
    "MultiThreadedExecutor": MultiThreadedExecutor,
    "EventsExecutor": EventsExecutor,
}
STAGES = ("age at reception", "queue wait", "conversion", "inference", "decoding", "publishing")
START_LIMIT = 120.0
"""Seconds until the first keypoints."""
WARM = 100
"""Number of the image whose latency is compared with the first one's."""


@dataclass(frozen=True)
class Measurement:
    """Of one detector process; milliseconds unless said.

    Attributes
    ----------
    latencies : ndarray, (N,)
        From stamp to arrival of the keypoints, in the order of the images answered.
    stages : dict
        Median by stage, from /diagnostics.
    cores : float
        CPU time of the detector per second.
    keypoints : int
        Of the last image.
    answered, sent : int
        Images, from the first one answered on.
    """

    latencies: np.ndarray
    stages: dict[str, float]
    cores: float
    keypoints: int
    answered: int
    sent: int


class Camera(Node):
    """Publishes an image at a rate and keeps what comes back."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__("node_benchmark")
        width, height = options.size
        pixels = cv2.resize(data.astronaut()[..., ::-1], (width, height), interpolation=cv2.INTER_AREA)
        self._message = Image(width=width, height=height, step=3 * width, encoding="bgr8")
        self._message.data = array("B", pixels.tobytes())
        self._publisher = self.create_publisher(Image, "camera/image_raw", QoSProfile(depth=5))
        self.create_subscription(KeypointArray, "camera/keypoints", self._receive, 10)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        if options.overlay:
            self.create_subscription(Image, "camera/keypoints_image", lambda message: None, 1)
        self.latencies: list[float] = []
        self.values: dict[str, str] = {}
        self.keypoints = 0

    def run(self, rate: float, frames: int) -> int:
        """Publish until so many images have been answered or could have been; returns how many were sent after that."""
        sent, start = 0, time.monotonic()
        while self._publisher.get_subscription_count() == 0:
            self._check(start)
            rclpy.spin_once(self, timeout_sec=0.1)
        due = time.monotonic()
        while sent < frames:
            self._message.header.stamp = self.get_clock().now().to_msg()
            self._publisher.publish(self._message)
            sent += bool(self.latencies)
            due += 1 / rate
            while (left := due - time.monotonic()) > 0:
                rclpy.spin_once(self, timeout_sec=left)
            self._check(start)
        return sent

    def _check(self, start: float) -> None:
        if not self.latencies and time.monotonic() - start > START_LIMIT:
            sys.exit("node.py: no keypoints; the detector's messages are above")

    def _receive(self, message: KeypointArray) -> None:
        self.latencies.append(1e-6 * (self.get_clock().now() - Time.from_msg(message.header.stamp)).nanoseconds)
        self.keypoints = len(message.x)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(": camera"):
                self.values = {item.key: item.value for item in status.values}


def measure(executor: str, options: argparse.Namespace) -> Measurement:
    """Start a detector, feed it and stop it."""
    command = [sys.executable, __file__, "--executor", executor, "--role", "detector", "--ros-args"]
    # A threshold of 0 finds as many keypoints as are asked for, whatever the weights and the image.
    parameters = {"device": options.device, "backend": options.backend, "precision": options.precision}
    parameters |= {"threads": options.threads, "threshold": 0.0, "max_keypoints": options.keypoints}
    command += [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    environment = {**os.environ, **profile_environment(os.environ, PROFILE)}
    with subprocess.Popen(command, env=environment) as detector:
        camera = Camera(options)
        try:
            camera.run(options.rate, 1)
            before, begun = cpu_seconds(detector.pid), time.monotonic()
            sent = 1 + camera.run(options.rate, options.frames - 1)
            cores = (cpu_seconds(detector.pid) - before) / (time.monotonic() - begun)
        finally:
            camera.destroy_node()
            stop(detector)
    stages = {stage: float(camera.values.get(f"{stage} p50 [ms]", "nan")) for stage in STAGES}
    return Measurement(np.array(camera.latencies), stages, cores, camera.keypoints, len(camera.latencies), sent)


def stop(detector: subprocess.Popen[bytes]) -> None:
    """End the detector, in spite of executors that ignore SIGINT."""
    detector.send_signal(signal.SIGINT)
    try:
        detector.wait(10)
    except subprocess.TimeoutExpired:
        detector.kill()


def cpu_seconds(process: int) -> float:
    """Return the CPU time that a process has taken."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def print_tables(measurements: dict[str, Measurement]) -> None:
    """Print stages, and latency and CPU use, by executor."""
    columns = (*STAGES, "beyond the extractor", "stamp to arrival")
    print(f"\n| p50 [ms] | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}")
    for name, found in measurements.items():
        beyond = sum(found.stages[stage] for stage in ("queue wait", "conversion", "publishing"))
        numbers = [*found.stages.values(), beyond, np.median(found.latencies)]
        print(f"| {name} | {' | '.join(f'{number:.2f}' for number in numbers)} |")
    print("\n| | answered / sent | keypoints | first [ms] | hundredth [ms] | p95 [ms] | p99 [ms] | CPU [cores] |")
    print(f"| --- |{' ---: |' * 7}")
    for name, found in measurements.items():
        warm = np.median(found.latencies[WARM - 10 : WARM + 10]) if len(found.latencies) > WARM else np.nan
        p95, p99 = np.percentile(found.latencies, (95, 99))
        print(
            f"| {name} | {found.answered} / {found.sent} | {found.keypoints} | {found.latencies[0]:.1f} | {warm:.1f} "
            f"| {p95:.1f} | {p99:.1f} | {found.cores:.2f} |"
        )


def run_detector(executor: str, arguments: list[str]) -> None:
    """Be the detector process, until SIGINT."""
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    node, runner = Detector(), EXECUTORS[executor]()
    try:
        node.start()
        runner.add_node(node)
        runner.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.release()
        rclpy.try_shutdown()


def parse_arguments(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executor", choices=EXECUTORS, help="only this one (default: all in turn)")
    parser.add_argument("--size", type=_size, default=(640, 480), help="of the images (default: 640x480)")
    parser.add_argument("--rate", type=float, default=10.0, help="images per second (default: 10)")
    parser.add_argument("--frames", type=int, default=WARM + 20, help=f"images per executor (default: {WARM + 20})")
    parser.add_argument("--keypoints", type=int, default=1024, help="per image (default: 1024)")
    parser.add_argument("--overlay", action="store_true", help="subscribe to the overlay, too")
    for name in ("device", "backend", "precision"):
        parser.add_argument(f"--{name}", default="auto", help=f"parameter {name} of the node (default: auto)")
    parser.add_argument("--threads", type=int, default=0, help="parameter threads of the node (default: 0)")
    parser.add_argument("--role", choices=("detector",), help=argparse.SUPPRESS)  # for its own process
    options, others = parser.parse_known_args(arguments)
    if options.frames < WARM + 10 or not options.rate > 0:
        parser.error(f"--rate must be above 0 and --frames at least {WARM + 10}")
    if others and options.role is None:
        parser.error(f"unknown arguments: {' '.join(others)}")
    return options, others


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark, or be its detector."""
    options, ros_arguments = parse_arguments(arguments)
    if options.role == "detector":
        run_detector(options.executor, ros_arguments)
        return
    rclpy.init(args=[])
    try:
        names = [options.executor] if options.executor else list(EXECUTORS)
        print_tables({name: measure(name, options) for name in names})
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()

"""Runs a detector at four times the load it sustains, and watches latency, rate and memory.

    make soak MINUTES=60

First the camera sends more than any model takes, for `--calibration` seconds: the rate of results is what the model
sustains. Then it sends four times that rate for the given minutes, or until SIGINT or SIGTERM. Leaves soak.json and a
plot in the output folder, and ends with 1 if it ended early, if memory grew (mean of the last quarter more than 2 %
above that of the second) or if the 99th percentile of the age of results on arrival exceeds 2.5 frame times of the
model.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import rclpy
from ament_index_python.packages import get_package_prefix
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image
from superpoint_ros.msg import KeypointArray

from superpoint_ros.nodes.processes.child_process import ChildProcess
from superpoint_ros.superpoint.files import replacing

OVERLOAD = 4.0
CALIBRATION_RATE = 200.0
"""Images per second that no model on a CPU takes."""
STARTUP_LIMIT = 120.0
"""Seconds until the first keypoints."""
MEMORY_GROWTH_LIMIT = 0.02
AGE_LIMIT = 2.5
"""Frame times of the model."""
MINIMUM = 8
"""Samples that make four quarters."""


@dataclass
class Load:
    """Publishes images at a rate that can change, from a thread of its own."""

    publisher: Any
    clock: Any
    images: list[Image]
    rate: float = CALIBRATION_RATE
    _stopped: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        number = 0
        while not self._stopped.wait(max(0.0, due - time.monotonic())):
            message = self.images[number % len(self.images)]
            message.header.stamp = self.clock.now().to_msg()
            self.publisher.publish(message)
            number += 1
            due = max(due + 1 / self.rate, time.monotonic() - 0.1)

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join()


class Listener(Node):
    """Notes when keypoints arrive and how old their images are then."""

    def __init__(self) -> None:
        super().__init__("soak")
        self.ages: list[float] = []
        self.create_subscription(KeypointArray, "camera/keypoints", self._receive, 10)

    def _receive(self, message: KeypointArray) -> None:
        stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        self.ages.append(self.get_clock().now().nanoseconds * 1e-9 - stamp)

    def listen(self, seconds: float) -> list[float]:
        """Return the ages of the results of so many seconds, in seconds."""
        self.ages = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            rclpy.spin_once(self, timeout_sec=0.05)
        return self.ages


def make_images(width: int, height: int) -> list[Image]:
    """Return images of blocks, different enough that no two have the same keypoints."""
    images = []
    for seed in range(4):
        cells = np.random.default_rng(seed).integers(0, 256, (height // 16 + 1, width // 16 + 1), np.uint8)
        pixels = np.kron(cells, np.ones((16, 16), np.uint8))[:height, :width]
        message = Image(width=width, height=height, step=width, encoding="mono8")
        message.data = array("B", pixels.tobytes())
        images.append(message)
    return images


def find_sustained_rate(seconds: float, detector: ChildProcess, listener: Listener) -> float:
    """Wait for the detector and return how many results per second it gives under more load than it takes."""
    deadline = time.monotonic() + STARTUP_LIMIT
    while not listener.listen(0.5):
        if detector.exit_code is not None or time.monotonic() > deadline:
            sys.exit(f"soak.py: no keypoints; the detector says:\n{detector.log()}")
    listener.listen(2.0)  # until everything is warm
    return len(listener.listen(seconds)) / seconds


@dataclass
class Observation:
    """What was seen until now: ages of all results in seconds, and samples over time."""

    ages: list[float] = field(default_factory=list)
    samples: list[dict[str, float]] = field(default_factory=list)

    def watch(self, minutes: float, period: float, detector: ChildProcess, listener: Listener) -> None:
        """Take a sample every `period` seconds, for so many minutes or until the detector ends."""
        process = psutil.Process(detector.pid)
        start = time.monotonic()
        while time.monotonic() - start < 60 * minutes:
            latest = listener.listen(period)
            if detector.exit_code is not None:
                print(f"soak.py: the detector ended:\n{detector.log()}", file=sys.stderr)
                return
            self.ages += latest
            p50, p99 = np.percentile(latest, (50, 99)) if latest else (float("nan"), float("nan"))
            self.samples.append(
                {
                    "minutes": (time.monotonic() - start) / 60,
                    "rate_hz": len(latest) / period,
                    "age_p50_ms": 1e3 * float(p50),
                    "age_p99_ms": 1e3 * float(p99),
                    "memory_mib": process.memory_info().rss / 2**20,
                    "descriptors": process.num_fds(),
                    "threads": process.num_threads(),
                }
            )


def verdict(seen: Observation, sustained: float) -> dict[str, Any]:
    """Judge memory and age, given the images per second that the model sustains."""
    memory = np.array([sample["memory_mib"] for sample in seen.samples])
    quarters = [float(part.mean()) for part in np.array_split(memory, 4)]
    growth = quarters[3] / quarters[1] - 1
    p50, p99 = np.percentile(seen.ages, (50, 99))
    frames = float(p99) * sustained
    return {
        "minutes": seen.samples[-1]["minutes"],
        "results": len(seen.ages),
        "age_p50_ms": 1e3 * float(p50),
        "age_p99_ms": 1e3 * float(p99),
        "age_p99_frame_times": frames,
        "memory_by_quarter_mib": quarters,
        "memory_growth": growth,
        "memory_is_steady": growth <= MEMORY_GROWTH_LIMIT,
        "never_falls_behind": frames <= AGE_LIMIT,
    }


def plot(found: dict[str, Any], path: Path) -> None:
    """Draw age, rate and memory over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    samples = found["samples"]
    minutes = [sample["minutes"] for sample in samples]
    figure, axes = pyplot.subplots(3, 1, figsize=(9, 7), sharex=True, layout="constrained")
    for key, label in (("age_p99_ms", "p99"), ("age_p50_ms", "median")):
        axes[0].plot(minutes, [sample[key] for sample in samples], label=label)
    axes[0].axhline(1e3 * AGE_LIMIT / found["sustained_hz"], color="gray", linestyle=":", label="2.5 frame times")
    axes[0].legend(loc="upper right", ncols=3)
    axes[1].plot(minutes, [sample["rate_hz"] for sample in samples])
    axes[1].axhline(found["sustained_hz"], color="gray", linestyle=":")
    axes[2].plot(minutes, [sample["memory_mib"] for sample in samples])
    for axis, label in zip(axes, ("age of results [ms]", "results [Hz]", "memory [MiB]")):
        axis.set_ylabel(label)
        axis.set_ylim(0, 1.2 * axis.dataLim.ymax)
    axes[2].set_xlabel("minutes")
    figure.suptitle(f"{found['sent_hz']:.0f} Hz sent, {found['sustained_hz']:.0f} Hz sustained; {found['setup']}")
    with replacing(path) as partial:
        figure.savefig(partial, dpi=100)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="duration (default: 60)")
    parser.add_argument("--size", default="320x240", help="width x height of the images (default: 320x240)")
    parser.add_argument("--weights", default="default", help="the detector's parameter (default: default)")
    parser.add_argument("--backend", default="auto", help="the detector's parameter (default: auto)")
    parser.add_argument("--device", default="auto", help="the detector's parameter (default: auto)")
    parser.add_argument("--threads", type=int, default=0, help="the detector's parameter (default: 0, all cores)")
    parser.add_argument("--calibration", type=float, default=15.0, help="seconds to find the sustained rate")
    parser.add_argument("--period", type=float, default=5.0, help="seconds between samples (default: 5)")
    parser.add_argument("--output", type=Path, default=Path("soak_output"), help="folder (default: soak_output)")
    options = parser.parse_args(arguments)
    width, _, height = options.size.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        parser.error(f"--size must be like 320x240, got {options.size!r}")
    if 60 * options.minutes < MINIMUM * options.period:
        parser.error(f"--minutes must leave time for {MINIMUM} samples")
    sustained, seen = run(options, make_images(int(width), int(height)))
    if len(seen.samples) < MINIMUM or not seen.ages:
        sys.exit(f"soak.py: ended with {len(seen.samples)} samples, {MINIMUM} is the least that says something")
    return report(options, sustained, seen)


def run(options: argparse.Namespace, images: list[Image]) -> tuple[float, Observation]:
    """Load a detector for the given time; returns the sustained rate and what was seen, also when interrupted."""
    program = Path(get_package_prefix("superpoint_ros"), "lib", "superpoint_ros", "detector")
    parameters = {name: getattr(options, name) for name in ("weights", "backend", "device", "threads")}
    command = [sys.executable, str(program), "--ros-args"]
    command += [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    listener = Listener()
    load = Load(listener.create_publisher(Image, "camera/image_raw", 10), listener.get_clock(), images)
    sustained, seen = 0.0, Observation()
    try:
        with ChildProcess("detector", command, os.environ) as detector:
            sustained = find_sustained_rate(options.calibration, detector, listener)
            load.rate = OVERLOAD * sustained
            print(f"sustained: {sustained:.1f} Hz; {load.rate:.1f} Hz for {options.minutes:g} minutes", flush=True)
            listener.listen(1.0)  # what was sent faster
            seen.watch(options.minutes, options.period, detector, listener)
    except KeyboardInterrupt:
        print(f"soak.py: interrupted after {len(seen.samples)} samples", file=sys.stderr)
    finally:
        load.stop()
        listener.destroy_node()
        rclpy.try_shutdown()
    return sustained, seen


def report(options: argparse.Namespace, sustained: float, seen: Observation) -> int:
    """Print, write and draw what was seen; returns the exit code."""
    sent = {"sustained_hz": sustained, "sent_hz": OVERLOAD * sustained}
    setup = f"{options.size}, weights {options.weights}, threads {options.threads or 'all'}, {os.cpu_count()} CPUs"
    found: dict[str, Any] = {"setup": setup, **sent, **verdict(seen, sustained)}
    print(json.dumps(found, indent=1))
    found["samples"] = seen.samples
    with replacing(options.output / "soak.json") as partial:
        partial.write_text(json.dumps(found, indent=1) + "\n")
    plot(found, options.output / "soak.png")
    is_whole = seen.samples[-1]["minutes"] >= 0.99 * options.minutes
    return 0 if is_whole and found["memory_is_steady"] and found["never_falls_behind"] else 1


if __name__ == "__main__":
    sys.exit(main())

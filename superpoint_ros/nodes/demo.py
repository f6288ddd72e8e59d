"""The demo: `camera_player` and `detector` as processes of their own, and what came out of them.

``python -m superpoint_ros.nodes.demo --source virtual --duration 20 --output demo_output`` leaves ``overlay.png`` and
``summary.json`` in the output folder.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.time import Time
from sensor_msgs.msg import Image
from tqdm import tqdm

from superpoint_ros.msg import KeypointArray

from .camera_player.sources import CameraDevice, SourceError, open_source, silence_opencv
from .child_process import ChildProcess
from .fast_dds import profile_environment

PACKAGE = "superpoint_ros"
PROFILE = Path("config", "fastdds.xml")

STARTUP_LIMIT = 120.0
"""Seconds for loading the model and for the first keypoints."""
QUIET_TIME = 1.0
"""Seconds without keypoints after which the last image counts as processed."""
OVERLAYS = 15
"""Overlays received before unsubscribing; drawing them costs the detector time."""


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


class Recorder:
    """Subscribes to everything the detector publishes and keeps what the summary needs.

    Attributes
    ----------
    arrivals : list of float
        When keypoints arrived, in seconds of the monotonic clock.
    latencies : list of float
        Milliseconds from the stamp of the image to the arrival of its keypoints.
    counts : list of int
        Keypoints per message.
    newest : KeypointArray or None
        The last one received.
    overlay : sensor_msgs.msg.Image or None
        The last one received.
    model : dict
        What the detector says about its model on /diagnostics.
    failure : str
        What it says is wrong with it; empty if nothing.
    """

    def __init__(self, node: Node, namespace: str) -> None:
        self.arrivals: list[float] = []
        self.latencies: list[float] = []
        self.counts: list[int] = []
        self.newest: KeypointArray | None = None
        self.overlay: Image | None = None
        self.model: dict[str, str] = {}
        self.failure = ""
        self._node = node
        self._status_name = f"{namespace.lstrip('/')}/detector: model"
        self._overlays = 0
        self._keypoints = node.create_subscription(
            KeypointArray, f"{namespace}/camera/keypoints", self._on_keypoints, 100
        )
        self._drawings = node.create_subscription(Image, f"{namespace}/camera/keypoints_image", self._on_overlay, 1)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def is_connected(self) -> bool:
        """Whether the detector publishes."""
        return all(topic.get_publisher_count() > 0 for topic in (self._keypoints, self._drawings))

    def has_keypoints(self) -> bool:
        """Whether any keypoints arrived."""
        return bool(self.arrivals)

    def is_complete(self) -> bool:
        """Whether nothing more is to be expected from a detector that gets no more images."""
        return bool(self.model) and time.monotonic() - self.arrivals[-1] > QUIET_TIME

    def rate(self) -> float:
        """Keypoint messages per second; 0 with less than two."""
        if len(self.arrivals) < 2:
            return 0.0
        return (len(self.arrivals) - 1) / (self.arrivals[-1] - self.arrivals[0])

    def _on_keypoints(self, message: KeypointArray) -> None:
        age = self._node.get_clock().now() - Time.from_msg(message.header.stamp)
        self.arrivals.append(time.monotonic())
        self.latencies.append(age.nanoseconds * 1e-6)
        self.counts.append(len(message.x))
        self.newest = message

    def _on_overlay(self, message: Image) -> None:
        self.overlay = message
        self._overlays += 1
        if self._overlays == OVERLAYS:
            self._node.destroy_subscription(self._drawings)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == self._status_name:
                self.failure = status.message if status.level == DiagnosticStatus.ERROR else ""
                self.model = {item.key: item.value for item in status.values}


@dataclass
class Watch:
    """Waits while listening, and fails as soon as one of the processes does."""

    executor: SingleThreadedExecutor
    recorder: Recorder
    detector: ChildProcess
    interrupted: threading.Event
    player: ChildProcess | None = None

    def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Listen until `condition` holds, and say whether it did within so many seconds."""
        end = time.monotonic() + seconds
        while not (holds := condition()) and time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.05)
            self._check()
        return holds

    def require(self, condition: Callable[[], bool], expectation: str, culprit: ChildProcess) -> None:
        """Wait for what must come, however slow the machine is."""
        if not self.wait(condition, STARTUP_LIMIT):
            raise DemoError(f"no {expectation} within {STARTUP_LIMIT:.0f} s; {_last_words(culprit)}")

    def player_ended(self) -> bool:
        """Whether the source ended by itself."""
        return self.player is not None and self.player.exit_code == 0

    def _check(self) -> None:
        if self.interrupted.is_set():
            raise DemoError("interrupted; nothing was written")
        if self.recorder.failure:
            raise DemoError(f"the detector reports: {self.recorder.failure}")
        if self.detector.exit_code is not None:
            raise DemoError(f"the detector ended with code {self.detector.exit_code}; {_last_words(self.detector)}")
        if self.player is not None and self.player.exit_code:
            raise DemoError(f"the camera_player ended with code {self.player.exit_code}; {_last_words(self.player)}")


def run(options: argparse.Namespace, interrupted: threading.Event) -> tuple[dict[str, Any], bytes]:
    """Run player and detector, and return the summary and the overlay as PNG.

    Raises
    ------
    DemoError
        If one of them fails or nothing comes out.
    """
    namespace = f"/{PACKAGE}_demo_{os.getpid()}"  # apart from a robot's own topics and from other demos
    environment = {**os.environ, **profile_environment(os.environ, _prefix() / "share" / PACKAGE / PROFILE)}
    node = Node("demo")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    recorder = Recorder(node, namespace)
    print(f"Topics are in {namespace}. Starting the detector with the weights {options.weights} ...", file=sys.stderr)
    detector_command = node_command("detector", namespace, {"weights": options.weights})
    player_command = node_command(
        "camera_player",
        namespace,
        {"source": options.source, "rate": options.rate, "loop": True, "wait_for_subscribers": 1},
    )
    with ChildProcess("detector", detector_command, environment) as detector:
        watch = Watch(executor, recorder, detector, interrupted)
        watch.require(recorder.is_connected, "topics of the detector", detector)
        with ChildProcess("camera_player", player_command, environment) as player:
            watch.player = player
            watch.require(recorder.has_keypoints, "keypoints", detector)
            _play(watch, options.duration)
            player.stop()
            watch.wait(recorder.is_complete, STARTUP_LIMIT)
            published = _frames_published(player)
    if detector.exit_code:
        print(f"demo: the detector ended with code {detector.exit_code}", file=sys.stderr)
    if recorder.overlay is None:
        raise DemoError("the detector published keypoints but no overlay")
    return summarise(options, recorder, published), _png(recorder.overlay)


def _play(watch: Watch, duration: float) -> None:
    """Show progress for `duration` seconds or until the source ends."""
    recorder, start = watch.recorder, time.monotonic()
    layout = "{l_bar}{bar}| {n:.0f}/{total:.0f} s{postfix}"
    interval = 0.2 if sys.stderr.isatty() else 5.0  # a log file needs fewer lines
    with tqdm(total=duration, desc="Detecting", bar_format=layout, mininterval=interval) as bar:
        while (elapsed := time.monotonic() - start) < duration and not watch.player_ended():
            watch.wait(watch.player_ended, min(0.25, duration - elapsed))
            bar.set_postfix_str(
                f"{recorder.rate():.1f} Hz, {recorder.counts[-1]} keypoints, {recorder.latencies[-1]:.0f} ms",
                refresh=False,
            )
            bar.update(min(time.monotonic() - start, duration) - bar.n)


def summarise(options: argparse.Namespace, recorder: Recorder, published: int) -> dict[str, Any]:
    """Return the content of summary.json."""
    assert recorder.newest is not None, "there are keypoints"
    p50, p95, p99 = (round(float(value), 2) for value in np.percentile(recorder.latencies, (50, 95, 99)))
    processed = len(recorder.arrivals)
    return {
        "source": options.source,
        "image_size": [recorder.newest.width, recorder.newest.height],
        "frames_published": published,
        "frames_processed": processed,
        "frames_dropped": published - processed,
        "keypoints_mean": round(float(np.mean(recorder.counts)), 1),
        "rate_hz": round(recorder.rate(), 2),
        "latency_ms": {"p50": p50, "p95": p95, "p99": p99},
        "device": recorder.model.get("device", "unknown"),
        "backend": recorder.model.get("backend", "unknown"),
        "precision": recorder.model.get("precision", "unknown"),
        "model": recorder.newest.model,
    }


def node_command(executable: str, namespace: str, parameters: Mapping[str, object]) -> list[str]:
    """Return the command that runs an installed node with these parameters."""
    command = [str(_prefix() / "lib" / PACKAGE / executable), "--ros-args", "-r", f"__ns:={namespace}"]
    for name, value in parameters.items():
        command += ["-p", f"{name}:={json.dumps(value, ensure_ascii=False)}"]  # the value is read as YAML
    return command


def _check_source(text: str) -> None:
    """Raise `SourceError` for a bad source before a model is loaded for it."""
    source = open_source(text)
    if not isinstance(source, CameraDevice):  # which the player finds busy if it is opened here
        next(iter(source))


def _prefix() -> Path:
    try:
        return Path(get_package_prefix(PACKAGE))
    except PackageNotFoundError:
        raise DemoError(f"{PACKAGE} is not installed, or its setup file is not sourced; run: make build") from None


def _frames_published(player: ChildProcess) -> int:
    match = re.search(r"published (\d+) frames", player.log())
    if match is None:
        raise DemoError(f"the camera_player did not end in order; {_last_words(player)}")
    return int(match[1])


def _last_words(process: ChildProcess) -> str:
    lines = process.log().splitlines()[-15:]
    return f"the end of the {process.name}'s output:\n" + "\n".join(f"    {line}" for line in lines)


def _png(overlay: Image) -> bytes:
    rows = np.asarray(overlay.data, np.uint8).reshape(overlay.height, overlay.step)
    image = rows[:, : 3 * overlay.width].reshape(overlay.height, overlay.width, 3)
    return cv2.imencode(".png", image[:, :, ::-1] if overlay.encoding == "rgb8" else image)[1].tobytes()


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files so that each is either complete or as it was before."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".demo") as scratch:
        for name, content in contents.items():
            (Path(scratch) / name).write_bytes(content)
        for name in contents:
            (Path(scratch) / name).replace(folder / name)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m superpoint_ros.nodes.demo", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--source",
        default="virtual",
        help="video, image folder, bag, /dev/videoN, or virtual (default): a camera moving over photographs",
    )
    parser.add_argument("--duration", type=_positive, default=20.0, help="seconds (default: 20); sources are looped")
    parser.add_argument("--rate", type=_positive, default=0.0, help="images per second (default: the source's own)")
    parser.add_argument("--output", type=Path, default=Path("demo_output"), help="folder (default: demo_output)")
    parser.add_argument("--weights", default="default", help="default, random, a file, or a Hugging Face folder")
    return parser.parse_args(arguments)


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    options = parse_arguments(arguments)
    silence_opencv()
    interrupted = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_number, lambda *_: interrupted.set())
    try:
        if options.output.exists() and not options.output.is_dir():
            raise DemoError(f"--output {options.output}: expected a folder, and this is a file")
        _check_source(options.source)
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        summary, overlay = run(options, interrupted)
        contents = {"overlay.png": overlay, "summary.json": (json.dumps(summary, indent=2) + "\n").encode()}
        write_files(options.output, contents)
    except (DemoError, SourceError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 130 if interrupted.is_set() else 1
    finally:
        rclpy.try_shutdown()
    print(json.dumps(summary, indent=2))
    print(f"Wrote {options.output / 'overlay.png'} and {options.output / 'summary.json'}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

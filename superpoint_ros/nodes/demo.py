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

import rclpy
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from tqdm import tqdm

from .camera_player.sources import CameraDevice, SourceError, open_source, silence_opencv
from .demo_recorder import Recorder
from .processes.child_process import ChildProcess
from .processes.fast_dds import profile_environment

PACKAGE = "superpoint_ros"
PROFILE = Path("config", "fastdds.xml")

STARTUP_LIMIT = 120.0
"""Seconds for loading the model and for the first keypoints."""


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


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
    counts = {"frames_published": published, "frames_dropped": published - len(recorder.arrivals)}
    return {"source": options.source, **counts, **recorder.summary()}, recorder.overlay_png()


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

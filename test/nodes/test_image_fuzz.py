"""Thousands of broken and hostile image messages against the conversion and through live nodes."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from full_counts import repetitions
from hypothesis import HealthCheck, Phase, given, seed, settings

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

from diagnostic_msgs.msg import DiagnosticArray
from image_fuzzing import SOURCES, compressed_images, images, many_scans, png
from node_testing import (
    Connection,
    NodeProcess,
    Probe,
    compressed_message,
    counts,
    image_message,
    settled,
    textured_image,
)

from superpoint_ros.images import MAX_PIXELS, MIN_SIDE, ImageError, check, to_array
from superpoint_ros.nodes.detector.parameters import DetectorParameters

MEMORY_LIMIT = 1 << 30
"""Bytes that the largest image accepted may cost at its worst: 2**25 pixels, some arrays of each."""
MODEL = {
    "weights": "random",
    "device": "cpu",
    "backend": "torch",
    "resize": 64,
    "max_keypoints": 50,
    "frame_policy": "all",
}


def fuzz(full: int, short: int) -> settings:
    phases = (
        Phase.explicit,
        Phase.generate,
    )  # what fails is printed as it is: shrinking would repeat bombs for minutes
    checks = list(HealthCheck)
    return settings(
        max_examples=repetitions(full, short), deadline=None, database=None, phases=phases, suppress_health_check=checks
    )


THIS_PROCESS = psutil.Process()


def peak_of(process: psutil.Process) -> int:
    """Return the most bytes that a process has held since `forget_peak_of`."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def forget_peak_of(process: psutil.Process) -> int:
    """Let a process's peak begin anew, since an earlier one would hide it; returns the bytes that it holds now."""
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")
    return peak_of(process)


def converts(message: Any) -> bool:
    """Convert a message; returns whether it is valid. Anything but an image or an ImageError fails the test."""
    try:
        check(message)
    except ImageError:
        with pytest.raises(ImageError):
            to_array(message)
        return False
    try:
        result = to_array(message)
    except ImageError as error:
        assert hasattr(message, "format"), f"passed the check of the layout and failed then: {error}"
        return False
    height, width = result.shape[:2]
    assert result.dtype == np.uint8 and result.shape in ((height, width), (height, width, 3))
    assert min(height, width) >= MIN_SIDE and height * width <= MAX_PIXELS
    if not hasattr(message, "format"):
        assert (width, height) == (message.width, message.height)
    return True


@seed(1)
@fuzz(full=10_000, short=700)
@given(images())
def test_any_image_is_converted_or_refused(message: Any) -> None:
    before = forget_peak_of(THIS_PROCESS)
    converts(message)
    assert peak_of(THIS_PROCESS) - before < MEMORY_LIMIT


@seed(2)
@fuzz(full=10_000, short=700)
@given(compressed_images())
def test_any_compressed_image_is_converted_or_refused(message: Any) -> None:
    before = forget_peak_of(THIS_PROCESS)
    converts(message)
    assert peak_of(THIS_PROCESS) - before < MEMORY_LIMIT


def test_the_fuzz_reaches_valid_images_too() -> None:
    valid = []

    @seed(3)
    @fuzz(full=400, short=400)
    @given(images(), compressed_images())
    def run(image: Any, compressed: Any) -> None:
        valid.append((converts(image), converts(compressed)))

    run()
    raw, compressed = np.mean(valid, axis=0)
    assert 0.05 < raw < 0.95 and 0.05 < compressed < 0.95


def test_a_jpeg_of_very_many_scans_is_refused_before_it_is_decoded() -> None:
    message = compressed_message(many_scans(100_000), "jpeg")  # would take minutes
    with pytest.raises(ImageError, match="scans"):
        check(message)
    assert converts(compressed_message(many_scans(0), "jpeg"))


class LiveNode:
    """A detector process under fuzz, and what it may not do: end, lose a valid image, or grow."""

    def __init__(self, node: NodeProcess, probe: Probe, camera: Connection, name: str) -> None:
        self.node, self.probe, self.camera, self._name = node, probe, camera, name
        self.process = psutil.Process(node.process.pid)
        self._diagnostics = probe.collect(DiagnosticArray, "/diagnostics")
        self._valid = 0

    def take(self, message: Any) -> None:
        """Send a message; now and then a valid one, which must be answered."""
        message.header.stamp = self.probe.next_stamp()
        self.camera.publish(message)
        self._valid += converts(message)
        if self.camera.sent % 25 == 0:
            self.answer()

    def answer(self) -> None:
        """Send a valid image and wait for its keypoints."""
        valid = self.camera.first
        assert len(self.camera.result(valid).x) > 0
        self._valid += 1

    def check_counts(self) -> None:
        """Wait until every image is accounted for: those refused here were refused there."""
        name = f"{self._name}: {self._name}"

        def all_accounted_for() -> bool:
            found = counts(self._diagnostics, name)
            return found.get("images received") == settled(found) == self.camera.sent

        self.probe.wait_until(all_accounted_for, f"{self.camera.sent} images to be accounted for")
        found = counts(self._diagnostics, name)
        assert found["dropped: failed"] == 0
        assert found["dropped: overload"] == 0 and found["images processed"] >= self._valid
        assert "Traceback" not in self.node.output


@pytest.mark.parametrize("kind", ["raw", "compressed"])
def test_a_live_node_survives_and_answers_every_valid_image_in_between(
    kind: str, start_node: Callable[..., NodeProcess], probe: Probe
) -> None:
    name = f"fuzzed_{kind}"
    parameters = {**MODEL, "cameras": [name], "image_transport": kind}
    node = start_node("detector", parameters, "-r", f"__node:={name}")
    if kind == "raw":
        camera = Connection(probe, name, first=image_message(textured_image(48, 64), "rgb8"))
    else:
        camera = Connection(probe, name, "image_raw/compressed", first=compressed_message(SOURCES[1], "jpeg"))
    live = LiveNode(node, probe, camera, name)
    before = forget_peak_of(live.process)

    @seed(4)
    @fuzz(full=1_000, short=60)
    @given(images() if kind == "raw" else compressed_images())
    def run(message: Any) -> None:
        live.take(message)

    start = time.monotonic()
    run()
    live.answer()
    live.check_counts()
    grown = peak_of(live.process) - before
    print(f"{kind}: {camera.sent} images in {time.monotonic() - start:.0f} s, memory {grown / 2**20:+.0f} MiB at most")
    assert grown < MEMORY_LIMIT


@pytest.mark.parametrize("kind", ["raw", "compressed"])
def test_an_image_just_too_large_is_refused_at_the_defaults_and_takes_no_memory(
    kind: str, start_node: Callable[..., NodeProcess], probe: Probe
) -> None:
    name, default = f"bombed_{kind}", DetectorParameters()
    width, height = 4096, default.max_pixels // 4096 + 1
    parameters = {**MODEL, "resize": default.resize, "cameras": [name], "image_transport": kind}
    node = start_node("detector", parameters, "-r", f"__node:={name}")
    if kind == "raw":
        camera = Connection(probe, name, first=image_message(textured_image(48, 64), "rgb8"))
        large = image_message(np.zeros((height, width), np.uint8), "mono8")
    else:
        camera = Connection(probe, name, "image_raw/compressed", first=compressed_message(SOURCES[1], "jpeg"))
        large = compressed_message(
            png(width, height, 8, 0, (b"IDAT", zlib.compress(bytes(height * (width + 1))))), "png"
        )
    assert converts(large)
    live = LiveNode(node, probe, camera, name)
    before = forget_peak_of(live.process)
    large.header.stamp = probe.next_stamp()
    camera.publish(large)
    node.wait_for_output(f"size {width} x {height} is too large; expected at most {default.max_pixels} pixels")
    live.answer()
    live.check_counts()
    assert peak_of(live.process) - before < 10 * width * height


def test_compressed_images_are_decoded_off_the_callback_thread(
    start_node: Callable[..., NodeProcess], probe: Probe
) -> None:
    slow = compressed_message(many_scans(80, size=(2048, 2048)), "jpeg")
    name = "responsive"
    start_node("detector", {**MODEL, "cameras": [name], "image_transport": "compressed"}, "-r", f"__node:={name}")
    camera = Connection(probe, name, "image_raw/compressed", first=compressed_message(SOURCES[1], "jpeg"))
    camera.publish(slow)
    answers = 0
    while not camera.keypoints:  # of the slow image
        assert probe.get_parameter_values(name, "threshold")
        answers += 1
    assert answers > 5  # a callback thread that decodes would give one at most

"""Faults between processes: what dies comes back, output goes on, and nothing leaks.

`make test` repeats each a few times, `make faults` as often as docs/robustness.md says; `-s` shows what was measured.
SUPERPOINT_ROS_TEST_DEVICE=cuda:0 has the detectors compute on a GPU, and counts its memory too; `make gpu` does that.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from full_counts import repetitions

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

import rclpy
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from node_testing import Connection, NodeProcess, Probe, image_message, textured_image
from rclpy.executors import SingleThreadedExecutor
from superpoint_ros.msg import KeypointArray

from superpoint_ros.nodes.detector.parameters import DetectorParameters
from superpoint_ros.nodes.detector.status import model_details
from superpoint_ros.nodes.parameters.declaration import declarations
from superpoint_ros.nodes.processes.memory import give_back_unused_gpu_memory

DEVICE = os.environ.get("SUPERPOINT_ROS_TEST_DEVICE", "cpu")
if DEVICE.startswith("cuda") and not torch.cuda.is_available():
    pytest.skip("no GPU", allow_module_level=True)
MODEL = {"weights": "random", "device": DEVICE, "backend": "torch", "max_keypoints": 50}
IMAGE = textured_image(96, 128)
LARGE_IMAGE = textured_image(480, 640)
MEMORY_LIMIT = 64 << 20
"""Bytes: more than an allocator keeps back, less than a leak would take in the full counts."""


@dataclass(frozen=True)
class Usage:
    """What a process holds of the system."""

    descriptors: int
    threads: int
    shared_memory: int
    memory: int
    gpu_memory: int
    """Of all processes, as the driver counts it; 0 on a CPU."""

    @classmethod
    def of(cls, node: NodeProcess) -> Usage:
        process = psutil.Process(node.process.pid)
        shared = sum(part.rss for part in process.memory_maps() if part.path.startswith("/dev/shm/"))
        info = process.memory_info()
        free, total = torch.cuda.mem_get_info(DEVICE) if DEVICE.startswith("cuda") else (0, 0)
        return cls(process.num_fds(), process.num_threads(), shared, info.rss - info.shared, total - free)

    def __str__(self) -> str:
        shared, memory, gpu = (size / 2**20 for size in (self.shared_memory, self.memory, self.gpu_memory))
        text = f"{self.descriptors} fds, {self.threads} threads, {shared:.1f} MiB shared, {memory:.1f} MiB own"
        return f"{text}, {gpu:.1f} MiB of the GPU" if gpu else text

    def assert_no_leak(self, before: Usage, what: str, of_gpu: bool = True) -> None:
        print(f"\n{what}: {before} -> {self}")
        assert self.descriptors <= before.descriptors and self.threads <= before.threads
        assert self.memory - before.memory < MEMORY_LIMIT
        assert self.shared_memory - before.shared_memory < MEMORY_LIMIT
        assert not of_gpu or self.gpu_memory - before.gpu_memory < MEMORY_LIMIT


class Detector:
    """A detector process with a camera and a listener; both are named like it."""

    def __init__(self, start_node: Callable[..., NodeProcess], probe: Probe, name: str, **parameters: Any) -> None:
        self.name, self._start, self._probe = name, start_node, probe
        self._parameters = {**MODEL, "cameras": [name], **parameters}
        self.start()

    def start(self) -> None:
        self.node = self._start("detector", self._parameters, "-r", f"__node:={self.name}")

    def connect(self) -> Connection:
        self.camera = Connection(self._probe, self.name, first=image_message(IMAGE, "rgb8"))
        return self.camera

    def answers(self) -> None:
        assert len(self.camera.result(image_message(IMAGE, "rgb8")).x) > 0

    def answers_again(self) -> float:
        """Send 20 images per second until one is answered; returns the seconds since the node had its model."""
        start, deadline = time.time(), time.monotonic() + 60
        while not is_answered(self.camera.keypoints, since=start):
            assert time.monotonic() < deadline, "a node that was started again answers nothing"
            image = image_message(IMAGE, "rgb8")
            image.header.stamp = self._probe.get_clock().now().to_msg()
            self.camera.publish(image)
            self._probe.spin_for(0.05, unless=lambda: is_answered(self.camera.keypoints, since=start))
        return time.time() - logged_at(self.node, f" on {DEVICE} (")

    def without_reserves(self) -> Usage:
        """Return the idle usage without freed memory that the C library keeps for more images of their sizes.

        A change of options gives that back. Otherwise it depends on which images were taken at which options: which of
        them a busy machine leaves out, or hands over after the next change, is a matter of chance.
        """
        for radius in (LIVE["nms_radius"].default + 1, LIVE["nms_radius"].default):
            assert self._probe.set_parameters(self.name, nms_radius=radius)[0].successful
            self.answers()
        return self.wait_settled()

    def to(self, *transitions: str) -> None:
        for transition in transitions:
            assert self._probe.change_state(self.name, transition), transition

    def wait_settled(self) -> Usage:
        """Return the usage once threads and descriptors of what has just ended are gone."""
        usages = [Usage.of(self.node)]
        while len(usages) < 5 or len({(usage.descriptors, usage.threads) for usage in usages[-5:]}) > 1:
            self._probe.spin_for(0.2)
            usages.append(Usage.of(self.node))
            assert len(usages) < 200, "threads and descriptors keep changing"
        return usages[-1]


def is_answered(keypoints: list[KeypointArray], since: float) -> bool:
    """Whether an image is answered that was stamped after so many seconds of the system's clock."""
    return any(found.header.stamp.sec + found.header.stamp.nanosec * 1e-9 > since for found in keypoints)


def logged_at(node: NodeProcess, text: str) -> float:
    """Wait for a line with `text` in a node's log; returns its time, seconds of the system's clock."""
    node.wait_for_output(text)
    line = next(line for line in node.output.splitlines() if text in line)
    match = re.search(r"\[(\d+\.\d+)\]", line)
    assert match, line
    return float(match[1])


@pytest.fixture(scope="module")
def detector(start_node: Callable[..., NodeProcess], probe: Probe) -> Detector:
    detector = Detector(start_node, probe, "sturdy")
    detector.connect()
    return detector


# Processes that die


def abandoned_locks() -> set[Path]:
    return set(Path("/dev/shm").glob("fast*_????????????????_el"))


def test_a_node_killed_in_the_middle_of_an_image_starts_again(
    start_node: Callable[..., NodeProcess], probe: Probe
) -> None:
    detector = Detector(start_node, probe, "mortal")
    camera, pauses = detector.connect(), []
    for _ in range(repetitions(full=10, short=2)):
        locks_before = abandoned_locks()
        for _ in range(3):
            camera.publish(image_message(LARGE_IMAGE, "rgb8"))
        probe.spin_for(0.1)
        detector.node.stop(signal.SIGKILL)
        for lock in locks_before & abandoned_locks():
            os.utime(lock, (time.time() - 60,) * 2)  # as if it had been a while ago; locked ones stay
        detector.start()
        pauses.append(detector.answers_again())
        segments = {lock.with_name(lock.name.removesuffix("_el")) for lock in locks_before}
        assert any(not segment.exists() for segment in segments), "the memory of the killed node is still there"
    assert_short(pauses, "first result after the model of a new node was loaded")
    assert detector.node.stop() == 0


def assert_short(seconds: list[float], what: str) -> None:
    """Print pauses and compare them with limits: loose ones where few are taken, on machines with much else to do."""
    median, longest = np.median(seconds), max(seconds)
    print(f"\n{what}: {median:.2f} s in the median of {len(seconds)}, at most {longest:.2f} s")
    assert median < repetitions(full=1, short=10) and longest < repetitions(full=5, short=10)


def test_a_camera_that_dies_and_comes_back_is_followed(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    detector = Detector(start_node, probe, "patient", resize=64)
    probe.wait_until(lambda: probe.state(detector.name) == "active", "a detector that waits for its camera")
    keypoints = probe.collect(KeypointArray, "patient/keypoints")
    parameters = {"source": "virtual", "camera_name": "patient", "width": 160, "height": 120, "rate": 30.0}
    before, pauses = None, []
    for number in range(repetitions(full=20, short=3)):
        offer = {"reliability": ("reliable", "best_effort")[number % 2]}
        camera = start_node("camera_player", parameters | offer, "-r", "__node:=patient_camera")
        start = logged_at(camera, "playing")  # the first image follows at once
        del keypoints[:]
        probe.wait_until(partial(is_answered, keypoints, start), "keypoints of the new camera")
        pauses.append(time.time() - start)
        camera.stop(signal.SIGKILL)
        usage = detector.wait_settled()
        before = before or usage
    assert_short(pauses, "first result after the first image of a new camera")
    usage.assert_no_leak(before, f"{len(pauses)} cameras killed")
    assert detector.node.stop() == 0


# Things that happen often


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_lifecycle_cycles_leak_nothing(start_node: Callable[..., NodeProcess], probe: Probe, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    device = DEVICE if backend == "torch" else "cpu"
    detector = Detector(start_node, probe, f"cycled_{backend}", backend=backend, device=device)
    detector.connect()
    cycles, warm = repetitions(full=100, short=6), repetitions(full=10, short=3)
    pauses = []
    for cycle in range(cycles):
        detector.to("deactivate", "cleanup", "configure", "activate")
        if cycle % 3 == 0:
            start = time.monotonic()
            detector.camera.stop_listening()
            detector.camera.listen()
            pauses.append(time.monotonic() - start)
            detector.answers()
        if cycle + 1 == warm:
            before = detector.wait_settled()
    assert_short(pauses, "first result after activate")
    detector.wait_settled().assert_no_leak(before, f"{cycles - warm} lifecycle cycles with {backend}")
    detector.answers()
    assert detector.node.stop() == 0


VALUES = st.one_of(
    st.booleans(),
    st.integers(-5, 100),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.floats(0.0, 1.0),
    st.text(max_size=20),
    st.sampled_from(["none", "quadratic", "soft_argmax", "float32", "int8", "cpu", "cuda:0", "all", "", "/dev/null"]),
    st.lists(st.floats(width=32), min_size=1, max_size=3),
    st.lists(st.integers(-10, 5000), min_size=1, max_size=3),
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=5), min_size=1, max_size=3),
)
LIVE = {name: item for name, item in declarations(DetectorParameters).items() if item.live}


def allowed(name: str) -> st.SearchStrategy[Any]:
    """Return values of a live parameter that are of the right type and range."""
    item = LIVE[name]
    if item.choices:
        return st.sampled_from(item.choices)
    if isinstance(item.default, bool):
        return st.booleans()
    if item.minimum is not None:
        bounded = st.integers if isinstance(item.default, int) else st.floats
        return bounded(type(item.default)(item.minimum), type(item.default)(item.maximum or 0))
    return st.just(item.default)


NAMES = [*declarations(DetectorParameters), "use_sim_time", "unknown"]
CHANGES = st.one_of(
    st.tuples(st.sampled_from(NAMES), VALUES),
    st.sampled_from(sorted(LIVE)).flatmap(lambda name: st.tuples(st.just(name), allowed(name))),
)


def test_any_parameter_change_during_inference_is_taken_whole_or_refused(detector: Detector, probe: Probe) -> None:
    outcomes = {True: 0, False: 0}
    usages: list[Usage] = []
    pauses: list[float] = []
    warm = repetitions(full=100, short=30)

    @seed(5)
    @settings(
        max_examples=repetitions(full=1000, short=60),
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(CHANGES.filter(lambda change: "\x00" not in str(change[1]) and change != ("use_sim_time", True)))
    def change(drawn: tuple[str, Any]) -> None:
        name, value = drawn
        value = list(value) if isinstance(value, tuple) else value
        if sum(outcomes.values()) == warm:
            usages.append(detector.without_reserves())
        detector.camera.publish(image_message(LARGE_IMAGE if sum(outcomes.values()) % 8 == 0 else IMAGE, "rgb8"))
        old = probe.get_parameter_values(detector.name, name)
        result = probe.set_parameters(detector.name, **{name: value})[0]
        outcomes[result.successful] += 1
        if result.successful:
            assert np.array_equal(probe.get_parameter_values(detector.name, name)[0], value)
        else:
            assert result.reason
            assert str(probe.get_parameter_values(detector.name, name)) == str(old)  # NaN is not equal to itself
        if name in LIVE:
            default = list(LIVE[name].default) if isinstance(LIVE[name].default, tuple) else LIVE[name].default
            assert probe.set_parameters(detector.name, **{name: default})[0].successful
        if sum(outcomes.values()) % 10 == 0:
            start = time.monotonic()
            detector.answers()
            pauses.append(time.monotonic() - start)

    change()
    assert_short(pauses, "first result after a parameter change")
    print(f"\nparameters: {outcomes[True]} changes taken, {outcomes[False]} refused")
    assert min(outcomes.values()) > 0
    what = f"{sum(outcomes.values()) - warm} parameter changes"
    detector.without_reserves().assert_no_leak(usages[0], what, of_gpu=False)  # it keeps sizes ready
    assert "Traceback" not in detector.node.output


def test_images_that_are_resized_for_a_while_leave_no_memory_behind(detector: Detector, probe: Probe) -> None:
    detector.camera.result(image_message(LARGE_IMAGE, "rgb8"))  # starts all threads
    before = detector.without_reserves()
    for length in (600, 800, 1000, 0):
        assert probe.set_parameters(detector.name, resize=length)[0].successful
        detector.answers()
    detector.wait_settled().assert_no_leak(before, "images of up to 1000 pixels", of_gpu=False)


def test_subscribers_that_come_and_go_leak_nothing(detector: Detector, probe: Probe, ros_domain: int) -> None:
    count, warm = repetitions(full=200, short=12), repetitions(full=20, short=4)
    pauses = []
    for number in range(count):
        start = time.monotonic()
        with Visitor(ros_domain, f"{detector.name}/keypoints") as received:
            deadline = time.monotonic() + 60
            while not received.messages:
                assert time.monotonic() < deadline, "a new subscriber gets nothing"
                detector.camera.publish(image_message(IMAGE, "rgb8"))
                received.executor.spin_once(timeout_sec=0.05)
                rclpy.spin_once(probe, timeout_sec=0)
            pauses.append(time.monotonic() - start)
        if number + 1 == warm:
            before = detector.wait_settled()
    assert_short(pauses, "first result of a new participant")
    detector.wait_settled().assert_no_leak(before, f"{count - warm} subscribers")
    detector.answers()


class Visitor:
    """A participant of its own that subscribes to keypoints within a ``with`` block."""

    def __init__(self, domain: int, topic: str) -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node("visitor", context=self._context)
        self.messages: list[KeypointArray] = []
        self._node.create_subscription(KeypointArray, topic, self.messages.append, 1)
        self.executor = SingleThreadedExecutor(context=self._context)
        self.executor.add_node(self._node)

    def __enter__(self) -> Visitor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)


# Things that are missing, and GPUs that fail


def openvino_without_its_cpu_plugin(folder: Path) -> Path:
    """Make an installation of OpenVINO that compiles no model; returns where its plugin belongs."""
    whole = Path(pytest.importorskip("openvino").__file__).parent
    libraries = folder / "openvino" / "libs"
    libraries.mkdir(parents=True)
    for path in whole.iterdir():
        if path.name != "libs":
            (libraries.parent / path.name).symlink_to(path)
    for path in (whole / "libs").iterdir():
        if path.name.startswith("libopenvino.so"):
            shutil.copy(path, libraries)  # it looks for plugins beside itself
        elif "cpu_plugin" not in path.name:
            (libraries / path.name).symlink_to(path)
    return next((whole / "libs").glob("*cpu_plugin*"))


def assert_unconfigured_for_one_reason(detector: Detector, probe: Probe) -> None:
    detector.node.wait_for_output("cannot configure")
    assert probe.state(detector.name) == "unconfigured"
    errors = [line for line in detector.node.output.splitlines() if "ERROR" in line]
    assert len(errors) == 1 and "Traceback" not in detector.node.output


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("device", {"device": "cuda:63"}, {"device": "cpu"}),
        ("weights", {"weights": "/missing.pth"}, {"weights": "random"}),
    ],
)
def test_configure_recovers_without_a_new_process(
    name: str, bad: dict[str, Any], good: dict[str, Any], start_node: Callable[..., NodeProcess], probe: Probe
) -> None:
    detector = Detector(start_node, probe, f"unlucky_{name}", **bad)
    assert_unconfigured_for_one_reason(detector, probe)
    assert probe.set_parameters(detector.name, **good)[0].successful
    detector.to("configure", "activate")
    detector.connect()
    detector.answers()
    assert detector.node.stop() == 0


def test_configure_recovers_from_a_backend_that_fails_to_compile(
    start_node: Callable[..., NodeProcess], probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = openvino_without_its_cpu_plugin(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    detector = Detector(start_node, probe, "incomplete", device="cpu", backend="openvino")
    assert_unconfigured_for_one_reason(detector, probe)
    assert probe.set_parameters(detector.name, backend="torch")[0].successful
    detector.to("configure", "cleanup")
    (tmp_path / "openvino" / "libs" / plugin.name).symlink_to(plugin)
    assert probe.set_parameters(detector.name, backend="openvino")[0].successful
    detector.to("configure", "activate")
    detector.connect()
    detector.answers()
    assert "(openvino, fp32)" in detector.node.output
    assert detector.node.stop() == 0


DETECTOR_ON_A_FAULTY_GPU = """
import sys
from pathlib import Path
import torch
from superpoint_ros.nodes.detector.node import main
from superpoint_ros.superpoint.backends import TorchBackend

ERRORS = {{
    "full": torch.OutOfMemoryError("Tried to allocate 20.00 MiB."),
    "lost": torch.AcceleratorError("unspecified launch failure"),
}}
compute = TorchBackend.__call__

def compute_or_fail(self, images):
    error = ERRORS.get(Path({switch!r}).read_text())
    if error is not None:
        raise error
    return compute(self, images)

TorchBackend.__call__ = compute_or_fail
sys.exit(main())
"""


def test_a_gpu_that_is_full_or_lost_costs_images_or_the_state_but_not_the_process(
    start_node: Callable[..., NodeProcess], probe: Probe, tmp_path: Path
) -> None:
    """What PyTorch raises where the network runs, on a CPU: tests need no GPU."""
    switch, program = tmp_path / "switch", tmp_path / "detector.py"
    program.write_text(DETECTOR_ON_A_FAULTY_GPU.format(switch=str(switch)))
    switch.write_text("")
    node = start_node(str(program), {**MODEL, "device": "cpu", "cameras": ["gpu"]}, "-r", "__node:=gpu")
    camera = Connection(probe, "gpu", first=image_message(IMAGE, "rgb8"))

    switch.write_text("full")
    camera.publish(image_message(IMAGE, "rgb8"))
    node.wait_for_output("too little free memory: Tried to allocate 20.00 MiB.")
    switch.write_text("")
    assert len(camera.result(image_message(IMAGE, "rgb8")).x) > 0

    switch.write_text("lost")
    camera.publish(image_message(IMAGE, "rgb8"))
    node.wait_for_output("giving up: the GPU failed and is lost to this process")
    probe.wait_until(lambda: probe.state("gpu") == "unconfigured", "the node to give up")
    for fault in ("lost", "full"):
        switch.write_text(fault)
        assert not probe.change_state("gpu", "configure")
    switch.write_text("")
    assert probe.change_state("gpu", "configure") and probe.change_state("gpu", "activate")
    camera.stop_listening()
    camera.listen()
    assert len(camera.result(image_message(IMAGE, "rgb8")).x) > 0
    assert "Traceback" not in node.output and node.stop() == 0


def test_diagnostics_outlive_a_lost_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: str) -> None:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure\nadvice")

    monkeypatch.setattr(torch.cuda, "mem_get_info", fail)
    loaded = {"backend": "torch", "precision": "fp16", "threads": 1, "max_batch_size": 8, "model_name": "model"}
    extractor: Any = SimpleNamespace(device="cuda:0", **loaded)
    assert model_details(extractor)["GPU memory"] == "unknown: CUDA error: unspecified launch failure"


def test_giving_memory_back_outlives_a_lost_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fail() -> None:
        asked.append("empty_cache")
        raise torch.AcceleratorError("CUDA error: unspecified launch failure\nadvice")

    monkeypatch.setattr(torch.cuda, "empty_cache", fail)
    give_back_unused_gpu_memory()
    assert asked == ["empty_cache"]

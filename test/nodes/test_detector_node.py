"""A detector process as its users meet it: lifecycle, parameters, diagnostics, overlay, signals."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_testing import (
    Connection,
    NodeProcess,
    Probe,
    counts,
    image_message,
    latest_status,
    settled,
    textured_image,
    values,
)
from sensor_msgs.msg import Image
from superpoint_ros.msg import KeypointArray

from superpoint_ros.superpoint.checkpoints import random_checkpoint

MODEL = {"weights": "random", "device": "cpu", "backend": "torch"}
IMAGE = textured_image(96, 128)


@pytest.fixture(scope="module")
def detector(start_node: Callable[..., Any], probe: Probe) -> SimpleNamespace:
    """An active detector and the topics around it."""
    node = start_node("detector", MODEL)
    return SimpleNamespace(
        node=node,
        camera=Connection(probe),
        diagnostics=probe.collect(DiagnosticArray, "/diagnostics"),
    )


@pytest.fixture
def detect(detector: SimpleNamespace) -> Callable[[], KeypointArray]:
    """Send an image and return the message about it."""
    return lambda: detector.camera.result(image_message(IMAGE, "rgb8"))


# Parameters


@pytest.mark.parametrize(
    ("name", "value", "takes_effect"),
    [
        ("max_keypoints", 7, lambda message: len(message.x) == 7),
        ("threshold", 0.9, lambda message: len(message.x) == 0),
        ("nms_radius", 20, lambda message: 0 < len(message.x) < 40),
        ("border", 40, lambda message: len(message.x) > 0 and min(message.y) >= 40 and max(message.y) <= 96 - 41),
        ("resize", 64, lambda message: message.width == 128 and 0 < len(message.x) < 150),
        ("subpixel", "none", lambda message: all(x == round(x) for x in message.x)),
        ("publish_descriptors", False, lambda message: message.descriptor_size == len(message.descriptors) == 0),
        ("descriptor_type", "int8", lambda message: len(message.descriptors_int8) == 256 * len(message.x) > 0),
    ],
)
def test_live_change_takes_effect_on_the_next_image(
    name: str,
    value: Any,
    takes_effect: Callable[[KeypointArray], bool],
    detect: Callable[[], KeypointArray],
    probe: Probe,
) -> None:
    before = probe.get_parameter_values("detector", name)[0]
    assert not takes_effect(detect())
    assert probe.set_parameters("detector", **{name: value})[0].successful
    assert takes_effect(detect())
    assert probe.set_parameters("detector", **{name: before})[0].successful
    assert not takes_effect(detect())


@pytest.mark.parametrize(
    ("name", "value"),
    [("threshold", -1.0), ("threshold", 5), ("max_keypoints", -2), ("resize", 7), ("subpixel", "cubic")],
)
def test_refused_value_changes_nothing(
    name: str, value: Any, detect: Callable[[], KeypointArray], probe: Probe
) -> None:
    before, expected = probe.get_parameter_values("detector", name), detect()
    result = probe.set_parameters("detector", **{name: value})[0]
    assert not result.successful and name in result.reason
    assert probe.get_parameter_values("detector", name) == before
    found = detect()
    assert (found.x, found.y, found.scores) == (expected.x, expected.y, expected.scores)


def test_integers_are_taken_for_floating_point_numbers(detector: SimpleNamespace, probe: Probe) -> None:
    names = ("threshold", "value_range")
    before = probe.get_parameter_values("detector", *names)
    assert all(result.successful for result in probe.set_parameters("detector", threshold=0, value_range=[0, 4095]))
    threshold, value_range = probe.get_parameter_values("detector", *names)
    assert [repr(value) for value in (threshold, *value_range)] == ["0.0", "0.0", "4095.0"]
    assert all(result.successful for result in probe.set_parameters("detector", **dict(zip(names, before))))


def test_integers_are_taken_for_floating_point_numbers_at_start(
    start_node: Callable[..., NodeProcess], probe: Probe
) -> None:
    parameters = {"autostart": False, "threshold": 0, "value_range": [0, 4095]}
    node = start_node("detector", {**MODEL, **parameters}, "-r", "__node:=integral")
    threshold, value_range = probe.get_parameter_values("integral", "threshold", "value_range")
    assert [repr(value) for value in (threshold, *value_range)] == ["0.0", "0.0", "4095.0"]
    result = probe.set_parameters("integral", threshold="high")[0]
    assert not result.successful and "type" in result.reason  # rclpy's own check
    assert node.stop() == 0


def test_several_values_set_atomically_are_taken_all_or_none(detect: Callable[[], KeypointArray], probe: Probe) -> None:
    names = ("max_keypoints", "resize")
    before = probe.get_parameter_values("detector", *names)
    assert not probe.set_parameters_atomically("detector", max_keypoints=7, resize=7).successful
    assert probe.get_parameter_values("detector", *names) == before
    assert len(detect().x) > 7
    assert probe.set_parameters_atomically("detector", max_keypoints=7, resize=64).successful
    assert len(detect().x) == 7
    assert probe.set_parameters_atomically("detector", **dict(zip(names, before))).successful


@pytest.mark.parametrize(
    ("name", "value"), [("cameras", ["left"]), ("weights", "default"), ("device", "cuda"), ("frame_policy", "all")]
)
def test_what_needs_configure_is_refused_with_that_reason(name: str, value: Any, probe: Probe, detector: Any) -> None:
    result = probe.set_parameters("detector", **{name: value})[0]
    assert not result.successful
    assert result.reason == f"{name} takes effect at configure: deactivate and clean up the node before changing it"


# Overlay and demand


def test_overlay_is_drawn_only_while_someone_subscribes(
    detect: Callable[[], KeypointArray], detector: SimpleNamespace, probe: Probe
) -> None:
    detect()
    overlays = probe.collect(Image, "camera/keypoints_image")
    probe.wait_until(lambda: detect() and overlays, "an overlay")  # the detector has to notice first
    detect()
    overlay = overlays[-1]
    assert (overlay.width, overlay.height, overlay.encoding) == (128, 96, "rgb8")
    assert overlay.header.frame_id == "camera_optical_frame"
    pixels = np.asarray(overlay.data).reshape(96, 128, 3)
    assert 0.02 < np.mean(np.any(pixels != IMAGE, axis=2)) < 1.0
    probe.destroy_subscription(overlays.subscription)


def test_nothing_is_computed_while_nobody_subscribes(
    detect: Callable[[], KeypointArray], detector: SimpleNamespace, probe: Probe
) -> None:
    detect()
    detector.camera.stop_listening()

    def send() -> dict[str, int]:
        """Publish an image and return the newest counts."""
        detector.camera.publish(image_message(IMAGE, "rgb8"))
        probe.spin_for(0.1)
        return counts(detector.diagnostics, "detector: camera")

    unwanted, processed = "dropped: no subscriber", "images processed"
    del detector.diagnostics[:]  # what was counted before
    probe.wait_until(send, "new diagnostics")
    before = counts(detector.diagnostics, "detector: camera")

    def is_idle() -> bool:
        now = send()
        return now[unwanted] > before[unwanted] and settled(now) == now["images received"]

    probe.wait_until(is_idle, "an image that nobody wants, and none under way")
    idle = counts(detector.diagnostics, "detector: camera")
    probe.wait_until(lambda: send()[unwanted] > idle[unwanted], "more of them")
    assert counts(detector.diagnostics, "detector: camera")[processed] == idle[processed]
    assert probe.set_parameters("detector", process_without_subscribers=True)[0].successful

    probe.wait_until(lambda: send()[processed] > idle[processed], "an image processed for nobody")
    assert probe.set_parameters("detector", process_without_subscribers=False)[0].successful
    detector.camera.listen()


# Diagnostics


def test_diagnostics_tell_rates_drops_latencies_and_the_model(
    detect: Callable[[], KeypointArray], detector: SimpleNamespace, probe: Probe
) -> None:
    for _ in range(3):
        detect()
    count = len(detector.diagnostics)
    probe.wait_until(lambda: len(detector.diagnostics) >= count + 2, "diagnostics")
    model = latest_status(detector.diagnostics, "detector: model")  # both before another image is sent
    camera = values(latest_status(detector.diagnostics, "detector: camera"))
    numbers = counts(detector.diagnostics, "detector: camera")
    assert model.level == DiagnosticStatus.OK and model.message == "active" and model.hardware_id == "cpu"
    expected = {"state": "active", "device": "cpu", "backend": "torch", "precision": "fp32"}
    assert values(model).items() >= expected.items()
    assert values(model)["weights"] == detect().model
    assert float(values(model)["process memory [MB]"]) > 50  # Python and PyTorch alone take more
    assert camera["image topic"] == "/camera/image_raw"
    assert numbers["images received"] == settled(numbers) > 0
    stages = ["age at reception", "queue wait", "conversion", "inference", "decoding", "publishing"]
    for stage in [*stages, "reception to publication"]:
        p50, p95, p99 = (float(camera[f"{stage} {percentile} [ms]"]) for percentile in ("p50", "p95", "p99"))
        assert p50 <= p95 <= p99
    assert float(camera["rate received [Hz]"]) >= 0


def test_diagnostics_call_a_silent_camera_stale(detector: SimpleNamespace, probe: Probe) -> None:
    def is_stale() -> bool:
        status = latest_status(detector.diagnostics, "detector: camera")
        return status is not None and status.level == DiagnosticStatus.STALE and "/camera/image_raw" in status.message

    probe.wait_until(is_stale, "the camera to be stale")


# Lifecycle


def test_deactivate_stops_output_and_activate_resumes(
    detect: Callable[[], KeypointArray], detector: SimpleNamespace, probe: Probe
) -> None:
    detect()
    camera = detector.camera
    for _ in range(3):  # for some of which the node has no time before it is deactivated
        camera.publish(image_message(textured_image(480, 640), "rgb8"))
    assert probe.change_state("detector", "deactivate") and probe.state("detector") == "inactive"
    probe.wait_until(lambda: camera.publisher.get_subscription_count() == 0, "the detector to unsubscribe")
    count = len(camera.keypoints)
    for _ in range(5):
        camera.publish(image_message(IMAGE, "rgb8"))
        probe.spin_for(0.1)
    assert len(camera.keypoints) == count
    assert probe.change_state("detector", "activate") and probe.state("detector") == "active"
    probe.wait_until(lambda: camera.publisher.get_subscription_count() > 0, "the detector to subscribe")
    assert len(detect().x) > 0
    del detector.diagnostics[:]

    def all_accounted_for() -> bool:
        now = counts(detector.diagnostics, "detector: camera")
        return bool(now) and settled(now) == now["images received"]

    probe.wait_until(all_accounted_for, "diagnostics that account for all images")


def test_cleanup_lets_everything_change_and_configure_takes_it(detector: SimpleNamespace, probe: Probe) -> None:
    for label in ("deactivate", "cleanup"):
        assert probe.change_state("detector", label)
    assert probe.state("detector") == "unconfigured"
    assert probe.set_parameters("detector", cameras=["left", "right"])[0].successful
    for label in ("configure", "activate"):
        assert probe.change_state("detector", label)
    for camera in ("left", "right"):
        assert len(Connection(probe, camera).result(image_message(IMAGE, "rgb8")).x) > 0
    for label in ("deactivate", "cleanup"):
        assert probe.change_state("detector", label)
    assert probe.set_parameters("detector", cameras=["camera"])[0].successful
    for label in ("configure", "activate"):
        assert probe.change_state("detector", label)
    detector.camera.listen()


def test_bad_weights_fail_configure_with_one_sentence_and_good_ones_recover(
    start_node: Callable[..., NodeProcess], probe: Probe, tmp_path: Path
) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"no weights")
    node = start_node("detector", {**MODEL, "weights": weights, "cameras": ["other"]}, "-r", "__node:=unlucky")
    node.wait_for_output("cannot configure")
    diagnostics = probe.collect(DiagnosticArray, "/diagnostics")
    assert probe.state("unlucky") == "unconfigured"
    errors = [line for line in node.output.splitlines() if "ERROR" in line]
    assert len(errors) == 1 and str(weights) in errors[0] and "Traceback" not in node.output

    def is_reported() -> bool:
        status = latest_status(diagnostics, "unlucky: model")
        return status is not None and status.level == DiagnosticStatus.ERROR and str(weights) in status.message

    probe.wait_until(is_reported, "the failure on /diagnostics")
    assert not probe.change_state("unlucky", "configure")
    torch.save(random_checkpoint().network().state_dict(), weights)
    assert probe.change_state("unlucky", "configure") and probe.change_state("unlucky", "cleanup")
    assert probe.set_parameters("unlucky", weights="random")[0].successful
    assert probe.change_state("unlucky", "configure") and probe.change_state("unlucky", "activate")
    assert "RANDOM" in node.output
    assert len(Connection(probe, "other").result(image_message(IMAGE, "rgb8")).x) > 0
    assert node.stop(signal.SIGTERM) == 0
    assert "Traceback" not in node.output


# Process


def test_waits_for_a_lifecycle_manager_without_autostart(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    node = start_node("detector", {**MODEL, "autostart": False}, "-r", "__node:=patient")
    assert probe.state("patient") == "unconfigured"
    diagnostics = probe.collect(DiagnosticArray, "/diagnostics")
    assert probe.change_state("patient", "shutdown") and probe.state("patient") == "finalized"

    def says_finalized() -> bool:
        status = latest_status(diagnostics, "patient: model")
        return status is not None and status.message == values(status)["state"] == "finalized"

    probe.wait_until(says_finalized, "diagnostics of a node that was shut down")
    assert node.stop() == 0
    assert "Traceback" not in node.output


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"threshold": 2.0}, "threshold must be"),
        ({"cameras": ["a b"]}, "cameras must be"),
        ({"cameras": ["kamerä"]}, "cameras must be"),
        ({"border": 1.5}, "border must be"),
    ],
)
def test_bad_parameter_at_start_ends_with_one_sentence(
    parameters: dict[str, Any], reason: str, start_node: Callable[..., NodeProcess]
) -> None:
    node = start_node("detector", {**MODEL, **parameters})
    assert node.process.wait(60) == 1
    assert reason in node.output and "Traceback" not in node.output and len(node.output.splitlines()) == 1


def test_sigint_during_work_ends_with_0_and_no_traceback(
    detect: Callable[[], KeypointArray], detector: SimpleNamespace
) -> None:
    detect()
    for _ in range(5):
        detector.camera.publish(image_message(textured_image(480, 640), "rgb8"))
    assert detector.node.stop(signal.SIGINT) == 0
    assert "Traceback" not in detector.node.output and "ERROR" not in detector.node.output


def test_sigint_while_the_model_loads(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    node = start_node("detector", MODEL, "-r", "__node:=hasty")
    probe.wait_until(lambda: "hasty" in probe.get_node_names(), "the node to exist")
    assert node.stop(signal.SIGINT) == 0
    assert "Traceback" not in node.output


def test_missing_pytorch_fails_configure_with_one_sentence(
    start_node: Callable[..., NodeProcess], probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    node = start_node("detector", MODEL, "-r", "__node:=torchless")
    node.wait_for_output(
        "cannot configure: torch cannot be imported; PyTorch is needed: the README says how to install it"
    )
    assert probe.state("torchless") == "unconfigured"
    assert node.stop() == 0
    assert "Traceback" not in node.output

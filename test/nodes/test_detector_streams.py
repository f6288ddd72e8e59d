"""Many cameras and what holds for their images: shares, order, rate limit, masks, bearings, clocks, a lost device."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as pillow

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
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo

from superpoint_ros.geometry import CameraModel, bearing_vectors
from superpoint_ros.nodes.messages.keypoints import from_message
from superpoint_ros.nodes.topics.calibration import camera_model

MODEL = {"weights": "random", "device": "cpu", "backend": "torch"}
HEIGHT, WIDTH = 96, 128
IMAGE = textured_image(HEIGHT, WIDTH)


def status_of(diagnostics: list[DiagnosticArray], camera: str) -> DiagnosticStatus:
    status = latest_status(diagnostics, f": {camera}")
    return status if status is not None else DiagnosticStatus()


def publish_until(
    reached: Callable[[], bool],
    cameras: dict[str, Connection],
    rates: dict[str, int],
    message: Any,
    probe: Probe,
    end: float,
) -> None:
    """Publish as each camera so many images per second, until `reached` or `end`, in seconds of the steady clock."""
    due = dict.fromkeys(rates, time.monotonic())
    while not reached() and time.monotonic() < end:
        for name, camera in cameras.items():
            if time.monotonic() >= due[name]:
                due[name] += 1 / rates[name]
                message.header.stamp = probe.next_stamp()
                camera.publish(message)
        probe.spin_for(0.001)


# Several cameras


@pytest.mark.parametrize(
    ("backend", "max_batch_size", "size"),
    [("torch", 0, (240, 320)), ("openvino", 0, (360, 480)), ("openvino", 4, (360, 480))],
)
def test_cameras_of_different_rates_get_equal_shares_of_an_overloaded_model(
    backend: str, max_batch_size: int, size: tuple[int, int], start_node: Callable[..., NodeProcess], probe: Probe
) -> None:
    """One batch of all, or one image after the other, as OpenVINO by default; `size` overloads both by far."""
    pytest.importorskip(backend)
    rates = {"front": 10, "rear": 15, "left": 25, "right": 40}  # images per second: each one more than its share
    parameters = {**MODEL, "backend": backend, "max_batch_size": max_batch_size, "threads": 1, "cameras": list(rates)}
    node = start_node("detector", parameters, "-r", f"__node:=overloaded_{backend}_{max_batch_size}")
    message = image_message(textured_image(*size)[..., 0], "mono8")
    cameras = {name: Connection(probe, name) for name in rates}

    def each_has_enough() -> bool:
        return min(len(camera.keypoints) for camera in cameras.values()) >= 12

    publish_until(each_has_enough, cameras, rates, message, probe, time.monotonic() + 150)
    processed = [len(camera.keypoints) for camera in cameras.values()]
    fair = sum(processed) / len(processed)
    assert fair >= 12 and all(0.9 * fair <= count <= 1.1 * fair for count in processed)
    for camera in cameras.values():
        camera.close()
    assert node.stop() == 0


def test_policy_all_is_deterministic_to_the_bit(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    parameters = {**MODEL, "backend": "auto", "frame_policy": "all", "cameras": ["bag_left", "bag_right"]}
    start_node("detector", parameters, "-r", "__node:=exact")
    cameras = [Connection(probe, name) for name in parameters["cameras"]]

    def play() -> list[bytes]:
        for number in range(12):
            for camera in cameras:
                message = image_message(textured_image(120, 160, seed=number), "rgb8")
                message.header.stamp.nanosec = number + 1
                camera.publish(message)
        probe.wait_until(lambda: all(len(camera.keypoints) == 12 for camera in cameras), "all results")
        results = [result for camera in cameras for result in camera.keypoints]
        assert [result.header.stamp.nanosec for result in results] == [*range(1, 13)] * 2
        for camera in cameras:
            del camera.keypoints[:]
        return [b"".join(part.tobytes() for part in from_message(result)[:3]) for result in results]

    assert play() == play()


@pytest.mark.parametrize(("policy", "simulated_time"), [("latest", False), ("all", True)])
def test_max_rate_holds_for_all_cameras_together_and_is_shared_fairly(
    policy: str, simulated_time: bool, start_node: Callable[..., NodeProcess], probe: Probe
) -> None:
    rates, limit = {"idle": 2, "busy": 30, "racing": 60}, 15.0  # images per second
    node = f"limited_{policy}"
    parameters = {**MODEL, "frame_policy": policy, "use_sim_time": simulated_time, "cameras": list(rates)}
    process = start_node("detector", parameters, "-r", f"__node:={node}")
    diagnostics = probe.collect(DiagnosticArray, "/diagnostics")
    cameras = {name: Connection(probe, name) for name in rates}
    message = image_message(IMAGE, "rgb8")
    begun = time.monotonic()
    assert probe.set_parameters(node, max_rate=limit)[0].successful

    def processed() -> int:
        return sum(len(camera.keypoints) for camera in cameras.values())

    publish_until(lambda: processed() >= 45, cameras, rates, message, probe, begun + 60)
    elapsed = time.monotonic() - begun
    assert 45 <= processed() <= limit * elapsed + 2 * len(rates)

    del diagnostics[:]
    found: dict[str, dict[str, int]] = {}

    def all_have_settled() -> bool:
        found.update({name: counts(diagnostics, f"{node}: {name}") for name in rates})
        return all(count.get("images received", -1) == settled(count) for count in found.values())

    probe.wait_until(all_have_settled, "what became of all images")
    for count in found.values():
        passed = count["images received"] - count["dropped: max_rate"]
        assert passed >= 0.7 * min(count["images received"], limit * elapsed / len(rates)), found
    assert found["racing"]["dropped: max_rate"] > 0
    for camera in cameras.values():
        camera.close()
    assert process.stop() == 0


# One camera


@pytest.fixture(scope="module")
def detector(start_node: Callable[..., Any], probe: Probe) -> SimpleNamespace:
    """An active detector and the topics around it."""
    node = start_node("detector", {**MODEL, "cameras": ["eye"]}, "-r", "__node:=streams")
    return SimpleNamespace(
        node=node, camera=Connection(probe, "eye"), diagnostics=probe.collect(DiagnosticArray, "/diagnostics")
    )


def test_keypoints_lie_inside_the_mask_from_the_next_image_on(
    detector: SimpleNamespace, probe: Probe, tmp_path: Path
) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, WIDTH // 2 :] = 1
    pillow.fromarray(mask).save(tmp_path / "eye.png")
    detect = lambda: detector.camera.result(image_message(IMAGE, "rgb8"))  # noqa: E731
    everywhere = detect()
    assert probe.set_parameters("streams", mask=f"{tmp_path}/{{camera}}.png")[0].successful
    inside = detect()
    assert len(inside.x) > 10 and min(inside.x) >= WIDTH / 2 - 0.5 and min(everywhere.x) < WIDTH / 4
    pillow.fromarray(mask[:50]).save(tmp_path / "small.png")
    for name, reason in (
        ("small.png", f"{WIDTH} x 50 pixels, its images have {WIDTH} x {HEIGHT}"),
        ("no.png", "no.png"),
    ):
        result = probe.set_parameters("streams", mask=str(tmp_path / name))[0]
        assert not result.successful and reason in result.reason
    assert detect().x == inside.x

    def is_told() -> bool:
        detector.camera.publish(image_message(textured_image(64, 64), "rgb8"))  # for which the mask is none
        status = status_of(detector.diagnostics, "eye")
        return status.level == DiagnosticStatus.ERROR and "the mask of eye has" in status.message

    probe.wait_until(is_told, "the reason on /diagnostics")
    assert detect().x == inside.x
    assert probe.set_parameters("streams", mask="")[0].successful
    assert detect().x == everywhere.x


def calibration(**fields: Any) -> CameraInfo:
    info = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model="plumb_bob", d=[-0.1, 0.01, 0.001, 0.0, 0.0])
    info.k = [100.0, 0.0, 64.0, 0.0, 100.0, 48.0, 0.0, 0.0, 1.0]
    for name, value in fields.items():
        setattr(info, name, value)
    return info


def test_bearings_come_with_a_calibration_and_images_flow_without(detector: SimpleNamespace, probe: Probe) -> None:
    detect = lambda: detector.camera.result(image_message(IMAGE, "rgb8"))  # noqa: E731
    infos = probe.create_publisher(CameraInfo, "eye/camera_info", 1)

    def warning() -> str:
        detect()
        status = status_of(detector.diagnostics, "eye")
        return status.message if status.level == DiagnosticStatus.WARN else ""

    assert probe.set_parameters("streams", publish_bearings=True)[0].successful
    assert len(detect().bearings) == 0
    probe.wait_until(lambda: "no camera_info on /eye/camera_info yet" in warning(), "a warning")
    probe.wait_until(lambda: infos.get_subscription_count() > 0, "the detector to listen")
    infos.publish(calibration(k=[0.0] * 9))
    probe.wait_until(lambda: "not calibrated" in warning(), "another warning")
    infos.publish(calibration(width=2 * WIDTH))
    probe.wait_until(lambda: f"is for {2 * WIDTH} x {HEIGHT} pixels" in warning(), "another warning")
    infos.publish(calibration())
    probe.wait_until(lambda: len(detect().bearings) > 0, "bearings")
    found = from_message(detect())
    expected = bearing_vectors(found.keypoints, camera_model(calibration()))
    np.testing.assert_allclose(found.bearings, expected, atol=1e-6)
    assert probe.set_parameters("streams", publish_bearings=False)[0].successful
    assert len(detect().bearings) == 0


def test_calibration_follows_binning_and_region_of_interest() -> None:
    info = calibration(width=640, height=480, binning_x=2, binning_y=2)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 20, 10, 200, 100
    model: CameraModel = camera_model(info)
    assert model.image_size == (100, 50)
    np.testing.assert_allclose(model.matrix, [[50, 0, 22], [0, 50, 19], [0, 0, 1]])


def test_limits_turn_into_warnings_and_errors(detector: SimpleNamespace, probe: Probe) -> None:
    def level_and_message() -> tuple[bytes, str]:
        detector.camera.result(image_message(IMAGE, "rgb8"))
        status = status_of(detector.diagnostics, "eye")
        return status.level, status.message

    def is_told(level: bytes, reason: str) -> Callable[[], bool]:
        return lambda: (found := level_and_message())[0] == level and reason in found[1]

    for name, limit, level, reason in (
        ("warn_above_latency", 1e-6, DiagnosticStatus.WARN, "latency of"),
        ("error_above_latency", 1e-6, DiagnosticStatus.ERROR, "latency of"),
        ("warn_above_age", 1e-6, DiagnosticStatus.WARN, "age at reception of"),
        ("error_above_age", 1e-6, DiagnosticStatus.ERROR, "age at reception of"),
        ("warn_below_rate", 1000.0, DiagnosticStatus.WARN, "below the limit of 1000 Hz"),
        ("error_below_rate", 1000.0, DiagnosticStatus.ERROR, "below the limit of 1000 Hz"),
    ):
        assert probe.set_parameters("streams", **{name: limit})[0].successful
        probe.wait_until(is_told(level, reason), name)
        assert probe.set_parameters("streams", **{name: 0.0})[0].successful


def test_images_of_the_time_in_which_the_node_was_inactive_are_not_missing(
    detector: SimpleNamespace, probe: Probe
) -> None:
    camera, message = detector.camera, image_message(IMAGE, "rgb8")
    start = probe.get_clock().now().nanoseconds - 100 * 10**9  # far from the stamps of all other images

    def play(first: int) -> None:
        """Publish images of a steady camera, faster than it would."""
        for number in range(first, first + 20):
            message.header.stamp = Time(nanoseconds=start + number * 100_000_000).to_msg()
            camera.publish(message)
            probe.spin_for(0.02)

    def missing() -> int:
        del detector.diagnostics[:]
        probe.wait_until(lambda: counts(detector.diagnostics, "streams: eye"), "new diagnostics")
        return counts(detector.diagnostics, "streams: eye")["missing: gaps between stamps"]

    play(0)
    before = missing()
    assert probe.change_state("streams", "deactivate")
    probe.wait_until(lambda: camera.publisher.get_subscription_count() == 0, "the detector to unsubscribe")
    assert probe.change_state("streams", "activate")
    probe.wait_until(lambda: camera.publisher.get_subscription_count() > 0, "the detector to subscribe")
    play(28)
    camera.result(message)
    assert missing() == before


# Clocks


def test_a_bag_that_loops_under_simulated_time(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    start_node("detector", {**MODEL, "cameras": ["loop"], "use_sim_time": True}, "-r", "__node:=simulated")
    diagnostics = probe.collect(DiagnosticArray, "/diagnostics")
    camera = Connection(probe, "loop")
    clock = probe.create_publisher(Clock, "/clock", 10)
    probe.wait_until(lambda: clock.get_subscription_count() > 0, "the detector to follow /clock")
    assert probe.set_parameters("simulated", max_rate=500.0)[0].successful
    message = image_message(IMAGE, "rgb8")

    def play(start: float, count: int = 30) -> None:
        for number in range(count):
            now = Time(nanoseconds=round(1e9 * (start + number / 30)))
            clock.publish(Clock(clock=now.to_msg()))
            message.header.stamp = Time(nanoseconds=now.nanoseconds - 20_000_000).to_msg()
            camera.publish(message)
            probe.spin_for(0.02)

    play(100.0)
    before = counts(diagnostics, "simulated: loop").get("missing: gaps between stamps", 0)
    for start in (100.0, 100.0, 5000.0, 100.0):  # back to the start, far ahead, back again
        play(start)
    answered = len(camera.keypoints)
    play(101.0)
    assert len(camera.keypoints) > answered

    def ages() -> list[float]:
        found = values(status_of(diagnostics, "loop"))
        return [float(found.get(f"age at reception {percentile} [ms]", "nan")) for percentile in ("p50", "p95", "p99")]

    del diagnostics[:]
    probe.wait_until(lambda: status_of(diagnostics, "loop").values, "new diagnostics")
    found = counts(diagnostics, "simulated: loop")
    assert found["missing: gaps between stamps"] == before == 0
    assert all(-500.0 < age < 500.0 for age in ages()), ages()  # the clock's steps are 33 ms, those of a jump seconds
    camera.close()


# Faults

_DETECTOR_WITH_A_DEVICE_TO_LOSE = """
import sys
from pathlib import Path
from superpoint_ros.nodes.detector import node as detector
from superpoint_ros.superpoint import DeviceError, SuperPointExtractor

compute = SuperPointExtractor.__call__

def compute_or_fail(self, *arguments):
    if Path({switch!r}).exists():
        raise DeviceError("the GPU has fallen off the bus")
    return compute(self, *arguments)

SuperPointExtractor.__call__ = compute_or_fail
sys.exit(detector.main())
"""


def test_a_lost_device_is_a_clean_lifecycle_error_and_configure_recovers(
    start_node: Callable[..., NodeProcess], probe: Probe, tmp_path: Path
) -> None:
    switch, program = tmp_path / "lost", tmp_path / "detector.py"
    program.write_text(_DETECTOR_WITH_A_DEVICE_TO_LOSE.format(switch=str(switch)))
    node = start_node(str(program), {**MODEL, "cameras": ["gone"]}, "-r", "__node:=fragile")
    diagnostics = probe.collect(DiagnosticArray, "/diagnostics")
    camera = Connection(probe, "gone")
    switch.touch()
    camera.publish(image_message(IMAGE, "rgb8"))
    probe.wait_until(lambda: probe.state("fragile") == "unconfigured", "the node to give up")

    def is_told() -> bool:
        status = latest_status(diagnostics, "fragile: model")
        return status is not None and status.level == DiagnosticStatus.ERROR and "off the bus" in status.message

    probe.wait_until(is_told, "the reason on /diagnostics")
    assert not probe.change_state("fragile", "configure")
    switch.unlink()
    assert probe.change_state("fragile", "configure") and probe.change_state("fragile", "activate")
    camera.listen()
    assert "Traceback" not in node.output

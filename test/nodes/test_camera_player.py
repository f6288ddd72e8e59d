"""camera_player as a process of its own, seen from another one over DDS."""

from __future__ import annotations

import itertools
import re

import cv2
import numpy as np
import pytest
from recordings import (
    CALIBRATION,
    CALIBRATION_YAML,
    image_folder,
    numbered_image,
    two_camera_bag,
    write_video,
)

from superpoint_ros.nodes.camera_player.sources import CameraCalibration, FrameFormat, VirtualCamera

pytest.importorskip("rclpy", reason="needs ROS 2: make build, then scripts/ros_env python -m pytest")
pytest.importorskip("superpoint_ros.msg", reason="the messages are not built: make build")

from node_testing import Probe
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from superpoint_ros.nodes.camera_player.node import LARGEST_LAG, Schedule


def _play(probe: Probe, start_node, parameters, message_type=Image, topic="camera/image_raw"):
    """Play to the end; returns image messages, camera infos and the player."""
    images = probe.collect(message_type, topic)
    infos = probe.collect(CameraInfo, "camera/camera_info")
    player = start_node("camera_player", {"wait_for_subscribers": 1, "rate": 50.0, **parameters})
    probe.wait_until(lambda: player.process.poll() is not None, "the end of the player")
    assert player.process.returncode == 0, player.output
    count = int(re.search(r"published (\d+) frames", player.output)[1])
    probe.wait_until(lambda: len(images) >= count, f"{count} images")
    # The player waits for subscribers to the images alone, so that the first infos may find nobody yet.
    probe.wait_until(lambda: infos and infos[-1].header == images[-1].header, "the last camera info")
    probe.destroy_subscription(images.subscription)
    probe.destroy_subscription(infos.subscription)
    assert len(images) == count
    return images, infos, player


def _pixels(message: Image) -> np.ndarray:
    channels = () if message.encoding == "mono8" else (3,)
    return np.asarray(message.data, np.uint8).reshape(message.height, message.width, *channels)


def _matches(info: CameraInfo, calibration: CameraCalibration) -> bool:
    names = ("width", "height", "k", "d", "r", "p", "distortion_model")
    return all(np.array_equal(getattr(info, name), getattr(calibration, name)) for name in names)


@pytest.mark.parametrize(
    ("parameters", "encoding", "size"),
    [
        ({}, "bgr8", (480, 640)),
        ({"encoding": "rgb8", "width": 320, "seed": 3}, "rgb8", (240, 320)),
        ({"encoding": "mono8", "width": 200, "height": 100}, "mono8", (100, 200)),
    ],
)
def test_virtual_camera_arrives_exactly(probe, start_node, parameters, encoding, size):
    images, infos, _ = _play(probe, start_node, {"max_frames": 5, **parameters})
    camera = VirtualCamera(width=size[1], height=size[0], rate=50.0, seed=parameters.get("seed", 0))
    assert len(images) == 5
    for message, frame in zip(images, camera):
        assert (message.encoding, message.height, message.width) == (encoding, *size)
        assert message.step == message.width * (1 if encoding == "mono8" else 3)
        assert message.header.frame_id == "camera_optical_frame"
        np.testing.assert_array_equal(_pixels(message), FrameFormat(encoding).apply(frame).image)
    assert {str(info.header.stamp) for info in infos} <= {str(image.header.stamp) for image in images}
    assert all(_matches(info, camera.calibration) for info in infos)


def test_compressed_images(probe, start_node):
    parameters = {"max_frames": 3, "image_transport": "compressed", "encoding": "rgb8", "jpeg_quality": 95}
    images, _, _ = _play(probe, start_node, parameters, CompressedImage, "camera/image_raw/compressed")
    for message, frame in zip(images, VirtualCamera(rate=50.0)):
        assert message.format == "bgr8; jpeg compressed bgr8"
        decoded = cv2.imdecode(np.asarray(message.data, np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(decoded.astype(int) - frame.image).mean() < 5
    assert len(images) == 3


@pytest.mark.parametrize(
    ("record", "count", "calibration"),
    [
        (lambda folder: write_video(folder / "video.avi"), 5, CameraCalibration.uncalibrated(32, 24)),
        (lambda folder: image_folder(folder / "images"), 11, CameraCalibration.uncalibrated(32, 24)),
        (lambda folder: two_camera_bag(folder / "bag"), 3, CALIBRATION),
    ],
    ids=["video", "folder", "bag"],
)
def test_recordings_arrive_whole_and_in_order(probe, start_node, tmp_path, record, count, calibration):
    images, infos, _ = _play(probe, start_node, {"source": record(tmp_path)})
    assert len(images) == count
    for index, message in enumerate(images):
        assert np.abs(_pixels(message).astype(int) - numbered_image(index)).mean() < 8  # JPEG in the video
    assert _matches(infos[-1], calibration)


def test_loop_starts_again_and_frames_are_spaced(probe, start_node, tmp_path):
    parameters = {"source": write_video(tmp_path / "video.avi", frames=3), "loop": True, "max_frames": 21}
    images, _, _ = _play(probe, start_node, parameters)
    assert len(images) == 21
    for index, message in enumerate(images):
        assert np.abs(_pixels(message).astype(int) - numbered_image(index % 3)).mean() < 8
    first, last = (
        message.header.stamp.sec + message.header.stamp.nanosec * 1e-9 for message in (images[0], images[-1])
    )
    assert last - first > 20 / 50 - 2 * LARGEST_LAG  # the first may be late; unpaced, it would be some milliseconds


def test_a_late_source_is_played_later_without_a_burst():
    schedule = Schedule(start=100.0)
    assert schedule.due(1.0, now=100.5) == 101.0
    assert schedule.due(2.0, now=102.05) == 102.0  # a little late: catches up
    assert schedule.due(3.0, now=110.0) == 110.0  # the process was stopped for seconds
    assert schedule.due(4.0, now=110.1) == 111.0


def test_frames_of_a_camera_are_due_when_they_arrive():
    """Offsets of a camera count from its first frame, which is read before the wait for subscribers."""
    schedule = Schedule(start=100.0)
    for arrival in (107.0, 107.03, 107.06):
        assert schedule.due(arrival - 100.0, now=arrival) == pytest.approx(arrival)


def test_names_calibration_file_and_resizing(probe, start_node, tmp_path):
    (tmp_path / "eye.yaml").write_text(CALIBRATION_YAML)
    parameters = {
        "source": image_folder(tmp_path / "images"),
        "camera_info_url": (tmp_path / "eye.yaml").as_uri(),
        "frame_id": "eye",
        "width": 64,
        "max_frames": 2,
    }
    images, infos, _ = _play(probe, start_node, parameters)
    assert (images[-1].height, images[-1].width, images[-1].header.frame_id) == (48, 64, "eye")
    assert _matches(infos[-1], CALIBRATION.resized(64, 48))


@pytest.mark.parametrize("reliability", ["reliable", "best_effort"])
def test_reliability_signal_and_read_only_parameters(probe, start_node, reliability):
    player = start_node("camera_player", {"camera_name": "eye", "reliability": reliability, "width": 64})
    for topic in ("eye/image_raw", "eye/camera_info"):
        probe.wait_until(lambda topic=topic: probe.count_publishers(topic) == 1, f"a publisher of {topic}")
        (info,) = probe.get_publishers_info_by_topic(topic)
        assert info.qos_profile.reliability == ReliabilityPolicy[reliability.upper()]
    (result,) = probe.set_parameters("camera_player", rate=1.0)
    assert not result.successful
    assert player.stop() == 0
    assert re.search(r"published \d+ frames of virtual", player.output)
    assert "Traceback" not in player.output
    probe.wait_until(lambda: probe.count_publishers("eye/image_raw") == 0, "the end of the publisher")


def _broken_video(folder):
    (folder / "bad.mp4").write_text("no video")
    return {"source": folder / "bad.mp4"}


def _calibration_of_another_size(folder):
    (folder / "eye.yaml").write_text(CALIBRATION_YAML)
    return {"camera_info_url": folder / "eye.yaml"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: {"source": folder / "no.mp4"}, r"no\.mp4: no such file"),
        (_broken_video, r"bad\.mp4: not a video file"),
        (lambda folder: {"source": "/dev/null"}, "/dev/null: cannot be opened as a V4L2 camera"),
        (
            _calibration_of_another_size,
            "the calibration is for 32 x 24 pixels, the images of the source have 640 x 480",
        ),
        (
            lambda folder: {"source": "room", "stereo": True, "camera_info_url": folder / "eye.yaml"},
            "camera_info_url is of one camera",
        ),
        (lambda folder: {"rate": -1.0}, "rate must be"),
        (lambda folder: {"camera_name": "my camera"}, "camera_name must be"),
        (lambda folder: {"camera_name": "kamerä"}, "camera_name must be"),
        (lambda folder: {"camera_name": 300 * "a"}, "Invalid topic name"),
    ],
    ids=itertools.count(),
)
def test_errors_take_one_line_and_exit_code_1(start_node, tmp_path, make, message):
    player = start_node("camera_player", make(tmp_path))
    assert player.process.wait(60) == 1
    assert len(player.output.splitlines()) == 1, player.output
    assert re.search(rf"\[FATAL\].*{message}", player.output)


@pytest.mark.parametrize("executable", ["camera_player", "detector"])
def test_arguments_that_ros_cannot_read_take_one_line_and_exit_code_1(start_node, executable):
    node = start_node(executable, {}, "--params-file", "/nonexistent.yaml")
    assert node.process.wait(60) == 1
    (line,) = (line for line in node.output.splitlines() if "[rcl]" not in line)  # which has its own say
    assert re.match(rf"{executable}: .*/nonexistent\.yaml", line)

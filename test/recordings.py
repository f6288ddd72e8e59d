"""Small recordings of every kind that camera_player reads, made up on the spot. No ROS needed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint_ros.nodes.camera_player.sources import CameraCalibration

rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="bags are written with rosbags: pip install rosbags")
typesys = pytest.importorskip("rosbags.typesys")

STORE = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
CALIBRATION = CameraCalibration.pinhole(32, 24, focal_length=30.0)


def numbered_image(index: int) -> np.ndarray:
    """24 x 32 BGR, easy to recognise: blue rises with the index, the right half is red."""
    image = np.full((24, 32, 3), (20 * index, 10, 10), np.uint8)
    image[:, 16:, 2] = 200
    return image


def write_video(path: Path, frames: int = 5, rate: float = 10.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (32, 24))
    for index in range(frames):
        writer.write(numbered_image(index))
    writer.release()
    return path


def _stamped_header(nanoseconds: int):
    time = STORE.types["builtin_interfaces/msg/Time"](*divmod(nanoseconds, 1_000_000_000))
    return STORE.types["std_msgs/msg/Header"](stamp=time, frame_id="eye")


def image_record(image: np.ndarray, stamp: int, encoding: str = "bgr8", padding: int = 0):
    rows = image.reshape(len(image), -1).view(np.uint8)
    rows = np.hstack([rows, np.full((len(rows), padding), 255, np.uint8)])
    return STORE.types["sensor_msgs/msg/Image"](
        header=_stamped_header(stamp),
        height=image.shape[0],
        width=image.shape[1],
        encoding=encoding,
        is_bigendian=0,
        step=rows.shape[1],
        data=rows.ravel(),
    )


def compressed_record(image: np.ndarray, stamp: int):
    return STORE.types["sensor_msgs/msg/CompressedImage"](
        header=_stamped_header(stamp), format="png", data=cv2.imencode(".png", image)[1].ravel()
    )


def info_record(calibration: CameraCalibration):
    roi = STORE.types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return STORE.types["sensor_msgs/msg/CameraInfo"](
        header=_stamped_header(1),
        height=calibration.height,
        width=calibration.width,
        distortion_model=calibration.distortion_model,
        d=np.array(calibration.d),
        k=np.array(calibration.k),
        r=np.array(calibration.r),
        p=np.array(calibration.p),
        binning_x=0,
        binning_y=0,
        roi=roi,
    )


def write_bag(
    path: Path, messages: list[tuple[str, object]], storage: rosbag2.StoragePlugin = rosbag2.StoragePlugin.MCAP
) -> Path:
    with rosbag2.Writer(path, version=9, storage_plugin=storage) as writer:
        connections = {}
        for index, (topic, message) in enumerate(messages):
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(connections[topic], 10**9 + index, STORE.serialize_cdr(message, kind))
    return path


def two_camera_bag(path: Path, storage: rosbag2.StoragePlugin = rosbag2.StoragePlugin.MCAP) -> Path:
    """/left/image_raw with calibration and uneven stamps, /right/image_raw/compressed without calibration."""
    stamps = [2_000_000_000, 2_100_000_000, 2_400_000_000]
    messages = [("/left/camera_info", info_record(CALIBRATION))]
    for index, stamp in enumerate(stamps):
        messages.append(("/left/image_raw", image_record(numbered_image(index), stamp, padding=4)))
        messages.append(("/right/image_raw/compressed", compressed_record(numbered_image(index)[:, :, 0], stamp)))
    return write_bag(path, messages, storage)


def image_folder(path: Path) -> Path:
    path.mkdir()
    for index in range(11):
        cv2.imwrite(str(path / f"frame{index}.png"), numbered_image(index))
    (path / "notes.txt").write_text("not an image")
    return path


CALIBRATION_YAML = """
image_width: 32
image_height: 24
camera_name: eye
camera_matrix: {rows: 3, cols: 3, data: [30.0, 0.0, 15.5, 0.0, 30.0, 11.5, 0.0, 0.0, 1.0]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.0, 0.0, 0.0, 0.0, 0.0]}
rectification_matrix: {rows: 3, cols: 3, data: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]}
projection_matrix: {rows: 3, cols: 4, data: [30.0, 0.0, 15.5, 0.0, 0.0, 30.0, 11.5, 0.0, 0.0, 0.0, 1.0, 0.0]}
"""

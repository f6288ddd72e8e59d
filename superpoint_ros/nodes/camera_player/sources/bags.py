"""Image topics of recorded bags, read with `rosbags` and without a ROS installation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader
from rosbags.image import ImageError, message_to_cvimage
from rosbags.image.image import to_cvtype
from rosbags.interfaces import Connection
from rosbags.typesys import Stores, get_typestore

from .frames import CameraCalibration, Frame, SourceError

IMAGE_TYPE = "sensor_msgs/msg/Image"
COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"


@dataclass(frozen=True)
class BagTopic:
    """The images of one topic of a bag.

    Attributes
    ----------
    path : Path
        rosbag2 folder, a single .mcap or .db3 file, or a ROS 1 .bag file.
    topic : str
        Empty for the first image topic by name.
    rate : float
        Frames per second; 0 keeps the spacing of the recorded header stamps.
    """

    path: Path
    topic: str = ""
    rate: float = 0.0

    def title(self) -> str:
        with _opened(self.path) as reader:
            chosen, _ = self._chosen(reader)
            others = [topic for topic in _image_topics(reader) if topic != chosen]
        remark = f" (the bag also has {', '.join(others)})" if others else ""
        return f"{chosen} of the bag {self.path}{remark}"

    def __iter__(self) -> Iterator[Frame]:
        with _opened(self.path) as reader:
            topic, connections = self._chosen(reader)
            calibration = _calibration(reader, topic)
            start = None
            for index, (message, stamp) in enumerate(_messages(reader, connections)):
                start = stamp if start is None else start
                offset = index / self.rate if self.rate else (stamp - start) * 1e-9
                try:
                    image = _image(message)
                except (ValueError, ImageError, cv2.error) as error:
                    reason = " ".join(str(error).split())
                    raise SourceError(f"{self.path}: image {index} of {topic} cannot be decoded: {reason}") from error
                yield Frame(image, offset, calibration)
            if start is None:
                raise SourceError(f"{self.path}: the topic {topic} has no messages")

    def _chosen(self, reader: AnyReader) -> tuple[str, list[Connection]]:
        topics = _image_topics(reader)
        if not topics:
            recorded = ", ".join(sorted(reader.topics)) or "nothing"
            raise SourceError(f"{self.path}: the bag has no image topic ({IMAGE_TYPE}), it has {recorded}")
        topic = self.topic or topics[0]
        if topic not in topics:
            raise SourceError(f"{self.path}: no image topic {topic} in the bag, it has {', '.join(topics)}")
        return topic, [connection for connection in reader.connections if connection.topic == topic]


@contextmanager
def _opened(path: Path) -> Iterator[AnyReader]:
    """Open a bag, and report whatever a broken one makes the readers raise as one `SourceError`."""
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        raise SourceError(f"{path}: no metadata.yaml; give the bag's .mcap or .db3 file, or run ros2 bag reindex")
    try:
        with AnyReader([path], default_typestore=get_typestore(Stores.LATEST)) as reader:
            yield reader
    except SourceError:
        raise
    except Exception as error:  # storage, YAML, database, compression and deserialisation errors have no common base
        raise SourceError(
            f"{path}: not a readable bag: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error


def _image_topics(reader: AnyReader) -> list[str]:
    return sorted({c.topic for c in reader.connections if c.msgtype in (IMAGE_TYPE, COMPRESSED_TYPE)})


def _messages(reader: AnyReader, connections: list[Connection]) -> Iterator[tuple[Any, int]]:
    """Yield messages with their header stamps, or their recording times where the stamps are zero, in nanoseconds."""
    for connection, recorded, data in reader.messages(connections):
        message: Any = reader.deserialize(data, connection.msgtype)
        stamp = message.header.stamp
        yield message, stamp.sec * 1_000_000_000 + stamp.nanosec or recorded


def _calibration(reader: AnyReader, image_topic: str) -> CameraCalibration | None:
    """Read the camera_info next to `image_topic`, as image_transport places it."""
    topic = image_topic.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"
    connections = [c for c in reader.connections if c.topic == topic and c.msgtype == CAMERA_INFO_TYPE]
    if not connections:
        return None
    for info, _ in _messages(reader, connections):
        # ROS 1 spells the matrices in capitals.
        d, k, r, p = (
            tuple(np.asarray(getattr(info, name, getattr(info, name.upper(), ()))).tolist()) for name in "dkrp"
        )
        return CameraCalibration(info.width, info.height, k=k, d=d, r=r, p=p, distortion_model=info.distortion_model)
    return None


def _image(message: Any) -> NDArray[np.uint8]:
    """Decode an image message to grey or BGR."""
    if message.__msgtype__ == COMPRESSED_TYPE:
        image = cv2.imdecode(np.asarray(message.data, np.uint8), cv2.IMREAD_ANYCOLOR)
        if image is None:
            raise ValueError(f"no JPEG, PNG or other image data, but format {message.format!r}")
        return np.asarray(image, np.uint8)
    _, _, dtype, channels = to_cvtype(message.encoding)
    if dtype not in ("uint8", "uint16"):
        raise ValueError(f"its encoding is {message.encoding}, expected one of 8 or 16 bits per channel")
    row_bytes = message.width * channels * np.dtype(dtype).itemsize
    rows = np.asarray(message.data).reshape(message.height, message.step)[:, :row_bytes]
    packed = replace(message, data=np.ascontiguousarray(rows).ravel(), step=row_bytes)
    colour = "mono8" if channels == 1 and "bayer" not in message.encoding else "bgr8"
    return np.asarray(message_to_cvimage(packed, colour), np.uint8)

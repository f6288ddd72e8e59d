"""A camera without a camera: publishes a video, images, a V4L2 device, a bag or a virtual camera as image topics."""

from __future__ import annotations

import itertools
import signal
import sys
import threading
import time
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import rclpy
from rclpy.duration import Duration
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from .parameters import TOPIC_PREFIX, check, declare, parameter
from .qos import overridable
from .sources import CameraCalibration, Frame, FrameFormat, Source, SourceError, looped, open_source, silence_opencv

LARGEST_LAG = 0.1
"""Seconds that a source may fall behind and still catch up."""


@dataclass(frozen=True)
class PlayerSettings:
    """The parameters of `camera_player`."""

    source: str = parameter(
        "virtual",
        "What to play: a video file, an image, an image folder, a V4L2 camera (/dev/videoN), a bag (folder, .mcap, "
        ".db3) or 'virtual', a camera that moves along a wall of photographs.",
    )
    camera_name: str = parameter(
        "camera",
        "Images go to <camera_name>/image_raw, calibration to <camera_name>/camera_info.",
        accepts=lambda name: TOPIC_PREFIX.fullmatch(name) is not None,
        constraint="a text that can start a topic name",
    )
    frame_id: str = parameter("", "frame_id of the headers; empty for <camera_name>_optical_frame.")
    rate: float = parameter(
        0.0,
        "Frames per second; 0 keeps the timing of the source: a video's rate, a bag's stamps, a camera's own rate, and "
        "30 for the others.",
        minimum=0.0,
        maximum=1000.0,
    )
    loop: bool = parameter(False, "Start again at the end of the source instead of ending the node.")
    max_frames: int = parameter(0, "End after so many frames; 0 for no limit.", minimum=0, maximum=2**31 - 1)
    width: int = parameter(
        0, "Image width in pixels; 0 keeps that of the source, or its aspect ratio.", minimum=0, maximum=16384
    )
    height: int = parameter(
        0, "Image height in pixels; 0 keeps that of the source, or its aspect ratio.", minimum=0, maximum=16384
    )
    encoding: str = parameter("bgr8", "Encoding of the images.", choices=("bgr8", "rgb8", "mono8"))
    image_transport: str = parameter(
        "raw",
        "Publish <camera_name>/image_raw, or JPEG on <camera_name>/image_raw/compressed.",
        choices=("raw", "compressed"),
    )
    jpeg_quality: int = parameter(90, "JPEG quality of compressed images, in percent.", minimum=1, maximum=100)
    reliability: str = parameter(
        "reliable", "QoS reliability that the publishers offer.", choices=("reliable", "best_effort")
    )
    camera_info_url: str = parameter(
        "",
        "Calibration as camera_calibration writes it: path or file:// URL of a YAML file. Empty takes what the source "
        "knows (bags, virtual), or says uncalibrated.",
    )
    bag_topic: str = parameter("", "Image topic of a bag; empty for its first one by name.")
    seed: int = parameter(0, "Path and photographs of the virtual camera.", minimum=0, maximum=2**31 - 1)
    wait_for_subscribers: int = parameter(
        0, "Publish the first frame only when so many subscribers to the images are there.", minimum=0, maximum=100
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def format(self) -> FrameFormat:
        """Size and colour of the published images."""
        encoding = "bgr8" if (self.image_transport, self.encoding) == ("compressed", "rgb8") else self.encoding
        return FrameFormat(encoding, self.width, self.height)  # JPEG knows no order of channels, OpenCV takes BGR

    def open(self) -> Source:
        """Find the source; `SourceError` if there is none."""
        return open_source(
            self.source, rate=self.rate, width=self.width, height=self.height, topic=self.bag_topic, seed=self.seed
        )

    def frames(self, source: Source) -> Iterator[Frame]:
        """Yield the frames of `source` to publish, converted and calibrated."""
        frames: Iterable[Frame] = looped(source) if self.loop else source
        if self.camera_info_url:
            frames = _calibrated(frames, CameraCalibration.from_yaml(self.camera_info_url))
        return map(self.format.apply, itertools.islice(frames, self.max_frames or None))


def _calibrated(frames: Iterable[Frame], calibration: CameraCalibration) -> Iterator[Frame]:
    for frame in frames:
        height, width = frame.image.shape[:2]
        if (width, height) != (calibration.width, calibration.height):
            raise SourceError(
                f"the calibration is for {calibration.width} x {calibration.height} pixels, "
                f"the images of the source have {width} x {height}"
            )
        yield replace(frame, calibration=calibration)


class CameraPublisher:
    """Publishes frames and their calibration, stamped with the node's clock."""

    def __init__(self, node: Node, settings: PlayerSettings) -> None:
        self._clock = node.get_clock()
        self._settings = settings
        self._frame_id = settings.frame_id or f"{settings.camera_name}_optical_frame"
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy[settings.reliability.upper()])
        topic = f"{settings.camera_name}/image_raw"
        compressed = settings.image_transport == "compressed"
        self.images: Publisher[Any] = (
            node.create_publisher(CompressedImage, f"{topic}/compressed", qos, qos_overriding_options=overridable())
            if compressed
            else node.create_publisher(Image, topic, qos, qos_overriding_options=overridable())
        )
        self._message = self._compressed_message if compressed else self._image_message
        self.infos: Publisher[Any] = node.create_publisher(CameraInfo, f"{settings.camera_name}/camera_info", qos)

    def publish(self, frame: Frame) -> None:
        """Publish one frame now."""
        header = Header(stamp=self._clock.now().to_msg(), frame_id=self._frame_id)
        height, width = frame.image.shape[:2]
        self.images.publish(self._message(header, frame))
        self.infos.publish(_camera_info(header, frame.calibration or CameraCalibration.uncalibrated(width, height)))

    def _image_message(self, header: Header, frame: Frame) -> Image:
        image = frame.image
        message = Image(header=header, encoding=self._settings.format.encoding, step=image.strides[0])
        message.height, message.width = image.shape[:2]
        message.data = _bytes(image.data.cast("B"))
        return message

    def _compressed_message(self, header: Header, frame: Frame) -> CompressedImage:
        encoding = self._settings.format.encoding
        _, jpeg = cv2.imencode(".jpg", frame.image, (cv2.IMWRITE_JPEG_QUALITY, self._settings.jpeg_quality))
        message = CompressedImage(header=header, format=f"{encoding}; jpeg compressed {encoding}")
        message.data = _bytes(jpeg.data.cast("B"))
        return message


def _bytes(data: memoryview) -> array[int]:
    """Copy once: a message takes an array as it is, and anything else element by element."""
    result = array("B")
    result.frombytes(data)
    return result


def _camera_info(header: Header, calibration: CameraCalibration) -> CameraInfo:
    return CameraInfo(
        header=header,
        width=calibration.width,
        height=calibration.height,
        distortion_model=calibration.distortion_model,
        d=calibration.d,
        k=calibration.k,
        r=calibration.r,
        p=calibration.p,
    )


@dataclass
class Schedule:
    """When frames are due, in seconds of the monotonic clock.

    Frames of a camera arrive when they are due. A source that falls behind is played later from there on, because a
    camera does not catch up in a burst either.
    """

    start: float

    def due(self, offset: float, now: float) -> float:
        """Return when the frame with this offset is due; `now` is when it became available."""
        if now - (self.start + offset) > LARGEST_LAG:
            self.start = now - offset
        return self.start + offset


class CameraPlayer:
    """Publishes the frames of a source in time, until they end or `stop` is set."""

    def __init__(self, node: Node, settings: PlayerSettings, stop: threading.Event) -> None:
        self._stop = stop
        self._settings = settings
        self._logger = node.get_logger()
        self._publisher = CameraPublisher(node, settings)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)

    def run(self) -> int:
        """Play, and return the number of frames published.

        Raises
        ------
        SourceError
            If the source or the calibration cannot be read.
        """
        source = self._settings.open()
        frames = self._settings.frames(source)
        schedule = Schedule(time.monotonic())
        frame = next(frames, None)  # read before waiting, so that a bad source fails at once
        self._logger.info(f"playing {source.title()}")
        self._wait_for_subscribers()
        count = 0
        while frame is not None and not self._stop.is_set():
            self._publisher.publish(frame)
            count += 1
            frame = next(frames, None)
            if frame is not None:
                self._spin_until(schedule.due(frame.offset, time.monotonic()))
        # What a reliable publisher still holds back would be lost with the node.
        for publisher in (self._publisher.images, self._publisher.infos):
            publisher.wait_for_all_acked(Duration(seconds=2))
        return count

    def _wait_for_subscribers(self) -> None:
        images, wanted = self._publisher.images, self._settings.wait_for_subscribers
        while images.get_subscription_count() < wanted and not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.02)

    def _spin_until(self, due: float) -> None:
        """Serve the node until `due` on the monotonic clock, at least once, but wake up when the node is stopped."""
        remaining = due - time.monotonic()
        self._executor.spin_once(timeout_sec=min(max(remaining, 0.0), 0.1))
        while not self._stop.is_set() and (remaining := due - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(remaining, 0.1))


def main() -> int:
    """Run the node; returns the exit code."""
    silence_opencv()  # the node itself says what cannot be read
    stop = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: stop.set())
    try:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = Node("camera_player")
    except (ValueError, RuntimeError, OSError) as error:  # arguments that ROS cannot read
        print(f"camera_player: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    try:
        settings = declare(node, PlayerSettings, read_only=True)
        count = CameraPlayer(node, settings, stop).run()
        node.get_logger().info(f"published {count} frames of {settings.source}")
        return 0
    except (ValueError, NameValidationException) as error:  # a bad parameter, a bad source, a name that is too long
        node.get_logger().fatal(" ".join(str(error).split()))
        return 1
    finally:
        node.destroy_node()
        rclpy.shutdown()


if __name__ == "__main__":
    sys.exit(main())

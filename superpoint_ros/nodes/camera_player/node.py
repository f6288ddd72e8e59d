"""A camera without a camera: publishes a video, images, a V4L2 device, a bag or a simulation as image topics."""

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
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path as NavPath
from rclpy.duration import Duration
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from superpoint_ros.geometry.pose import INITIAL_POSE, Pose

from ..parameters import TOPIC_PREFIX, check, declare, parameter
from ..pose_messages import pose_message
from ..qos import overridable
from .sources import CameraCalibration, Frame, FrameFormat, Source, SourceError, looped, open_source, silence_opencv

LARGEST_LAG = 0.1
"""Seconds that a source may fall behind and still catch up."""

PATIENCE = 2.0
"""Seconds that the end waits for subscribers that have not acknowledged everything."""


@dataclass(frozen=True)
class PlayerSettings:
    """The parameters of `camera_player`."""

    source: str = parameter(
        "virtual",
        "What to play: a video file, an image, an image folder, a V4L2 camera (/dev/videoN), a bag (folder, .mcap, "
        ".db3), 'virtual', a camera that moves along a wall of photographs, or 'room' or 'room:FLIGHT', a camera that "
        "flies through a room (docs/odometry.md lists the flights).",
    )
    camera_name: str = parameter(
        "camera",
        "Images go to <camera_name>/image_raw, calibration to <camera_name>/camera_info.",
        accepts=lambda name: TOPIC_PREFIX.fullmatch(name) is not None,
        constraint="a text that can start a topic name",
    )
    stereo: bool = parameter(
        False,
        "Play both cameras of the room: left/image_raw and right/image_raw with their camera_info, whatever "
        "camera_name says.",
    )
    frame_id: str = parameter("", "frame_id of the headers; empty for <camera_name>_optical_frame.")
    ground_truth_frame: str = parameter(
        "odom",
        "frame_id of the true poses of a simulated camera. Its origin is the first pose, x forward, y left, z up, as "
        "that of the odometry.",
    )
    rate: float = parameter(
        0.0,
        "Frames per second; 0 keeps the timing of the source: a video's rate, a bag's stamps, a camera's own rate, 10 "
        "for the room, and 30 for the others.",
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
    seed: int = parameter(
        0, "Path and photographs of the virtual camera, photographs of the room.", minimum=0, maximum=2**31 - 1
    )
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
            self.source,
            rate=self.rate,
            width=self.width,
            height=self.height,
            topic=self.bag_topic,
            seed=self.seed,
            stereo=self.stereo,
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
    """Publishes the frames of one camera and their calibration."""

    def __init__(self, node: Node, settings: PlayerSettings, name: str) -> None:
        self._settings = settings
        self.frame_id = settings.frame_id or f"{name}_optical_frame"
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy[settings.reliability.upper()])
        topic = f"{name}/image_raw"
        compressed = settings.image_transport == "compressed"
        self.images: Publisher[Any] = (
            node.create_publisher(CompressedImage, f"{topic}/compressed", qos, qos_overriding_options=overridable())
            if compressed
            else node.create_publisher(Image, topic, qos, qos_overriding_options=overridable())
        )
        self._message = self._compressed_message if compressed else self._image_message
        self.infos: Publisher[Any] = node.create_publisher(CameraInfo, f"{name}/camera_info", qos)

    def publish(self, frame: Frame, stamp: Time) -> None:
        """Publish one frame."""
        header = Header(stamp=stamp, frame_id=self.frame_id)
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


class GroundTruthPublisher:
    """Publishes where a simulated camera truly is, seen from its first pose: ground_truth/pose, ground_truth/path."""

    def __init__(self, node: Node, frame_id: str) -> None:
        self._poses: Publisher[Any] = node.create_publisher(PoseStamped, "ground_truth/pose", QoSProfile(depth=10))
        self._paths: Publisher[Any] = node.create_publisher(NavPath, "ground_truth/path", QoSProfile(depth=1))
        self._path = NavPath()
        self._path.header.frame_id = frame_id
        self._origin: Pose | None = None

    def publish(self, pose: Pose, stamp: Time) -> None:
        """Publish the pose of the (left) camera's optical frame."""
        if self._origin is None:
            self._origin = INITIAL_POSE @ pose.inverse()
        message = PoseStamped(header=Header(stamp=stamp, frame_id=self._path.header.frame_id))
        message.pose = pose_message(self._origin @ pose)
        self._poses.publish(message)
        self._path.header.stamp = stamp
        self._path.poses.append(message)
        if self._paths.get_subscription_count() > 0:
            self._paths.publish(self._path)


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
        self._clock = node.get_clock()
        names = ("left", "right") if settings.stereo else (settings.camera_name,)
        self._publishers = [CameraPublisher(node, settings, name) for name in names]
        self._ground_truth: GroundTruthPublisher | None = None
        self._node = node
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
        if frame is not None and frame.pose is not None:
            self._ground_truth = GroundTruthPublisher(self._node, self._settings.ground_truth_frame)
        self._wait_for_subscribers()
        count = 0
        while frame is not None and not self._stop.is_set():
            self._publish(frame)
            count += 1
            frame = next(frames, None)
            if frame is not None:
                self._spin_until(schedule.due(frame.offset, time.monotonic()))
        self._wait_for_acknowledgements()
        return count

    def _wait_for_acknowledgements(self) -> None:
        """Wait a little for subscribers: what a reliable publisher still holds back would be lost with the node."""
        deadline = time.monotonic() + PATIENCE
        for publisher in self._node.publishers:
            if not self._stop.is_set():
                publisher.wait_for_all_acked(Duration(seconds=max(deadline - time.monotonic(), 0.0)))

    def _publish(self, frame: Frame) -> None:
        """Publish everything that belongs to one moment with one stamp, the true pose first."""
        stamp = self._clock.now().to_msg()
        if self._ground_truth is not None and frame.pose is not None:
            self._ground_truth.publish(frame.pose, stamp)
        for camera, seen in zip(self._publishers, (frame, frame.right)):
            if seen is not None:
                camera.publish(seen, stamp)

    def _wait_for_subscribers(self) -> None:
        cameras, wanted = self._publishers, self._settings.wait_for_subscribers
        while min(c.images.get_subscription_count() for c in cameras) < wanted and not self._stop.is_set():
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

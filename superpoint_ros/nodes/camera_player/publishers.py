"""What `camera_player` publishes: images with their calibration, and the true poses of a simulated camera."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path as NavPath
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from superpoint_ros.geometry.pose import INITIAL_POSE, Pose

from ..messages.arrays import packed
from ..messages.images import TRANSPORTS, image_message
from ..messages.poses import pose_message
from ..topics.qos import overridable
from .parameters import CameraPlayerParameters
from .sources import CameraCalibration, Frame


class CameraPublisher:
    """Publishes the frames of one camera and their calibration."""

    def __init__(self, node: Node, parameters: CameraPlayerParameters, name: str) -> None:
        self._parameters = parameters
        self.frame_id = parameters.frame_id or f"{name}_optical_frame"
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy[parameters.reliability.upper()])
        topic, message_type = TRANSPORTS[parameters.image_transport]
        self.images: Publisher[Any] = node.create_publisher(
            message_type, f"{name}/{topic}", qos, qos_overriding_options=overridable()
        )
        self.infos: Publisher[Any] = node.create_publisher(CameraInfo, f"{name}/camera_info", qos)

    def publish(self, frame: Frame, stamp: Time) -> None:
        """Publish one frame."""
        header = Header(stamp=stamp, frame_id=self.frame_id)
        height, width = frame.image.shape[:2]
        self.images.publish(self._message(header, frame.image))
        self.infos.publish(_camera_info(header, frame.calibration or CameraCalibration.uncalibrated(width, height)))

    def _message(self, header: Header, image: NDArray[np.uint8]) -> Image | CompressedImage:
        encoding = self._parameters.format.encoding
        if self._parameters.image_transport == "raw":
            return image_message(header, image, encoding)
        jpeg = np.asarray(cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, self._parameters.jpeg_quality))[1])
        return CompressedImage(header=header, format=f"{encoding}; jpeg compressed {encoding}", data=packed("B", jpeg))


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

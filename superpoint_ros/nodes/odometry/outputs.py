"""What odometry publishes: poses, their path, landmarks and the transform."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import PoseStamped, TransformStamped, Vector3
from nav_msgs.msg import Odometry, Path
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from superpoint_ros.geometry.pose import INITIAL_POSE, Pose, rotation_vector
from superpoint_ros.odometry import Update

from ..messages.poses import cloud_message, pose_message
from ..messages.stamps import seconds
from .parameters import OdometryParameters

try:
    from tf2_ros import TransformBroadcaster
except ImportError:  # not among the wheels
    TransformBroadcaster = None

_UNKNOWN_COVARIANCE = np.diag([1e6] * 6)
_LONGEST_INTERVAL = 1.0  # seconds between two poses that give a velocity


class OdometryOutputs:
    """Advertises and publishes.

    Parameters
    ----------
    node : rclpy.lifecycle.LifecycleNode
        Owns the publishers.
    settings : OdometryParameters
    """

    def __init__(self, node: LifecycleNode, settings: OdometryParameters) -> None:
        self._node = node
        self._frame = settings.odom_frame
        self._poses = node.create_lifecycle_publisher(Odometry, "odometry", 10)
        self._paths = node.create_lifecycle_publisher(Path, "path", 1)
        self._landmarks = node.create_lifecycle_publisher(PointCloud2, "landmarks", 1)
        self._broadcaster: Any = None
        if settings.publish_tf and TransformBroadcaster is not None:
            self._broadcaster = TransformBroadcaster(node)
        elif settings.publish_tf:
            node.get_logger().info("no transform is published: tf2_ros is not installed")
        self._path: deque[PoseStamped] = deque(maxlen=settings.max_path_length)
        self.forget()

    def destroy(self) -> None:
        """Give back everything taken from the node."""
        for publisher in (self._poses, self._paths, self._landmarks):
            self._node.destroy_lifecycle_publisher(publisher)
        if self._broadcaster is not None:
            self._node.destroy_publisher(self._broadcaster.pub_tf)

    def forget(self) -> None:
        """Begin a new path."""
        self._path.clear()
        self._last: tuple[float, Pose] | None = None

    def publish(self, header: Header, pose: Pose, update: Update, landmarks: npt.NDArray[np.float64]) -> None:
        """Publish a pose, and path and landmarks (N, 3) with each key frame if somebody subscribes to them.

        Parameters
        ----------
        header : Header
            Of the (left) image.
        pose : Pose
            Of its camera in the odometry frame.
        update : Update
            Where the pose comes from.
        landmarks : ndarray, (N, 3)
            Positions in the odometry frame, in metres.
        """
        stamped = Header(stamp=header.stamp, frame_id=self._frame)
        message = Odometry(header=stamped, child_frame_id=header.frame_id)
        message.pose.pose = pose_message(pose)
        message.pose.covariance = self._covariance(pose, update).ravel()
        self._add_velocity(message, seconds(header), pose)
        self._poses.publish(message)
        self._path.append(PoseStamped(header=stamped, pose=message.pose.pose))
        if self._broadcaster is not None and header.frame_id:
            self._broadcaster.sendTransform(_transform(message))
        if update.is_key_frame and self._paths.get_subscription_count() > 0:
            self._paths.publish(Path(header=stamped, poses=list(self._path)))
        if update.is_key_frame and self._landmarks.get_subscription_count() > 0:
            self._landmarks.publish(cloud_message(stamped, landmarks))

    def _covariance(self, pose: Pose, update: Update) -> npt.NDArray[np.float64]:
        """Return the covariance (6, 6) of x, y, z and rotation about the fixed axes of the odometry frame.

        The pose that defines the frame is certain; where a single camera's first or any later map begins is not.
        """
        if update.covariance is None:
            is_origin = not self._path and np.array_equal(pose.matrix, INITIAL_POSE.matrix)
            return np.zeros((6, 6)) if is_origin else _UNKNOWN_COVARIANCE
        to_message = np.zeros((6, 6))
        to_message[:3, 3:] = np.eye(3)
        to_message[3:, :3] = pose.rotation
        return np.asarray(to_message @ update.covariance @ to_message.T)

    def _add_velocity(self, message: Odometry, now: float, pose: Pose) -> None:
        """Set the mean velocity since the last pose, in the camera's frame as nav_msgs/Odometry has it."""
        previous, self._last = self._last, (now, pose)
        message.twist.covariance = _UNKNOWN_COVARIANCE.ravel()
        if previous is None or not 0 < now - previous[0] < _LONGEST_INTERVAL:
            return
        motion, elapsed = previous[1].inverse() @ pose, now - previous[0]
        message.twist.twist.linear = _vector(motion.rotation.T @ motion.position / elapsed)
        message.twist.twist.angular = _vector(rotation_vector(motion.rotation) / elapsed)


def _transform(message: Odometry) -> TransformStamped:
    transform = TransformStamped(header=message.header, child_frame_id=message.child_frame_id)
    position = message.pose.pose.position
    transform.transform.translation = Vector3(x=position.x, y=position.y, z=position.z)
    transform.transform.rotation = message.pose.pose.orientation
    return transform


def _vector(values: npt.NDArray[np.float64]) -> Vector3:
    x, y, z = values.tolist()
    return Vector3(x=x, y=y, z=z)

"""Between poses and ROS messages."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import Point, Quaternion
from geometry_msgs.msg import Pose as PoseMessage
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from superpoint_ros.geometry.pose import Pose

from .arrays import packed


def pose_message(pose: Pose) -> PoseMessage:
    """Return a pose as geometry_msgs/Pose."""
    x, y, z = pose.position.tolist()
    qx, qy, qz, qw = pose.quaternion.tolist()
    return PoseMessage(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))


def pose_from_message(message: PoseMessage) -> Pose:
    """Return the pose in a geometry_msgs/Pose."""
    point, turn = message.position, message.orientation
    return Pose.from_quaternion((point.x, point.y, point.z), (turn.x, turn.y, turn.z, turn.w))


def cloud_message(header: Header, points: npt.NDArray[np.floating]) -> PointCloud2:
    """Return points (N, 3) as an unordered cloud with the float32 fields x, y and z."""
    values = np.ascontiguousarray(points, np.float32)
    fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate("xyz")
    ]
    return PointCloud2(
        header=header,
        height=1,
        width=len(values),
        fields=fields,
        point_step=12,
        row_step=12 * len(values),
        is_dense=True,
        data=packed("B", values.view(np.uint8)),
    )

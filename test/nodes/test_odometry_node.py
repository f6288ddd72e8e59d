"""From a simulated stereo camera over detector and odometry to poses, each a process of its own."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make build, then scripts/ros_env python -m pytest")
pytest.importorskip("superpoint_ros.msg", reason="the messages are not built: make build")
pytest.importorskip("torch", reason="the detector needs PyTorch")
pytest.importorskip("pycolmap", reason="odometry needs it: pip install pycolmap")

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry, Path
from node_testing import latest_status, values
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, PointCloud2
from superpoint_ros.msg import KeypointArray

from superpoint_ros.geometry.pose import Pose
from superpoint_ros.nodes.messages.poses import pose_from_message

try:
    import tf2_ros
except ImportError:  # not among the wheels
    tf2_ros = None

FRAMES = 16
LARGEST_ERROR = 0.05
"""Metres between estimated and true position, on a way of about half a metre."""


def _stamp(message):
    return message.header.stamp.sec, message.header.stamp.nanosec


def _pairs(poses, truth):
    """Estimated and true poses of the stamps that have both."""
    true = {_stamp(message): pose_from_message(message.pose) for message in truth}
    return [(pose_from_message(m.pose.pose), true[_stamp(m)]) for m in poses if _stamp(m) in true]


def _position(message):
    return pose_from_message(message).position


def _fly(probe, start_node, cameras, poses, truth):
    """Send a flight past the cameras; returns the odometry once it has published the last pose."""
    odometry = start_node("odometry", {"cameras": cameras})
    detector = start_node("detector", {"cameras": cameras, "frame_policy": "all", "max_keypoints": 500})
    for name in cameras:
        probe.wait_until(lambda name=name: probe.count_subscribers(f"{name}/image_raw") > 0, "the detector")
        probe.wait_until(lambda name=name: probe.count_subscribers(f"{name}/keypoints") > 0, "the odometry")
    flight = {"source": "room:stroll", "width": 320, "rate": 3.0, "encoding": "mono8", "max_frames": FRAMES}
    player = start_node("camera_player", {**flight, "stereo": len(cameras) == 2, "wait_for_subscribers": 1})
    probe.wait_until(lambda: player.process.poll() == 0, "the end of the flight")
    probe.wait_until(lambda: poses and _stamp(poses[-1]) >= _stamp(truth[-1]), "the last pose")
    assert detector.stop() == 0
    return odometry


def test_a_simulated_stereo_camera_is_followed(probe, start_node):
    poses = probe.collect(Odometry, "odometry")
    paths, clouds = probe.collect(Path, "path"), probe.collect(PointCloud2, "landmarks")
    truth = probe.collect(PoseStamped, "ground_truth/pose")
    reports = probe.collect(DiagnosticArray, "/diagnostics")
    transforms = tf2_ros.Buffer() if tf2_ros else None
    listener = tf2_ros.TransformListener(transforms, probe) if tf2_ros else None
    odometry = _fly(probe, start_node, ["left", "right"], poses, truth)
    # Discovery may cost the first frames of either topic; odometry's origin is the first pose that it saw.
    probe.wait_until(lambda: len(_pairs(poses, truth)) >= FRAMES - 4, "the poses")
    pairs = _pairs(poses, truth)
    estimated, true = pairs[0]
    origin = estimated @ true.inverse()
    errors = [np.linalg.norm((origin @ true).position - estimated.position) for estimated, true in pairs]
    assert max(errors) < LARGEST_ERROR
    way = np.linalg.norm(_position(truth[-1].pose) - _position(truth[0].pose))
    assert way > 3 * LARGEST_ERROR, "or standing still would pass"
    assert (poses[-1].header.frame_id, poses[-1].child_frame_id) == ("odom", "left_optical_frame")
    if listener is not None:
        _check_transform(probe, transforms, poses[-1])
    covariance = np.reshape(poses[-1].pose.covariance, (6, 6))
    assert (np.linalg.eigvalsh(covariance) > 0).all()
    assert paths[-1].poses
    assert clouds[-1].width > 100
    assert "new map (stereo, baseline 0.12 m" in odometry.output
    probe.wait_until(
        lambda: (status := latest_status(reports, "odometry: left")) and values(status)["odometry"] == "tracking",
        "diagnostics of the odometry",
    )
    assert odometry.stop() == 0
    assert "Traceback" not in odometry.output


def test_a_simulated_single_camera_is_followed_up_to_scale(probe, start_node):
    poses, truth = probe.collect(Odometry, "odometry"), probe.collect(PoseStamped, "ground_truth/pose")
    odometry = _fly(probe, start_node, ["camera"], poses, truth)
    assert "new map (one camera" in odometry.output
    assert np.diag(np.reshape(poses[0].pose.covariance, (6, 6))).min() >= 1e6, "an estimate, not the origin"
    assert np.diag(np.reshape(poses[-1].pose.covariance, (6, 6))).max() < 1
    pairs = _pairs(poses, truth)
    assert len(pairs) >= FRAMES / 2
    estimated, true = (np.array([pose.position for pose in each]) for each in zip(*pairs))
    # Both begin at the same frame or at one a little later: compare the ways, which have one direction and one ratio.
    estimated, true = estimated - estimated[0], true - true[0]
    scale = (estimated * true).sum() / (estimated**2).sum()
    assert np.linalg.norm(scale * estimated - true, axis=1).max() < LARGEST_ERROR
    assert np.linalg.norm(true[-1]) > 3 * LARGEST_ERROR, "or standing still would pass"


def _check_transform(probe, transforms, pose):
    """tf2 says of the camera at the moment of a pose what the pose says."""
    frames_and_time = pose.header.frame_id, pose.child_frame_id, Time.from_msg(pose.header.stamp)
    probe.wait_until(lambda: transforms.can_transform(*frames_and_time), "the transform")
    found = transforms.lookup_transform(*frames_and_time).transform
    transform = Pose.from_quaternion(_numbers(found.translation), _numbers(found.rotation))
    np.testing.assert_allclose(transform.matrix, pose_from_message(pose.pose.pose).matrix, atol=1e-9)


def _numbers(message):
    return [getattr(message, name) for name in message.get_fields_and_field_types()]


def test_a_bad_parameter_takes_one_line(start_node):
    node = start_node("odometry", {"cameras": ["left", "middle", "right"]})
    assert node.process.wait(60) == 1
    (line,) = node.output.splitlines()
    assert line.startswith("odometry: cameras must be one or two different names")


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ((320, 240), "alone/camera_info is for 640 x 480 pixels, the images of alone/keypoints have 320 x 240"),
        ((640, 480), "KeypointArray is inconsistent: 1 x, 0 y"),
    ],
)
def test_what_cannot_be_used_is_said_and_the_node_goes_on(size, reason, probe, start_node):
    reports = probe.collect(DiagnosticArray, "/diagnostics")
    node = start_node("odometry", {"cameras": ["alone"]})
    calibration = probe.create_publisher(CameraInfo, "alone/camera_info", 1)
    keypoints = probe.create_publisher(KeypointArray, "alone/keypoints", 1)
    info = CameraInfo(width=640, height=480, distortion_model="plumb_bob", k=[500.0, 0, 320, 0, 500, 240, 0, 0, 1])
    message = KeypointArray(width=size[0], height=size[1], x=[1.0] if size == (640, 480) else [])

    def is_said() -> bool:
        calibration.publish(info)
        keypoints.publish(message)
        probe.spin_for(0.2)
        status = latest_status(reports, "odometry: alone")
        return status is not None and reason in status.message

    probe.wait_until(is_said, reason)
    assert node.stop() == 0
    assert "Traceback" not in node.output

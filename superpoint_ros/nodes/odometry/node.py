"""The odometry node: keypoints in, poses out."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped, TransformStamped
from nav_msgs.msg import Odometry as OdometryMessage
from nav_msgs.msg import Path
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from superpoint_ros.geometry.pose import Pose, rotation_vector
from superpoint_ros.odometry import KeypointFrame, Odometry, OdometryCamera, State, Update

from ..node_process import run_node
from ..parameters import declare
from ..pose_messages import cloud_message, pose_message
from .input import InputError, OdometryInput
from .parameters import OdometryParameters

try:
    from tf2_ros import TransformBroadcaster
except ImportError:  # not among the wheels
    TransformBroadcaster = None

_DIAGNOSTICS_PERIOD = 1.0  # seconds
_WARNING_PERIOD = 5.0  # seconds
_UNKNOWN_COVARIANCE = 1e6
_LEVELS = {
    State.TRACKING: DiagnosticStatus.OK,
    State.INITIALISING: DiagnosticStatus.WARN,
    State.LOST: DiagnosticStatus.ERROR,
}


class OdometryNode(LifecycleNode):
    """Lifecycle node that follows a camera, or a stereo pair, by its keypoints.

    ``configure`` advertises, ``activate`` begins a new map and subscribes.

    Raises
    ------
    ValueError
        If a parameter's initial value is not allowed.
    """

    def __init__(self) -> None:
        super().__init__("odometry")
        self._parameters_now = declare(self, OdometryParameters, read_only=True)
        self._input: OdometryInput | None = None
        self._odometry: Odometry | None = None
        self._path: deque[PoseStamped] = deque(maxlen=self._parameters_now.max_path_length)
        self._last_warning = -_WARNING_PERIOD
        self._counts = dict.fromkeys(("frames", "tracked", "lost", "key frames", "relocalisations", "dropped"), 0)
        self._forget()
        self._broadcaster: Any = None
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still or jump
        self.create_timer(_DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=steady)

    # Lifecycle

    def start(self) -> None:
        """Configure and activate, if the parameter ``autostart`` says so."""
        if self._parameters_now.autostart and self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Advertise."""
        self._odometry_publisher = self.create_lifecycle_publisher(OdometryMessage, "odometry", 10)
        self._path_publisher = self.create_lifecycle_publisher(Path, "path", 1)
        self._landmark_publisher = self.create_lifecycle_publisher(PointCloud2, "landmarks", 1)
        if self._parameters_now.publish_tf and TransformBroadcaster is not None:
            self._broadcaster = TransformBroadcaster(self)
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin a new map."""
        result = super().on_activate(state)  # the publishers
        self._forget()
        self._input = OdometryInput(self, self._parameters_now.cameras, self._process, self._drop)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and forget the map."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give up the topics."""
        self.release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, whatever the state."""
        self.release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, so that the node can be configured again."""
        self.release()
        return TransitionCallbackReturn.SUCCESS

    def _stop(self) -> None:
        if self._input is not None:
            self._input.destroy()
            self._input = None
        self._odometry = None

    def _forget(self) -> None:
        """Know nothing of what was before."""
        self._odometry = None
        self._path.clear()
        self._last: tuple[float, Pose] | None = None
        self._problem = "no keypoints yet"
        self._state, self._inliers, self._milliseconds = State.INITIALISING, 0, 0.0

    def release(self) -> None:
        """Stop and give up the topics."""
        self._stop()
        for name in ("_odometry_publisher", "_path_publisher", "_landmark_publisher"):
            if publisher := self.__dict__.pop(name, None):
                self.destroy_lifecycle_publisher(publisher)
        self._broadcaster = None

    # Frames

    def _process(self, header: Header, frame: KeypointFrame, camera: OdometryCamera) -> None:
        if self._odometry is None or not _is_same(self._odometry.camera, camera):
            self._odometry = Odometry(camera, self._parameters_now.settings())
            kind = f"stereo, baseline {camera.baseline:g} m" if camera.baseline else "one camera"
            self.get_logger().info(f"new map ({kind}, focal length {camera.focal_length:.1f} px)")
        began = time.monotonic()
        update = self._odometry.process(frame)
        self._milliseconds = 1e3 * (time.monotonic() - began)
        self._count(update)
        if update.pose is not None:
            self._publish(header, update.pose, update)

    def _count(self, update: Update) -> None:
        self._problem, self._inliers = "", update.inliers
        self._counts["frames"] += 1
        self._counts["tracked"] += update.state is State.TRACKING
        self._counts["lost"] += update.state is State.LOST
        self._counts["key frames"] += update.is_key_frame
        if update.state is not self._state:
            if update.state is State.LOST:
                self.get_logger().warning("lost: the keypoints fit no pose; looking for a known place")
            elif self._state is State.LOST and update.state is State.TRACKING:
                self._counts["relocalisations"] += 1
                self.get_logger().info("tracking again")
            self._state = update.state

    def _drop(self, error: Exception) -> None:
        self._problem = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        self._counts["dropped"] += 1
        now = time.monotonic()
        if now - self._last_warning >= _WARNING_PERIOD:
            self._last_warning = now
            self.get_logger().warning(f"frame dropped: {self._problem}")

    def _publish(self, header: Header, pose: Pose, update: Update) -> None:
        frame = self._parameters_now.odom_frame
        stamped = Header(stamp=header.stamp, frame_id=frame)
        message = OdometryMessage(header=stamped, child_frame_id=header.frame_id)
        message.pose.pose = pose_message(pose)
        message.pose.covariance = _pose_covariance(pose, update)
        self._add_velocity(message, header.stamp.sec + header.stamp.nanosec * 1e-9, pose)
        self._odometry_publisher.publish(message)
        self._path.append(PoseStamped(header=stamped, pose=message.pose.pose))
        if self._broadcaster is not None:
            transform = TransformStamped(header=stamped, child_frame_id=header.frame_id)
            position = message.pose.pose.position
            transform.transform.translation.x = position.x
            transform.transform.translation.y = position.y
            transform.transform.translation.z = position.z
            transform.transform.rotation = message.pose.pose.orientation
            self._broadcaster.sendTransform(transform)
        if update.is_key_frame:
            if self._path_publisher.get_subscription_count() > 0:
                self._path_publisher.publish(Path(header=stamped, poses=list(self._path)))
            if self._landmark_publisher.get_subscription_count() > 0 and self._odometry is not None:
                self._landmark_publisher.publish(cloud_message(stamped, self._odometry.map.positions))

    def _add_velocity(self, message: OdometryMessage, now: float, pose: Pose) -> None:
        """Set the mean velocity since the last pose, in the camera's frame as nav_msgs/Odometry has it."""
        previous, self._last = self._last, (now, pose)
        message.twist.covariance = np.diag([_UNKNOWN_COVARIANCE] * 6).ravel()
        if previous is None or not 0 < now - previous[0] < 1:
            return
        motion, elapsed = previous[1].inverse() @ pose, now - previous[0]
        linear, angular = message.twist.twist.linear, message.twist.twist.angular
        linear.x, linear.y, linear.z = (motion.rotation.T @ motion.position / elapsed).tolist()
        angular.x, angular.y, angular.z = (rotation_vector(motion.rotation) / elapsed).tolist()

    def _publish_diagnostics(self) -> None:
        name = self.get_fully_qualified_name().lstrip("/")
        status = DiagnosticStatus(name=f"{name}: odometry", hardware_id=",".join(self._parameters_now.cameras))
        status.level, status.message = _LEVELS[self._state], self._state.value
        if self._input is None:
            status.level, status.message = DiagnosticStatus.OK, "not active"
        elif self._problem:
            status.level, status.message = DiagnosticStatus.WARN, self._problem
        values: dict[str, object] = {"state": self._state.value, "inliers": self._inliers, **self._counts}
        values["processing [ms]"] = f"{self._milliseconds:.1f}"
        if self._odometry is not None:
            values["landmarks"] = len(self._odometry.map.positions)
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def _pose_covariance(pose: Pose, update: Update) -> np.ndarray:
    """Covariance (36,) of x, y, z and rotation about the fixed axes of the odometry frame."""
    if update.covariance is None:  # the first frame defines the frame
        return np.zeros(36)
    to_message = np.zeros((6, 6))
    to_message[:3, 3:] = np.eye(3)
    to_message[3:, :3] = pose.rotation
    return np.asarray(to_message @ update.covariance @ to_message.T).ravel()


def _is_same(first: OdometryCamera, second: OdometryCamera) -> bool:
    return first.baseline == second.baseline and np.array_equal(first.matrix, second.matrix)


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns the exit code."""
    return run_node("odometry", OdometryNode, args)


if __name__ == "__main__":
    sys.exit(main())

"""Frames for odometry out of keypoint and calibration messages, for one camera or two."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from superpoint_ros.msg import KeypointArray
from superpoint_ros.odometry import KeypointFrame, OdometryCamera, Rectifier, monocular_frame, stereo_frame

from ..calibration import camera_model
from ..keypoint_messages import Keypoints, from_message

_WAITING = 10  # messages of one eye that may wait for the other eye's
_KEYPOINTS_DEPTH = 20


class InputError(ValueError):
    """A message cannot be used; the text names the topic and what was expected."""


class _Eye:
    """The newest calibration of a camera, and its keypoints that wait for their partner."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: dict[tuple[int, int], KeypointArray] = {}
        self.info: CameraInfo | None = None
        self._made_of: CameraInfo | None = None
        self._rectifier: Rectifier | None = None

    def rectifier(self, size: tuple[int, int]) -> Rectifier:
        """Return how to rectify keypoints in this camera's images of (width, height) pixels.

        Raises
        ------
        InputError
            If its calibration is missing, is none, or is for images of another size.
        """
        info = self.info
        if info is None:
            raise InputError(f"no {self.name}/camera_info yet")
        if self._rectifier is None or info is not self._made_of:
            try:
                model = camera_model(info)
            except ValueError as error:
                raise InputError(f"{self.name}/camera_info: {error}") from None
            ideal = np.array(info.p, np.float64).reshape(3, 4)[:, :3]
            rotation = np.array(info.r, np.float64).reshape(3, 3)
            rectified = ideal[0, 0] > 0 and np.abs(rotation).sum() > 0
            self._made_of = info
            self._rectifier = Rectifier(
                model, rotation if rectified else np.eye(3), ideal if rectified else model.matrix
            )
        expected = self._rectifier.model.image_size
        if expected != size:
            raise InputError(
                f"{self.name}/camera_info is for {expected[0]} x {expected[1]} pixels, the images of "
                f"{self.name}/keypoints have {size[0]} x {size[1]}"
            )
        return self._rectifier


class OdometryInput:
    """Subscribes to keypoints and calibration, and calls back with each complete frame.

    Parameters
    ----------
    node : rclpy.node.Node
    cameras : tuple of str
        One name, or those of the left and right camera.
    on_frame : callable
        Takes the header of the (left) keypoints, their frame and the camera that it is for.
    on_error : callable
        Takes the error, most often an `InputError`, because of which messages were dropped.
    """

    def __init__(
        self,
        node: Node,
        cameras: tuple[str, ...],
        on_frame: Callable[[Header, KeypointFrame, OdometryCamera], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self._node = node
        self._eyes = [_Eye(name) for name in cameras]
        self._on_frame = on_frame
        self._on_error = on_error
        self._model = ""
        any_publisher = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscriptions: list[Subscription] = []
        for eye in self._eyes:
            self._subscriptions += [
                node.create_subscription(
                    KeypointArray,
                    f"{eye.name}/keypoints",
                    lambda message, eye=eye: self._receive(eye, message),
                    _KEYPOINTS_DEPTH,
                ),
                node.create_subscription(
                    CameraInfo,
                    f"{eye.name}/camera_info",
                    lambda message, eye=eye: _keep(eye, message),
                    any_publisher,
                ),
            ]

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _receive(self, eye: _Eye, message: KeypointArray) -> None:
        """Wait until all eyes have keypoints of this stamp."""
        stamp = (message.header.stamp.sec, message.header.stamp.nanosec)
        eye.waiting[stamp] = message
        while len(eye.waiting) > _WAITING:
            del eye.waiting[next(iter(eye.waiting))]
        if all(stamp in other.waiting for other in self._eyes):
            messages = [other.waiting.pop(stamp) for other in self._eyes]
            try:
                frame, camera = self._frame(messages)
                self._on_frame(messages[0].header, frame, camera)
            except Exception as error:  # whatever a message contains, the node goes on
                self._on_error(error)

    def _frame(self, messages: list[KeypointArray]) -> tuple[KeypointFrame, OdometryCamera]:
        rectifiers, frames = [], []
        for eye, message in zip(self._eyes, messages):
            keypoints = self._checked(eye, message)
            rectifiers.append(eye.rectifier(keypoints.image_size))
            frames.append(monocular_frame(rectifiers[-1].rectify(keypoints.keypoints), keypoints.descriptors))
        matrix = rectifiers[0].matrix
        if len(frames) == 1:
            return frames[0], OdometryCamera(matrix)
        projection = np.array(self._eyes[1].info.p, np.float64) if self._eyes[1].info else np.zeros(12)
        baseline = float(-projection[3] / projection[0]) if projection[0] else 0.0
        if not baseline > 0:
            raise InputError(
                f"{self._eyes[1].name}/camera_info has no baseline: p[3] must be -fx times the distance from the left "
                f"camera in metres, got {projection[3]:g}"
            )
        camera = OdometryCamera(matrix, baseline)
        return stereo_frame(frames[0], frames[1], camera), camera

    def _checked(self, eye: _Eye, message: KeypointArray) -> Keypoints:
        try:
            keypoints = from_message(message)
        except ValueError as error:
            raise InputError(f"{eye.name}/keypoints: {error}") from None
        if len(keypoints.keypoints) and not keypoints.descriptors.shape[1]:
            raise InputError(f"{eye.name}/keypoints has no descriptors: set the detector's publish_descriptors")
        self._model = self._model or keypoints.model
        if keypoints.model != self._model:
            raise InputError(
                f"{eye.name}/keypoints is of the model {keypoints.model}, the map of {self._model}: descriptors of "
                "different weights cannot be matched; deactivate and activate the node to begin anew"
            )
        return keypoints


def _keep(eye: _Eye, info: CameraInfo) -> None:
    """Keep a calibration if it is a new one; only its stamp changes as a rule."""
    info.header = Header()
    if info != eye.info:
        eye.info = info

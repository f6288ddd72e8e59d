"""Frames for odometry out of keypoint and calibration messages, for one camera or two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from superpoint_ros.images.limits import quoted
from superpoint_ros.msg import KeypointArray
from superpoint_ros.odometry import KeypointFrame, OdometryCamera, Rectifier, monocular_frame, stereo_frame

from ..messages.keypoints import Keypoints, from_message
from ..messages.stamps import nanoseconds
from ..topics.calibration import CameraInfoSubscription, camera_model
from ..topics.pairing import Pairing
from ..topics.qos import naming_overrides, overridable
from .parameters import OdometryParameters

_KEYPOINTS_DEPTH = 20


class InputError(ValueError):
    """A message cannot be used; the text names the topic and what was expected."""


@dataclass(frozen=True)
class DescriptorKind:
    """What descriptors are; only those of one kind can be matched.

    Attributes
    ----------
    dtype : str
        Of their elements.
    model : str
        Names the weights; empty if that is not known.
    """

    dtype: str
    model: str

    def __str__(self) -> str:
        return f"{self.dtype} descriptors of {quoted(self.model) if self.model else 'an unnamed model'}"


@dataclass(frozen=True, eq=False)
class Arrival:
    """The keypoints of one moment.

    Attributes
    ----------
    header : Header
        Of the (left) image.
    kind : DescriptorKind or None
        None without keypoints.
    frame : KeypointFrame
    camera : OdometryCamera
        What they were seen by.
    """

    header: Header
    kind: DescriptorKind | None
    frame: KeypointFrame
    camera: OdometryCamera


class _Eye:
    """A camera: the newest calibration, and what follows from it."""

    def __init__(self, node: Node, name: str) -> None:
        self.name = name
        self._info: CameraInfo | None = None
        self._rectifier: Rectifier | None = None
        self._infos = CameraInfoSubscription(node, f"{name}/camera_info", self._take)

    def destroy(self) -> None:
        """Unsubscribe."""
        self._infos.destroy()

    def _take(self, info: CameraInfo) -> None:
        self._info, self._rectifier = info, None

    def rectifier(self, size: tuple[int, int]) -> Rectifier:
        """Return how to rectify keypoints in this camera's images of (width, height) pixels.

        Raises
        ------
        InputError
            If its calibration is missing, is none, or is for images of another size.
        """
        info = self._info
        if info is None:
            raise InputError(self._infos.mismatch or f"no {self.name}/camera_info yet")
        if self._rectifier is None:
            try:
                model = camera_model(info)
            except ValueError as error:
                raise InputError(f"{self.name}/camera_info: {error}") from None
            ideal = np.array(info.p, np.float64).reshape(3, 4)[:, :3]
            rotation = np.array(info.r, np.float64).reshape(3, 3)
            rectified = ideal[0, 0] > 0 and np.abs(rotation).sum() > 0
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

    def baseline(self) -> float:
        """Return the distance in metres of this, the right, camera from the left one.

        Raises
        ------
        InputError
            If the calibration does not have it.
        """
        projection = np.array(self._info.p, np.float64) if self._info else np.zeros(12)
        baseline = float(-projection[3] / projection[0]) if projection[0] else 0.0
        if not baseline > 0:
            raise InputError(
                f"{self.name}/camera_info has no baseline: p[3] must be -fx times the distance from the left camera in "
                f"metres, got {projection[3]:g}"
            )
        return baseline


class OdometryInput:
    """Subscribes to keypoints and calibration, and calls back with each complete frame.

    Parameters
    ----------
    node : rclpy.node.Node
    settings : OdometryParameters
        Names the camera, or the left and the right one, and how far apart their stamps may be.
    on_message : callable
        Takes the header of each message with keypoints of the (left) camera.
    on_frame : callable
        Takes the keypoints of one moment; what it raises goes to `on_error`.
    on_error : callable
        Takes the error, most often an `InputError`, because of which a frame was dropped.

    Attributes
    ----------
    name : str
        Of the (left) camera.
    topics : list of str
        Full names, after remapping, of the keypoints.

    Raises
    ------
    ValueError
        If an override parameter of the quality of service has a value that its policy does not know.
    """

    def __init__(
        self,
        node: Node,
        settings: OdometryParameters,
        on_message: Callable[[Header], None],
        on_frame: Callable[[Arrival], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        self.name = settings.cameras[0]
        self.topics = [node.resolve_topic_name(f"{name}/keypoints") for name in settings.cameras]
        self._node = node
        self._eyes: list[_Eye] = []
        self._pairing: Pairing[KeypointArray] = Pairing(round(settings.sync_slop * 1e9))
        self._on_message = on_message
        self._on_frame = on_frame
        self._on_error = on_error
        self._subscriptions: list[Subscription] = []
        try:
            for side, name in enumerate(settings.cameras):
                self._eyes.append(_Eye(node, name))
                self._subscribe(side, name)
        except ValueError:
            self.destroy()
            raise

    def _subscribe(self, side: int, name: str) -> None:
        with naming_overrides(self.topics[side], "subscription"):
            subscription = self._node.create_subscription(
                KeypointArray,
                f"{name}/keypoints",
                partial(self._receive, side),
                QoSProfile(depth=_KEYPOINTS_DEPTH),
                qos_overriding_options=overridable(),
            )
        self._subscriptions.append(subscription)

    def destroy(self) -> None:
        """Unsubscribe."""
        for eye in self._eyes:
            eye.destroy()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    @property
    def unpaired(self) -> int:
        """Messages of a stereo pair that stayed alone."""
        return self._pairing.unpaired

    def _receive(self, side: int, message: KeypointArray) -> None:
        """Wait until all eyes have keypoints of this moment."""
        if side == 0:
            self._on_message(message.header)
        messages: tuple[KeypointArray, ...] | None = (message,)
        if len(self._eyes) == 2:
            messages = self._pairing.add(side, nanoseconds(message.header), message)
        if messages is None:
            return
        try:
            self._on_frame(self._arrival(messages))
        except Exception as error:  # whatever a message contains, the node goes on
            self._on_error(error)

    def _arrival(self, messages: tuple[KeypointArray, ...]) -> Arrival:
        rectifiers, frames = [], []
        kinds: list[DescriptorKind] = []
        for eye, message in zip(self._eyes, messages):
            keypoints = _checked(eye, message)
            if len(keypoints.keypoints):  # without, a message does not tell
                kinds.append(DescriptorKind(str(keypoints.descriptors.dtype), keypoints.model))
            rectifiers.append(eye.rectifier(keypoints.image_size))
            frames.append(monocular_frame(rectifiers[-1].rectify(keypoints.keypoints), keypoints.descriptors))
        if len(set(kinds)) > 1:
            raise InputError(
                f"{self.topics[0]} has {kinds[0]}, {self.topics[1]} has {kinds[1]}: let one detector serve both cameras"
            )
        header, kind = messages[0].header, kinds[0] if kinds else None
        if len(frames) == 1:
            return Arrival(header, kind, frames[0], OdometryCamera(rectifiers[0].matrix))
        camera = OdometryCamera(rectifiers[0].matrix, self._eyes[1].baseline())
        return Arrival(header, kind, stereo_frame(frames[0], frames[1], camera), camera)


def _checked(eye: _Eye, message: KeypointArray) -> Keypoints:
    try:
        keypoints = from_message(message)
    except ValueError as error:
        raise InputError(f"{eye.name}/keypoints: {error}") from None
    if len(keypoints.keypoints) and not keypoints.descriptors.shape[1]:
        raise InputError(f"{eye.name}/keypoints has no descriptors: set the detector's publish_descriptors")
    return keypoints

"""The calibration of a camera, from its CameraInfo messages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from superpoint_ros.geometry import CameraModel

from .subscription import AdoptingSubscription

_WATCH_PERIOD = 0.5  # seconds


class CameraInfoSubscription:
    """Listens to a topic of CameraInfo with the quality of service that its publishers offer.

    Parameters
    ----------
    node : rclpy.node.Node
        Subscribes.
    topic : str
        May be relative; remappings apply.
    on_new : callable
        Takes a message that differs from the one before in more than its header, which is empty then.

    Raises
    ------
    ValueError
        If an override parameter has a value that its policy does not know.
    """

    def __init__(self, node: Node, topic: str, on_new: Callable[[CameraInfo], None]) -> None:
        self._node = node
        self._on_new = on_new
        self._newest: CameraInfo | None = None
        self._subscription = AdoptingSubscription(node, CameraInfo, topic, self._receive, depth=1)
        self._subscription.adopt()
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self._watch = node.create_timer(_WATCH_PERIOD, self._subscription.adopt, clock=steady)

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_timer(self._watch)
        self._subscription.destroy()

    @property
    def mismatch(self) -> str:
        """Why nothing can arrive although somebody publishes; empty if nothing speaks against it."""
        return self._subscription.mismatch

    def _receive(self, info: CameraInfo) -> None:
        info.header = type(info.header)()  # the stamp changes, the rest hardly ever
        if info != self._newest:
            self._newest = info
            self._on_new(info)


class Calibration:
    """Keeps the calibration that belongs to an image topic.

    Parameters
    ----------
    node : rclpy.node.Node
        Subscribes.
    image_topic : str
        Full name. The calibration is expected beside it, as image_transport has it.
    on_size : callable
        Takes (width, height) in pixels of the images, when it becomes known or changes.
    """

    def __init__(self, node: Node, image_topic: str, on_size: Callable[[tuple[int, int]], None]) -> None:
        self._on_size = on_size
        self._model: CameraModel | None = None
        self._topic = f"{image_topic.removesuffix('/compressed').rpartition('/')[0]}/camera_info"
        self._problem = f"no camera_info on {self._topic} yet"
        self._infos = CameraInfoSubscription(node, self._topic, self._take)

    def destroy(self) -> None:
        """Unsubscribe."""
        self._infos.destroy()

    def model_for(self, size: tuple[int, int]) -> CameraModel | None:
        """Return the calibration for images of (width, height) pixels; None if it is not known."""
        model = self._model
        return model if model is not None and model.image_size == size else None

    def problem(self, size: tuple[int, int] | None) -> str:
        """Return why there is no calibration for images of (width, height) pixels; empty if there is."""
        model = self._model
        if model is None or size is None or model.image_size == size:
            return self._problem and (self._infos.mismatch or self._problem)
        return (
            f"camera_info on {self._topic} is for {model.image_size[0]} x {model.image_size[1]} pixels, the images "
            f"have {size[0]} x {size[1]}"
        )

    def _take(self, info: CameraInfo) -> None:
        try:
            self._model, self._problem = camera_model(info), ""
        except ValueError as error:
            self._model, self._problem = None, f"camera_info on {self._topic}: {error}"
        if all(image_size(info)):
            self._on_size(image_size(info))


def camera_model(info: CameraInfo) -> CameraModel:
    """Return the calibration of the images as they are published: after binning and cropping.

    Parameters
    ----------
    info : sensor_msgs.msg.CameraInfo

    Raises
    ------
    ValueError
        If the camera is not calibrated, or its lens model is unknown.
    """
    matrix = np.array(info.k, np.float64).reshape(3, 3)
    matrix[:2, 2] -= info.roi.x_offset, info.roi.y_offset
    binning = np.array([max(info.binning_x, 1), max(info.binning_y, 1)])
    matrix[:2] /= binning[:, None]
    distortion = np.array(info.d, np.float64)
    model = info.distortion_model or ("" if distortion.any() else "plumb_bob")
    return CameraModel(matrix, model, distortion, image_size(info))


def image_size(info: CameraInfo) -> tuple[int, int]:
    """Return the (width, height) in pixels of the images that `info` belongs to; (0, 0) if it does not say."""
    width, height = (info.roi.width or info.width), (info.roi.height or info.height)
    return width // max(info.binning_x, 1), height // max(info.binning_y, 1)

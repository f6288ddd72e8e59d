"""The images that an overlay is drawn on, received only while it is watched."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.node import Node
from std_msgs.msg import Header

from superpoint_ros import images

from ..messages.images import TRANSPORTS
from ..reporting.rare_warnings import RareWarnings
from ..topics.subscription import AdoptingSubscription

_CAPACITY = 10  # images that wait for their keypoints
_DEPTH = 10


class Background:
    """Keeps the newest images of a camera.

    Parameters
    ----------
    node : rclpy.node.Node
        Subscribes.
    camera : str
        Start of the topic's name.
    image_transport : {"raw", "compressed"}
        What to subscribe to.

    Raises
    ------
    ValueError
        If an override parameter has a value that its policy does not know.
    """

    def __init__(self, node: Node, camera: str, image_transport: str) -> None:
        self._node = node
        self._warn = RareWarnings(node)
        topic, self._message_type = TRANSPORTS[image_transport]
        self._topic = f"{camera}/{topic}"
        self._subscription: AdoptingSubscription[Any] | None = None
        self._images: dict[tuple[int, int], Any] = {}
        self._subscribe().destroy()  # a mistaken override is to be told now, not when somebody looks

    def watch(self, is_wanted: bool) -> None:
        """Receive images or not; to be called every now and then, to follow the publishers' quality of service."""
        if is_wanted and self._subscription is None:
            self._subscription = self._subscribe()
        if not is_wanted and self._subscription is not None:
            self._subscription.destroy()
            self._subscription = None
            self._images.clear()
        if self._subscription is not None:
            self._subscription.adopt()

    def at(self, header: Header, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Return the image with that stamp, luminance or RGB; black of (width, height) pixels if it is not there."""
        message = self._images.get((header.stamp.sec, header.stamp.nanosec))
        if message is not None:
            try:
                image = images.to_array(message)
                if image.shape[1::-1] == size:
                    return image
            except Exception as error:
                self._refuse(error)
        return np.zeros((size[1], size[0]), np.uint8)

    def _subscribe(self) -> AdoptingSubscription[Any]:
        return AdoptingSubscription(self._node, self._message_type, self._topic, self._receive, _DEPTH)

    def _receive(self, message: Any) -> None:
        try:
            images.check(message)
        except Exception as error:
            self._refuse(error)
            return
        self._images[message.header.stamp.sec, message.header.stamp.nanosec] = message
        if len(self._images) > _CAPACITY:
            del self._images[next(iter(self._images))]

    def _refuse(self, error: Exception) -> None:
        """Report an image that cannot be drawn on; whatever its message made the check raise, the node goes on."""
        self._warn(f"image on {self._node.resolve_topic_name(self._topic)} is not drawn on: {error}")

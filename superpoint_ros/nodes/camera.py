"""One camera of the detector: its topics and its statistics."""

from __future__ import annotations

import array
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from superpoint_ros.msg import KeypointArray

from . import image_conversion
from .qos import overridable
from .stream_statistics import StreamStatistics
from .subscription import AdoptingSubscription

_MESSAGE_TYPES = {"raw": ("image_raw", Image), "compressed": ("image_raw/compressed", CompressedImage)}
_WARNING_PERIOD = 5.0  # seconds between two warnings about the same camera


@dataclass(frozen=True)
class Frame:
    """A valid image message, and when it came.

    Attributes
    ----------
    camera : Camera
        Where it came from.
    message : Image or CompressedImage
        As received.
    arrival : float
        Seconds of ``time.monotonic``.
    """

    camera: Camera
    message: Image | CompressedImage
    arrival: float


class Camera:
    """Receives images while subscribed, drops bad and unwanted ones, and publishes results.

    Parameters
    ----------
    node : rclpy.lifecycle.LifecycleNode
        Owns the publishers and the subscription.
    name : str
        Start of the topics' names.
    image_transport : {"raw", "compressed"}
        What to subscribe to.
    depth : int
        Images the middleware keeps while the executor is busy.
    offer : callable
        Takes a frame to process; returns False if an older one was dropped for it.
    process_unwatched : callable
        Returns whether images are wanted even while nobody subscribes to results.

    Attributes
    ----------
    name : str
        As given.
    image_topic : str
        Full name of the topic with the images, after remapping.
    statistics : StreamStatistics
        Since the camera was made.
    subscription : AdoptingSubscription or None
        None unless subscribed.
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        image_transport: str,
        depth: int,
        offer: Callable[[Frame], bool],
        process_unwatched: Callable[[], bool],
    ) -> None:
        self.name = name
        self.statistics = StreamStatistics()
        self.subscription: AdoptingSubscription[Any] | None = None
        self._node = node
        self._depth = depth
        self._offer = offer
        self._process_unwatched = process_unwatched
        self._last_warning = -_WARNING_PERIOD
        topic, self._message_type = _MESSAGE_TYPES[image_transport]
        self._topic = f"{name}/{topic}"
        self.image_topic: str = node.resolve_topic_name(self._topic)
        self._keypoints = node.create_lifecycle_publisher(
            KeypointArray, f"{name}/keypoints", QoSProfile(depth=5), qos_overriding_options=overridable()
        )
        self._overlay = node.create_lifecycle_publisher(
            Image, f"{name}/keypoints_image", QoSProfile(depth=1), qos_overriding_options=overridable()
        )

    @property
    def overlay_is_watched(self) -> bool:
        """Whether somebody subscribes to the overlay."""
        return bool(self._overlay.get_subscription_count() > 0)

    def subscribe(self) -> None:
        """Start to receive images."""
        self.subscription = AdoptingSubscription(
            self._node, self._message_type, self._topic, self._receive, self._depth
        )
        self.subscription.adopt()

    def unsubscribe(self) -> None:
        """Stop to receive images."""
        if self.subscription is not None:
            self.subscription.destroy()
            self.subscription = None

    def destroy(self) -> None:
        """Give back everything taken from the node."""
        self.unsubscribe()
        self._node.destroy_lifecycle_publisher(self._keypoints)
        self._node.destroy_lifecycle_publisher(self._overlay)

    def publish_keypoints(self, message: KeypointArray) -> None:
        """Publish the result for one image."""
        self._keypoints.publish(message)

    def publish_overlay(self, header: Header, overlay: npt.NDArray[np.uint8]) -> None:
        """Publish an (H, W, 3) RGB image."""
        height, width, channels = overlay.shape
        message = Image(header=header, height=height, width=width, encoding="rgb8", step=width * channels)
        message.data = array.array("B", overlay.tobytes())
        self._overlay.publish(message)

    def warn(self, text: str) -> None:
        """Log a warning about this camera, unless there was one just now."""
        now = time.monotonic()
        if now - self._last_warning >= _WARNING_PERIOD:
            self._last_warning = now
            self._node.get_logger().warning(text)

    def drop_malformed(self, error: image_conversion.ImageError) -> None:
        """Count and report an image that cannot be processed."""
        self.statistics.count("malformed")
        self.warn(f"image on {self.image_topic} dropped: {error}")

    def _receive(self, message: Image | CompressedImage) -> None:
        stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9  # rclpy's Time refuses negative ones
        self.statistics.received(stamp, age=self._node.get_clock().now().nanoseconds * 1e-9 - stamp)
        try:
            image_conversion.check(message)
        except image_conversion.ImageError as error:
            self.drop_malformed(error)
            return
        if not self._is_wanted():
            self.statistics.count("unwatched")
        elif not self._offer(Frame(self, message, time.monotonic())):
            self.statistics.count("overload")

    def _is_wanted(self) -> bool:
        return self._keypoints.get_subscription_count() > 0 or self.overlay_is_watched or self._process_unwatched()

"""One camera of the detector: its topics, what holds for its images, and its statistics."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import HistoryPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from superpoint_ros import images
from superpoint_ros.geometry import bearing_vectors
from superpoint_ros.msg import KeypointArray

from ..messages.images import TRANSPORTS, image_message
from ..messages.stamps import seconds
from ..reporting.rare_warnings import RareWarnings
from ..reporting.stream_statistics import StreamStatistics
from ..topics.calibration import Calibration
from ..topics.publishers import advertise
from ..topics.subscription import AdoptingSubscription
from .masks import Mask, MaskError
from .parameters import DetectorParameters

if TYPE_CHECKING:
    from superpoint_ros.superpoint import Features

# Images the middleware keeps. "latest" empties it at once, but for moments in which another callback keeps the
# executor; "all" makes it wait for the model, however many come meanwhile.
_DEPTH = 10
_HISTORIES = {"latest": HistoryPolicy.KEEP_LAST, "all": HistoryPolicy.KEEP_ALL}


@dataclass(frozen=True, eq=False)
class Frame:
    """A valid image message, when it came, and the parameters and the mask that hold for it.

    Attributes
    ----------
    camera : Camera
        Where it came from.
    message : Image or CompressedImage
        As received.
    arrival : float
        Seconds of ``time.monotonic``.
    parameters : DetectorParameters
        At that moment.
    mask : ndarray, (H, W), uint8, or None
        Likewise.
    """

    camera: Camera
    message: Image | CompressedImage
    arrival: float
    parameters: DetectorParameters
    mask: Mask | None


class Camera:
    """Receives images while subscribed, drops bad and unwanted ones, and publishes results.

    Calibration is received from the start, so that the size of the images is known before the first one.

    Parameters
    ----------
    node : rclpy.lifecycle.LifecycleNode
        Owns publishers and subscriptions.
    name : str
        Start of the topics' names.
    parameters : callable
        Returns the present parameters.
    offer : callable
        Takes a frame to process.
    on_size : callable
        Takes (width, height) in pixels of the images, when a camera_info tells it.

    Attributes
    ----------
    name : str
        As given.
    image_topic : str
        Full name of the topic with the images, after remapping.
    image_size : tuple of int or None
        (width, height) in pixels of the newest image.
    mask : ndarray, (H, W), uint8, or None
        Where keypoints may lie.
    statistics : StreamStatistics
        Since the camera was made.
    warn : callable
        Logs a warning about this camera, unless there was one just now.
    calibration : Calibration
        From camera_info.
    subscription : AdoptingSubscription or None
        None unless subscribed to images.
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        parameters: Callable[[], DetectorParameters],
        offer: Callable[[Frame], None],
        on_size: Callable[[tuple[int, int]], None],
    ) -> None:
        self.name = name
        self.image_size: tuple[int, int] | None = None
        self.mask: Mask | None = None
        self.statistics = StreamStatistics()
        self.warn = RareWarnings(node)
        self.subscription: AdoptingSubscription[Any] | None = None
        self._node = node
        self._parameters = parameters
        self._offer = offer
        topic, self._message_type = TRANSPORTS[parameters().image_transport]
        self._topic = f"{name}/{topic}"
        self.image_topic: str = node.resolve_topic_name(self._topic)
        self._on_size = on_size
        with ExitStack() as taken:  # given back if one of them cannot be made
            self._keypoints = advertise(node, KeypointArray, f"{name}/keypoints", 5, taken)
            self._overlay = advertise(node, Image, f"{name}/keypoints_image", 1, taken)
            self.calibration = Calibration(node, self.image_topic, self._expect_size)
            taken.callback(self.calibration.destroy)
            self._taken = taken.pop_all()

    @property
    def overlay_is_watched(self) -> bool:
        """Whether somebody subscribes to the overlay."""
        return bool(self._overlay.get_subscription_count() > 0)

    def subscribe(self) -> None:
        """Start to receive images."""
        self.statistics.resume()
        history = _HISTORIES[self._parameters().frame_policy]
        self.subscription = AdoptingSubscription(
            self._node, self._message_type, self._topic, self._receive, _DEPTH, history
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
        self._taken.close()

    def bearings(self, features: Features) -> npt.NDArray[np.float32] | None:
        """Return the directions of keypoints, (N, 3); None while the calibration is unknown."""
        model = self.calibration.model_for(features.image_size)
        return None if model is None else bearing_vectors(features.keypoints, model)

    def publish_keypoints(self, message: KeypointArray) -> None:
        """Publish the result for one image."""
        self._keypoints.publish(message)

    def publish_overlay(self, header: Header, overlay: npt.NDArray[np.uint8]) -> None:
        """Publish an (H, W, 3) RGB image."""
        self._overlay.publish(image_message(header, overlay, "rgb8"))

    def drop_malformed(self, error: Exception) -> None:
        """Count and report an image that is none."""
        self.statistics.count("malformed")
        self.warn(f"image on {self.image_topic} dropped: {error}")

    def fail(self, error: Exception) -> None:
        """Count and report an image that is valid but could not be processed."""
        reason = str(error) if isinstance(error, MaskError) else f"{type(error).__name__}: {error}"
        self.statistics.failed(reason)
        self.warn(f"image on {self.image_topic} failed: {reason}")

    def _receive(self, message: Image | CompressedImage) -> None:
        parameters, arrival = self._parameters(), time.monotonic()
        self.statistics.received(seconds(message.header), now=self._node.get_clock().now().nanoseconds * 1e-9)
        try:
            _check(message, parameters.max_pixels)
        except Exception as error:  # whatever a message makes the check raise: it must not end the node
            self.drop_malformed(error)
            return
        if not self._is_wanted(parameters):
            self.statistics.count("unwatched")
        else:
            self._offer(Frame(self, message, arrival, parameters, self.mask))

    def _expect_size(self, size: tuple[int, int]) -> None:
        if size[0] * size[1] <= self._parameters().max_pixels:  # others would be dropped
            self._on_size(size)

    def _is_wanted(self, parameters: DetectorParameters) -> bool:
        return (
            parameters.process_without_subscribers
            or self._keypoints.get_subscription_count() > 0
            or self.overlay_is_watched
        )


def _check(message: Image | CompressedImage, max_pixels: int) -> None:
    """Raise an exception, `ImageError` where the message is known to be bad, unless it is an image to process."""
    width, height = images.check(message)
    if width * height > max_pixels:
        raise images.ImageError(
            f"size {width} x {height} is too large; expected at most {max_pixels} pixels (parameter max_pixels)"
        )

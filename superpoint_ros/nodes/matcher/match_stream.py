"""What matching over time and matching of stereo pairs have in common: topics in and out, calibration, statistics."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from superpoint_ros.images.limits import check_size
from superpoint_ros.matching import FrameMatch, Trails, View, match_views
from superpoint_ros.matching.overlay import draw_trails
from superpoint_ros.msg import KeypointArray, KeypointMatches

from ..messages.images import image_message
from ..messages.keypoints import Keypoints, from_message
from ..messages.matches import to_message
from ..messages.stamps import seconds
from ..reporting.rare_warnings import RareWarnings
from ..reporting.stream_statistics import StreamStatistics
from ..topics.calibration import Calibration
from ..topics.publishers import advertise
from ..topics.qos import naming_overrides, overridable
from .background import Background
from .parameters import MatcherParameters

_DEPTH = 10  # keypoint messages the middleware keeps


class KeypointsError(ValueError):
    """A keypoint message that cannot be matched; the text says what is wrong and what to do."""


@dataclass(frozen=True, eq=False)
class Frame:
    """The keypoints of one image.

    Attributes
    ----------
    header : Header
    size : tuple of int
        (width, height) of the image in pixels.
    view : View
    arrival : float
        Seconds of ``time.monotonic``.
    """

    header: Header
    size: tuple[int, int]
    view: View
    arrival: float


class MatchStream(ABC):
    """Receives keypoints while subscribed and publishes matches and an overlay.

    Parameters
    ----------
    node : rclpy.lifecycle.LifecycleNode
        Owns publishers and subscriptions.
    cameras : sequence of str
        Start of the names of the topics it subscribes to.
    outputs : tuple of str
        Topics of matches and overlay.
    parameters : callable
        Returns the present parameters.
    place : callable
        Puts descriptors where they are matched: onto a GPU.

    Attributes
    ----------
    name : str
        Of the first camera.
    keypoint_topics : list of str
        Full names, after remapping.
    statistics : StreamStatistics
        Of the keypoint messages of the first camera; what is malformed or fails, of both.
    last_match : FrameMatch or None
        The newest result.
    """

    def __init__(
        self,
        node: LifecycleNode,
        cameras: tuple[str, ...],
        outputs: tuple[str, str],
        parameters: Callable[[], MatcherParameters],
        place: Callable[[npt.NDArray[Any]], Any],
    ) -> None:
        self.name = cameras[0]
        self.statistics = StreamStatistics()
        self.last_match: FrameMatch | None = None
        self._node = node
        self._parameters = parameters
        self._place = place
        self._warn = RareWarnings(node)
        self._topics = [f"{camera}/keypoints" for camera in cameras]
        self.keypoint_topics = [node.resolve_topic_name(topic) for topic in self._topics]
        self._subscriptions: list[Any] = []
        self._sizes: list[tuple[int, int] | None] = [None] * len(cameras)
        self._calibrations: list[Calibration] = []
        matches, overlay = outputs
        present = parameters()
        with ExitStack() as taken:  # given back if one of them cannot be made
            self._matches = advertise(node, KeypointMatches, matches, 5, taken)
            self._overlay = advertise(node, Image, overlay, 1, taken)
            self._background = Background(node, cameras[0], present.image_transport) if present.overlay_images else None
            for camera in cameras if present.estimate == "essential" else ():
                topic = node.resolve_topic_name(f"{camera}/image_raw")
                self._calibrations.append(Calibration(node, topic, lambda size: None))
                taken.callback(self._calibrations[-1].destroy)
            self._taken = taken.pop_all()

    def subscribe(self) -> None:
        """Start to receive keypoints."""
        self.statistics.resume()
        for side, topic in enumerate(self._topics):
            with naming_overrides(self.keypoint_topics[side], "subscription"):
                subscription = self._node.create_subscription(
                    KeypointArray,
                    topic,
                    partial(self._receive, side),
                    QoSProfile(depth=_DEPTH),
                    qos_overriding_options=overridable(),
                )
            self._subscriptions.append(subscription)

    def unsubscribe(self) -> None:
        """Stop to receive, and forget the frames received."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        if self._background is not None:
            self._background.watch(False)
        self.reset()

    def destroy(self) -> None:
        """Give back everything taken from the node."""
        self.unsubscribe()
        self._taken.close()

    def follow_watchers(self) -> None:
        """Receive keypoints while their matches are wanted, and images while somebody looks at the overlay.

        To be called every now and then. Who detects keypoints has nothing to do either while nobody receives them.
        """
        is_wanted = (
            self._parameters().process_without_subscribers
            or self._matches.get_subscription_count() > 0
            or self._overlay_is_watched
        )
        if is_wanted and self.is_idle:
            self.subscribe()
        elif not is_wanted and not self.is_idle:
            self.unsubscribe()
        if self._background is not None:
            self._background.watch(self._overlay_is_watched)

    @property
    def is_idle(self) -> bool:
        """Whether no keypoints are received."""
        return not self._subscriptions

    @property
    def calibration_problem(self) -> str:
        """Why an essential matrix cannot be estimated; empty if nothing speaks against it."""
        problems = [each.problem(size) for each, size in zip(self._calibrations, self._sizes)]
        return "; ".join(filter(None, problems))

    @property
    def unpaired(self) -> int | None:
        """Frames of a stereo pair that stayed alone; None for a single camera."""
        return None

    @abstractmethod
    def reset(self) -> None:
        """Forget the frames received."""

    @abstractmethod
    def _process(self, side: int, frame: Frame) -> None:
        """Take a frame of one camera."""

    def _receive(self, side: int, message: KeypointArray) -> None:
        arrival = time.monotonic()
        if side == 0:
            self._count_arrival(message.header)
        try:
            check_size(message.width, message.height)  # because overlays are as large
            content = from_message(message)
        except ValueError as error:
            self.statistics.count("malformed")
            self._warn(f"message on {self.keypoint_topics[side]} dropped: {error}")
            return
        try:
            self._process(side, self._frame(side, message.header, content, arrival))
        except KeypointsError as error:
            self._fail(str(error))
        except Exception as error:  # whatever a message contains and whatever a GPU lacks, the node goes on
            self.reset()
            self._fail(f"message on {self.keypoint_topics[side]} failed: {type(error).__name__}: {error}")

    def _frame(self, side: int, header: Header, content: Keypoints, arrival: float) -> Frame:
        if len(content.keypoints) > 0 and content.descriptors.shape[1] == 0:
            raise KeypointsError(
                f"keypoints on {self.keypoint_topics[side]} carry no descriptors, nothing can be matched: set the "
                "parameter publish_descriptors of the detector"
            )
        self._sizes[side] = content.image_size
        camera = self._calibrations[side].model_for(content.image_size) if self._calibrations else None
        view = View(content.keypoints, self._place(content.descriptors), content.model, camera)
        return Frame(header, content.image_size, view, arrival)

    def _match(self, first: Frame, second: Frame, motion: npt.NDArray[np.float64] | None) -> FrameMatch | None:
        """Match two frames and publish the result; None, after a warning, if they cannot be matched."""
        started = time.monotonic()
        options = self._parameters().match_options()
        try:
            result = match_views(first.view, second.view, options, motion)
        except ValueError as error:
            self._fail(f"{' and '.join(self.keypoint_topics)}: {error}")
            return None
        matched = time.monotonic()
        message = to_message(
            second.header,
            first.header,
            first.view.keypoints,
            second.view.keypoints,
            result.matches,
            second.view.model,
            result.kind,
            result.matrix,
            result.inliers if result.kind != "none" else None,
        )
        self._matches.publish(message)
        published = time.monotonic()
        self.last_match = result
        self.statistics.count("processed")
        self.statistics.took(
            {
                "queue wait": started - second.arrival,
                "matching": matched - started,
                "publishing": published - matched,
                "reception to publication": published - second.arrival,
            }
        )
        return result

    def _show(self, frame: Frame, trails: Trails, result: FrameMatch) -> None:
        """Publish the overlay, if anybody looks."""
        if not self._overlay_is_watched:
            return
        width, height = frame.size
        black = np.zeros((height, width), np.uint8)
        image = self._background.at(frame.header, frame.size) if self._background is not None else black
        text = f"{len(result.matches)} matches"
        if result.kind != "none":
            text += f", {int(result.inliers.sum())} inliers"
        self._overlay.publish(image_message(frame.header, draw_trails(image, trails, text), "rgb8"))

    @property
    def _overlay_is_watched(self) -> bool:
        return bool(self._overlay.get_subscription_count() > 0)

    def _count_arrival(self, header: Header) -> None:
        self.statistics.received(seconds(header), now=self._node.get_clock().now().nanoseconds * 1e-9)

    def _fail(self, reason: str) -> None:
        self.statistics.failed(reason)
        self._warn(reason)

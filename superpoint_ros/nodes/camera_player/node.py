"""A camera without a camera: publishes a video, images, a V4L2 device, a bag or a simulation as image topics."""

from __future__ import annotations

import signal
import sys
import threading
import time
from dataclasses import dataclass

import rclpy
from rclpy.duration import Duration
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from ..parameters.declaration import declare
from .parameters import CameraPlayerParameters
from .publishers import CameraPublisher, GroundTruthPublisher
from .sources import Frame, silence_opencv

LARGEST_LAG = 0.1
"""Seconds that a source may fall behind and still catch up."""

PATIENCE = 2.0
"""Seconds that the end waits for subscribers that have not acknowledged everything."""


@dataclass
class Schedule:
    """When frames are due, in seconds of the monotonic clock.

    Frames of a camera arrive when they are due. A source that falls behind is played later from there on, because a
    camera does not catch up in a burst either.
    """

    start: float

    def due(self, offset: float, now: float) -> float:
        """Return when the frame with this offset is due; `now` is when it became available."""
        if now - (self.start + offset) > LARGEST_LAG:
            self.start = now - offset
        return self.start + offset


class CameraPlayer:
    """Publishes the frames of a source in time, until they end or `stop` is set."""

    def __init__(self, node: Node, parameters: CameraPlayerParameters, stop: threading.Event) -> None:
        self._stop = stop
        self._parameters = parameters
        self._logger = node.get_logger()
        self._clock = node.get_clock()
        names = ("left", "right") if parameters.stereo else (parameters.camera_name,)
        self._publishers = [CameraPublisher(node, parameters, name) for name in names]
        self._ground_truth: GroundTruthPublisher | None = None
        self._node = node
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)

    def run(self) -> int:
        """Play, and return the number of frames published.

        Raises
        ------
        SourceError
            If the source or the calibration cannot be read.
        """
        source = self._parameters.open()
        frames = self._parameters.frames(source)
        schedule = Schedule(time.monotonic())
        frame = next(frames, None)  # read before waiting, so that a bad source fails at once
        self._logger.info(f"playing {source.title()}")
        if frame is not None and frame.pose is not None:
            self._ground_truth = GroundTruthPublisher(self._node, self._parameters.ground_truth_frame)
        self._wait_for_subscribers()
        count = 0
        while frame is not None and not self._stop.is_set():
            self._publish(frame)
            count += 1
            frame = next(frames, None)
            if frame is not None:
                self._spin_until(schedule.due(frame.offset, time.monotonic()))
        self._wait_for_acknowledgements()
        return count

    def _wait_for_acknowledgements(self) -> None:
        """Wait a little for subscribers: what a reliable publisher still holds back would be lost with the node."""
        deadline = time.monotonic() + PATIENCE
        for publisher in self._node.publishers:
            if not self._stop.is_set():
                publisher.wait_for_all_acked(Duration(seconds=max(deadline - time.monotonic(), 0.0)))

    def _publish(self, frame: Frame) -> None:
        """Publish everything that belongs to one moment with one stamp, the true pose first."""
        stamp = self._clock.now().to_msg()
        if self._ground_truth is not None and frame.pose is not None:
            self._ground_truth.publish(frame.pose, stamp)
        for camera, seen in zip(self._publishers, (frame, frame.right)):
            if seen is not None:
                camera.publish(seen, stamp)

    def _wait_for_subscribers(self) -> None:
        cameras, wanted = self._publishers, self._parameters.wait_for_subscribers
        while min(c.images.get_subscription_count() for c in cameras) < wanted and not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.02)

    def _spin_until(self, due: float) -> None:
        """Serve the node until `due` on the monotonic clock, at least once, but wake up when the node is stopped."""
        remaining = due - time.monotonic()
        self._executor.spin_once(timeout_sec=min(max(remaining, 0.0), 0.1))
        while not self._stop.is_set() and (remaining := due - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(remaining, 0.1))


def main() -> int:
    """Run the node; returns the exit code."""
    silence_opencv()  # the node itself says what cannot be read
    stop = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: stop.set())
    try:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = Node("camera_player")
    except (ValueError, RuntimeError, OSError) as error:  # arguments that ROS cannot read
        print(f"camera_player: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    try:
        parameters = declare(node, CameraPlayerParameters, read_only=True)
        count = CameraPlayer(node, parameters, stop).run()
        node.get_logger().info(f"published {count} frames of {parameters.source}")
        return 0
    except (ValueError, NameValidationException) as error:  # a bad parameter, a bad source, a name that is too long
        node.get_logger().fatal(" ".join(str(error).split()))
        return 1
    finally:
        node.destroy_node()
        rclpy.shutdown()


if __name__ == "__main__":
    sys.exit(main())

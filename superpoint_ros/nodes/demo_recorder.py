"""What came out of the detector in a demo: subscribed to, counted, summarised."""

from __future__ import annotations

import time
from typing import Any

import cv2
import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import Image

from superpoint_ros import images
from superpoint_ros.msg import KeypointArray

_QUIET_TIME = 1.0
"""Seconds without keypoints after which the last image counts as processed."""
_OVERLAYS = 15
"""Overlays received before unsubscribing; drawing them costs the detector time."""


class Recorder:
    """Subscribes to everything the detector publishes and keeps what the summary needs.

    Attributes
    ----------
    arrivals : list of float
        When keypoints arrived, in seconds of the monotonic clock.
    latencies : list of float
        Milliseconds from the stamp of the image to the arrival of its keypoints.
    counts : list of int
        Keypoints per message.
    newest : KeypointArray or None
        The last one received.
    overlay : sensor_msgs.msg.Image or None
        The last one received.
    model : dict
        What the detector says about its model on /diagnostics.
    failure : str
        What it says is wrong with it; empty if nothing.
    """

    def __init__(self, node: Node, namespace: str) -> None:
        self.arrivals: list[float] = []
        self.latencies: list[float] = []
        self.counts: list[int] = []
        self.newest: KeypointArray | None = None
        self.overlay: Image | None = None
        self.model: dict[str, str] = {}
        self.failure = ""
        self._node = node
        self._status_name = f"{namespace.lstrip('/')}/detector: model"
        self._overlays = 0
        self._keypoints = node.create_subscription(
            KeypointArray, f"{namespace}/camera/keypoints", self._on_keypoints, 100
        )
        self._drawings = node.create_subscription(Image, f"{namespace}/camera/keypoints_image", self._on_overlay, 1)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def is_connected(self) -> bool:
        """Whether the detector publishes."""
        return all(topic.get_publisher_count() > 0 for topic in (self._keypoints, self._drawings))

    def has_keypoints(self) -> bool:
        """Whether any keypoints arrived."""
        return bool(self.arrivals)

    def is_complete(self) -> bool:
        """Whether nothing more is to be expected from a detector that gets no more images."""
        return bool(self.model) and time.monotonic() - self.arrivals[-1] > _QUIET_TIME

    def rate(self) -> float:
        """Keypoint messages per second; 0 with less than two."""
        if len(self.arrivals) < 2:
            return 0.0
        return (len(self.arrivals) - 1) / (self.arrivals[-1] - self.arrivals[0])

    def summary(self) -> dict[str, Any]:
        """Return what summary.json says about keypoints and model; to be asked once there are any."""
        assert self.newest is not None, "there are keypoints"
        p50, p95, p99 = (round(float(value), 2) for value in np.percentile(self.latencies, (50, 95, 99)))
        return {
            "image_size": [self.newest.width, self.newest.height],
            "frames_processed": len(self.arrivals),
            "keypoints_mean": round(float(np.mean(self.counts)), 1),
            "rate_hz": round(self.rate(), 2),
            "latency_ms": {"p50": p50, "p95": p95, "p99": p99},
            "device": self.model.get("device", "unknown"),
            "backend": self.model.get("backend", "unknown"),
            "precision": self.model.get("precision", "unknown"),
            "model": self.newest.model,
        }

    def overlay_png(self) -> bytes:
        """Return the last overlay as the content of a PNG file; to be asked once there is one."""
        assert self.overlay is not None, "there is an overlay"
        image = cv2.cvtColor(images.to_array(self.overlay), cv2.COLOR_RGB2BGR)
        return cv2.imencode(".png", image)[1].tobytes()

    def _on_keypoints(self, message: KeypointArray) -> None:
        age = self._node.get_clock().now() - Time.from_msg(message.header.stamp)
        self.arrivals.append(time.monotonic())
        self.latencies.append(age.nanoseconds * 1e-6)
        self.counts.append(len(message.x))
        self.newest = message

    def _on_overlay(self, message: Image) -> None:
        self.overlay = message
        self._overlays += 1
        if self._overlays == _OVERLAYS:
            self._node.destroy_subscription(self._drawings)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == self._status_name:
                self.failure = status.message if status.level == DiagnosticStatus.ERROR else ""
                self.model = {item.key: item.value for item in status.values}

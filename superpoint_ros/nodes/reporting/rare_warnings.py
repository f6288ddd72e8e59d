"""Warnings that do not fill the log when their cause lasts."""

from __future__ import annotations

import time

from rclpy.node import Node

_PERIOD = 5.0  # seconds between two


class RareWarnings:
    """Logs a warning when called, unless it did so just now; each camera or stream has its own.

    (rclpy's ``throttle_duration_sec`` counts per line of code, so that one camera would silence the others.)

    Parameters
    ----------
    node : rclpy.node.Node
        Logs.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._last = -_PERIOD

    def __call__(self, text: str) -> None:
        """Warn."""
        now = time.monotonic()
        if now - self._last >= _PERIOD:
            self._last = now
            self._node.get_logger().warning(text)

"""Stamps of headers as numbers. rclpy's Time would refuse negative ones. No ROS in here."""

from __future__ import annotations

from typing import Any


def nanoseconds(header: Any) -> int:
    """Return the stamp of a std_msgs/Header."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def seconds(header: Any) -> float:
    """Return the stamp of a std_msgs/Header; today's are exact to a microsecond."""
    return nanoseconds(header) * 1e-9

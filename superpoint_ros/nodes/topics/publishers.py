"""Publishers of lifecycle nodes."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import QoSProfile

from .qos import naming_overrides, overridable


def advertise(
    node: LifecycleNode, message_type: type, topic: str, depth: int, taken: ExitStack
) -> LifecyclePublisher[Any]:
    """Return a publisher whose quality of service parameters override.

    Parameters
    ----------
    node : rclpy.lifecycle.LifecycleNode
        Owns the publisher.
    message_type : type
    topic : str
        May be relative; remappings apply.
    depth : int
        Messages the middleware keeps.
    taken : contextlib.ExitStack
        Destroys the publisher when it is closed.

    Raises
    ------
    ValueError
        If an override parameter has a value that its policy does not know.
    """
    publisher: LifecyclePublisher[Any]
    with naming_overrides(node.resolve_topic_name(topic), "publisher"):
        publisher = node.create_lifecycle_publisher(
            message_type, topic, QoSProfile(depth=depth), qos_overriding_options=overridable()
        )
    taken.callback(node.destroy_lifecycle_publisher, publisher)
    return publisher

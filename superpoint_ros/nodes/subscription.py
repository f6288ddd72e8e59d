"""An image subscription that adopts the quality of service its publishers offer.

A best-effort publisher never reaches a reliable subscriber, and a best-effort subscriber loses most large images of a
reliable publisher. Neither is known when the node starts, and publishers come and go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

ImageMessage = TypeVar("ImageMessage", Image, CompressedImage)


def adopted_qos(offers: Sequence[QoSProfile], depth: int) -> QoSProfile:
    """Return the strongest quality of service that every one of the publishers' offers satisfies.

    Parameters
    ----------
    offers : sequence of QoSProfile
        Of the topic's publishers; with none, what a publisher has by default: reliable, volatile.
    depth : int
        Messages to keep.
    """
    reliable = all(offer.reliability != ReliabilityPolicy.BEST_EFFORT for offer in offers)
    latched = len(offers) > 0 and all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
    return QoSProfile(
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


class AdoptingSubscription(Generic[ImageMessage]):
    """Subscribes at once and again whenever `adopt` finds that the publishers offer something else.

    Parameters
    ----------
    node : rclpy.node.Node
        Subscribes and logs.
    message_type : type
        Image or CompressedImage.
    topic : str
        May be relative; remappings apply.
    callback : callable
        Takes a message.
    depth : int
        Messages the middleware keeps while the executor is busy.

    Attributes
    ----------
    mismatch : str
        Why nothing can arrive although somebody publishes; empty if nothing speaks against it.
    """

    def __init__(
        self,
        node: Node,
        message_type: type[ImageMessage],
        topic: str,
        callback: Callable[[ImageMessage], None],
        depth: int,
    ) -> None:
        self._node = node
        self._message_type = message_type
        self._topic = topic
        self._full_topic = node.resolve_topic_name(topic)
        self._callback = callback
        self._depth = depth
        self._followed = ""
        self.mismatch = ""
        self._subscribe(adopted_qos((), depth))

    def adopt(self) -> None:
        """Look at the publishers and follow them; to be called every now and then."""
        infos = self._node.get_publishers_info_by_topic(self._topic)
        offers = [info.qos_profile for info in infos if info.topic_type == self._type_name]
        self.mismatch = ""
        if offers:
            self._follow(offers)
        elif infos:
            others = ", ".join(sorted({info.topic_type for info in infos}))
            self.mismatch = (
                f"{self._full_topic} carries {others} but {self._type_name} is expected: check image_transport"
            )

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _follow(self, offers: Sequence[QoSProfile]) -> None:
        qos = adopted_qos(offers, self._depth)
        if _policies(qos) != _policies(self._qos):
            self.destroy()
            self._subscribe(qos)
        offered = "; ".join(sorted({_policies(offer) for offer in offers}))
        if offered != self._followed:
            self._followed = offered
            self._node.get_logger().info(f"subscribed to {self._full_topic} as {_policies(qos)} (offered: {offered})")

    def _subscribe(self, qos: QoSProfile) -> None:
        self._qos = qos
        # The default callbacks would warn of an incompatible publisher that `adopt` is about to follow.
        silent = SubscriptionEventCallbacks(use_default_callbacks=False)
        self._subscription = self._node.create_subscription(
            self._message_type, self._topic, self._callback, qos, event_callbacks=silent
        )

    @property
    def _type_name(self) -> str:
        return f"sensor_msgs/msg/{self._message_type.__name__}"


def _policies(qos: QoSProfile) -> str:
    return f"{qos.reliability.name.lower().replace('_', ' ')}, {qos.durability.name.lower().replace('_', ' ')}"

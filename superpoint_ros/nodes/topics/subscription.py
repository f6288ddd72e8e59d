"""A subscription that adopts the quality of service its publishers offer, which come and go."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from . import qos

Message = TypeVar("Message", Image, CompressedImage, CameraInfo)


class AdoptingSubscription(Generic[Message]):
    """Subscribes at once and again whenever `adopt` finds that the publishers offer something else.

    Parameters ``qos_overrides.<topic>.subscription.<policy>`` of the node win over what is offered.

    Parameters
    ----------
    node : rclpy.node.Node
        Subscribes and logs.
    message_type : type
        Image, CompressedImage or CameraInfo.
    topic : str
        May be relative; remappings apply.
    callback : callable
        Takes a message.
    depth : int
        Messages the middleware keeps while the executor is busy.
    history : HistoryPolicy
        Keep all: it keeps as many as its own limits allow, whatever the depth.

    Attributes
    ----------
    mismatch : str
        Why nothing can arrive although somebody publishes, and what to change; empty if nothing speaks against it.

    Raises
    ------
    ValueError
        If an override parameter has a value that its policy does not know.
    """

    def __init__(
        self,
        node: Node,
        message_type: type[Message],
        topic: str,
        callback: Callable[[Message], None],
        depth: int,
        history: HistoryPolicy = HistoryPolicy.KEEP_LAST,
    ) -> None:
        self._node = node
        self._message_type = message_type
        self._topic = topic
        self._full_topic = node.resolve_topic_name(topic)
        self._callback = callback
        self._depth = depth
        self._history = history
        self._followed = ""
        self.mismatch = ""
        self._subscribe(())

    def adopt(self) -> None:
        """Look at the publishers and follow them; to be called every now and then."""
        infos = self._node.get_publishers_info_by_topic(self._topic)
        offers = [info.qos_profile for info in infos if info.topic_type == self._type_name]
        self.mismatch = ""
        if offers:
            self._follow(offers)
            self.mismatch = self._mismatch_with(offers)
        elif infos:
            others = ", ".join(sorted({info.topic_type for info in infos}))
            self.mismatch = (
                f"{self._full_topic} carries {others} but {self._type_name} is expected: check image_transport"
            )

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _follow(self, offers: Sequence[QoSProfile]) -> None:
        if qos.adopted(self._requested, offers) != (self._qos.reliability, self._qos.durability):
            self.destroy()
            self._subscribe(offers)
        offered = "; ".join(sorted({qos.in_words(offer) for offer in offers}))
        if offered != self._followed:
            self._followed = offered
            self._node.get_logger().info(
                f"subscribed to {self._full_topic} as {qos.in_words(self._qos)} (offered: {offered})"
            )

    def _mismatch_with(self, offers: Sequence[QoSProfile]) -> str:
        unmet = [qos.unmet(self._qos, offer) for offer in offers]
        if not all(unmet):
            return ""
        policy = unmet[0][0]
        asked, offered = (getattr(profile, policy).name.lower() for profile in (self._qos, offers[0]))
        return (
            f"nothing can arrive on {self._full_topic}: its publishers offer {policy} {offered}, and the parameter "
            f"qos_overrides.{self._full_topic}.subscription.{policy} asks for {asked}; remove that parameter or change "
            "the publisher"
        )

    def _subscribe(self, offers: Sequence[QoSProfile]) -> None:
        def adopt(profile: QoSProfile) -> None:
            self._requested = copy.copy(profile)
            profile.reliability, profile.durability = qos.adopted(profile, offers)
            self._qos = profile

        # The default callbacks would warn of an incompatible publisher that `adopt` is about to follow.
        silent = SubscriptionEventCallbacks(use_default_callbacks=False)
        with qos.naming_overrides(self._full_topic, "subscription"):
            self._subscription = self._node.create_subscription(
                self._message_type,
                self._topic,
                self._callback,
                qos.adopting(self._depth, self._history),
                event_callbacks=silent,
                qos_overriding_options=qos.overridable(adopt),
            )

    @property
    def _type_name(self) -> str:
        return f"sensor_msgs/msg/{self._message_type.__name__}"

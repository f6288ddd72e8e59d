"""Quality of service: what to ask of publishers, and the standard parameters that override it.

A best-effort publisher never reaches a reliable subscriber, and a best-effort subscriber loses most large images of a
reliable publisher. So subscriptions ask for what is offered, except where a parameter
``qos_overrides.<topic>.subscription.<policy>`` says what to ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from rcl_interfaces.msg import SetParametersResult
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

_POLICIES = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)


def overridable(look: Callable[[QoSProfile], None] = lambda qos: None) -> QoSOverridingOptions:
    """Return options that let parameters override history, depth, reliability and durability of a topic.

    Parameters
    ----------
    look : callable
        Takes the profile with the overrides applied, just before it is used, and may change it.
    """

    def callback(qos: QoSProfile) -> SetParametersResult:
        look(qos)
        return SetParametersResult(successful=True)

    return QoSOverridingOptions(_POLICIES, callback=callback)


@contextmanager
def naming_overrides(topic: str, side: Literal["publisher", "subscription"]) -> Iterator[None]:
    """Raise a ``ValueError`` that names the override parameters where rclpy refuses one; `topic` is a full name."""
    try:
        yield
    except RuntimeError as error:  # which names the policy and the value
        raise ValueError(f"parameter qos_overrides.{topic}.{side}: {error}") from error


def adopting(depth: int, history: HistoryPolicy = HistoryPolicy.KEEP_LAST) -> QoSProfile:
    """Return a profile that leaves reliability and durability open; parameters show them as ``best_available``."""
    return QoSProfile(
        depth=depth,
        history=history,
        reliability=ReliabilityPolicy.BEST_AVAILABLE,
        durability=DurabilityPolicy.BEST_AVAILABLE,
    )


def adopted(requested: QoSProfile, offers: Sequence[QoSProfile]) -> tuple[ReliabilityPolicy, DurabilityPolicy]:
    """Return the strongest reliability and durability that every one of the publishers' offers satisfies.

    Parameters
    ----------
    requested : QoSProfile
        What is not left open in it stays as it is.
    offers : sequence of QoSProfile
        Of the topic's publishers; with none, what a publisher has by default: reliable, volatile.
    """
    reliability, durability = requested.reliability, requested.durability
    if reliability == ReliabilityPolicy.BEST_AVAILABLE:
        reliable = all(offer.reliability != ReliabilityPolicy.BEST_EFFORT for offer in offers)
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    if durability == DurabilityPolicy.BEST_AVAILABLE:
        latched = len(offers) > 0 and all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
    return reliability, durability


def unmet(requested: QoSProfile, offer: QoSProfile) -> list[str]:
    """Return the names of the policies in which `requested` asks for more than `offer` promises."""
    names = []
    if (requested.reliability, offer.reliability) == (ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT):
        names.append("reliability")
    if (requested.durability, offer.durability) == (DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE):
        names.append("durability")
    return names


def in_words(qos: QoSProfile) -> str:
    """Return reliability and durability, such as "best effort, volatile"."""
    return f"{qos.reliability.name.lower().replace('_', ' ')}, {qos.durability.name.lower().replace('_', ' ')}"

"""Messages of two topics put together by their stamps, with a count of those that stay alone. No ROS in here."""

from __future__ import annotations

from typing import Generic, TypeVar

Item = TypeVar("Item")

_CAPACITY = 20  # items that wait for a partner, per side


class Pairing(Generic[Item]):
    """Pairs left with right items.

    An item goes with the waiting item of the other side whose stamp is nearest. What is older than a pair, or waits
    for too long, stays alone.

    Parameters
    ----------
    slop : int
        Greatest difference of the stamps, in nanoseconds.

    Attributes
    ----------
    unpaired : int
        Items that stayed alone.
    """

    def __init__(self, slop: int) -> None:
        self._slop = slop
        self._waiting: tuple[dict[int, Item], dict[int, Item]] = ({}, {})  # by stamp, oldest first
        self._newest: list[int | None] = [None, None]
        self.unpaired = 0

    def add(self, side: int, stamp: int, item: Item) -> tuple[Item, Item] | None:
        """Add an item of side 0 (left) or 1 (right), and return a pair (left, right) if it completes one.

        A stamp before the last of its side is the start of a new recording: what waits is given up.
        """
        own, others = self._waiting[side], self._waiting[1 - side]
        newest = self._newest[side]
        if newest is not None and stamp < newest:
            self.clear()
        self._newest[side] = stamp
        partner = min(others, key=lambda other: abs(other - stamp), default=None)
        if partner is None or abs(partner - stamp) > self._slop:
            own[stamp] = item
            if len(own) > _CAPACITY:
                self._give_up(own, min(own))
            return None
        found = others.pop(partner)
        self._give_up(own, stamp)
        self._give_up(others, partner)
        return (item, found) if side == 0 else (found, item)

    def clear(self) -> None:
        """Give up all that waits."""
        for waiting in self._waiting:
            self.unpaired += len(waiting)
            waiting.clear()
        self._newest = [None, None]

    def _give_up(self, waiting: dict[int, Item], until: int) -> None:
        for stamp in [stamp for stamp in waiting if stamp <= until]:
            del waiting[stamp]
            self.unpaired += 1

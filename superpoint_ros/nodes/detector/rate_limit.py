"""Thinning out a stream to a rate. No ROS in here."""

from __future__ import annotations

_SLACK = 0.5
"""Part of a period that an item may come early, so that jitter does not cost a stream of just the right rate."""


class RateLimiter:
    """Lets so many items per second through, evenly, on average never more."""

    def __init__(self) -> None:
        self._due = float("-inf")

    def lets_pass(self, now: float, rate: float) -> bool:
        """Tell whether an item that comes `now`, in steady seconds, belongs to `rate` items per second (0: all do)."""
        if rate == 0:
            return True
        period = 1.0 / rate
        self._due = min(self._due, now + (1 + _SLACK) * period)  # in case the rate was lower before
        if now < self._due - _SLACK * period:
            return False
        is_late = now > self._due + period
        self._due = (now if is_late else self._due) + period
        return True

"""Thinning out streams to a rate that they share. No ROS in here."""

from __future__ import annotations

from collections.abc import Iterable

_CAPACITY = 2.0
"""Tokens in a full bucket: less than one while an item is refused, and up to one more until the next item comes."""
_STEP = 0.01
"""Seconds in which no token comes free, so that both images of a stereo pair pass, or none."""


class RateLimiter:
    """Lets so many items per second through, evenly, on average never more.

    One token bucket per stream, filled equally; what a full one does not take goes to the others. So the shares are
    fair in the max-min sense: no stream starves, and what a slow one leaves is not lost while another wants it.

    Parameters
    ----------
    streams : iterable of str
        All that share the rate.
    """

    def __init__(self, streams: Iterable[str]) -> None:
        self._tokens = dict.fromkeys(streams, _CAPACITY)
        self._filled_at = float("-inf")

    def lets_pass(self, stream: str, now: float, rate: float) -> bool:
        """Tell whether an item that comes `now`, in steady seconds, belongs to `rate` items per second (0: all do)."""
        if rate == 0:
            return True
        if now - self._filled_at >= _STEP:
            self._fill((now - self._filled_at) * rate)
            self._filled_at = now
        if self._tokens[stream] < 1:
            return False
        self._tokens[stream] -= 1
        return True

    def _fill(self, amount: float) -> None:
        """Deal out so many tokens, beginning with the fullest bucket: its remainder is for the others."""
        fullest_first = sorted(self._tokens, key=self._tokens.__getitem__, reverse=True)
        for served, stream in enumerate(fullest_first):
            share = min(_CAPACITY - self._tokens[stream], amount / (len(fullest_first) - served))
            self._tokens[stream] += share
            amount -= share

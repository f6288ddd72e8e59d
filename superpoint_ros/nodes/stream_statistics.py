"""What a camera's stream did: counts, rates, latencies and gaps between stamps. No ROS in here."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import numpy as np

Event = Literal["received", "processed", "overload", "malformed", "failed", "unwatched", "discarded", "missing"]
"""overload: dropped for a newer image; malformed: no valid image; failed: the model raised an error; unwatched: nobody
subscribed to the result; discarded: the node was deactivated before its turn; missing: never arrived, seen as a gap
between stamps. Every image received ends as exactly one of processed, overload, malformed, failed, unwatched and
discarded, once it neither waits nor is under way."""
Stage = Literal["age at reception", "queue wait", "conversion", "inference", "publishing", "reception to publication"]

_RECENT = 300  # samples per stage that percentiles are taken of
_INTERVALS = 31  # intervals between stamps that the usual one is taken of
_PAUSE = 2.0  # seconds; a longer gap is a camera that paused, not a lossy transport


class Percentiles(NamedTuple):
    """Of durations in milliseconds."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class Snapshot:
    """State of a stream at one moment.

    Attributes
    ----------
    totals : dict
        Number of events since the start.
    recent : dict
        Number of events since the previous snapshot.
    period : float
        Seconds since the previous snapshot.
    latencies : dict
        Percentiles by stage, of recent images.
    silence : float or None
        Seconds since the last image; None if there was none.
    """

    totals: dict[Event, int]
    recent: dict[Event, int]
    period: float
    latencies: dict[Stage, Percentiles]
    silence: float | None


@dataclass
class StreamStatistics:
    """Collects from any thread.

    Parameters
    ----------
    clock : callable
        Gives steady seconds.
    """

    clock: Callable[[], float] = time.monotonic
    _totals: Counter[Event] = field(default_factory=Counter, init=False)
    _durations: dict[Stage, deque[float]] = field(init=False)
    _gaps: StampGaps = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _last_image: float | None = field(default=None, init=False)
    _last_snapshot: float = field(init=False)
    _reported: Counter[Event] = field(default_factory=Counter, init=False)

    def __post_init__(self) -> None:
        self._durations = {stage: deque(maxlen=_RECENT) for stage in get_args(Stage)}
        self._gaps = StampGaps()
        self._last_snapshot = self.clock()

    def received(self, stamp: float, age: float) -> None:
        """Record an image with its stamp and its age on arrival, both in seconds."""
        with self._lock:
            self._last_image = self.clock()
            self._totals["received"] += 1
            self._totals["missing"] += self._gaps.missing_before(stamp)
            self._durations["age at reception"].append(age)

    def count(self, event: Event) -> None:
        """Record what became of an image."""
        with self._lock:
            self._totals[event] += 1

    def took(self, durations: dict[Stage, float]) -> None:
        """Record how long the stages of one image took, in seconds."""
        with self._lock:
            for stage, seconds in durations.items():
                self._durations[stage].append(seconds)

    def snapshot(self) -> Snapshot:
        """Return the state and start the next period."""
        with self._lock:
            now = self.clock()
            period, self._last_snapshot = now - self._last_snapshot, now
            totals = {event: self._totals[event] for event in get_args(Event)}
            recent = {event: count - self._reported[event] for event, count in totals.items()}
            self._reported = Counter(totals)
            latencies = {stage: _percentiles(values) for stage, values in self._durations.items() if values}
            silence = None if self._last_image is None else now - self._last_image
            return Snapshot(totals, recent, period, latencies, silence)


class StampGaps:
    """Counts images that never arrived, for a camera of steady rate, from the stamps of those that did."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)

    def missing_before(self, stamp: float) -> int:
        """Return how many images are missing between the previous stamp and this one, both in seconds."""
        interval = None if self._last is None else stamp - self._last
        self._last = stamp
        if interval is None:
            return 0
        if not 0.0 < interval < _PAUSE:  # a paused camera, or a bag that started again
            self._intervals.clear()
            return 0
        self._intervals.append(interval)
        if len(self._intervals) < _INTERVALS // 4:
            return 0
        return max(0, round(interval / statistics.median(self._intervals)) - 1)


def _percentiles(seconds: deque[float]) -> Percentiles:
    return Percentiles(*(float(value) for value in np.percentile(np.array(seconds) * 1e3, (50, 95, 99))))

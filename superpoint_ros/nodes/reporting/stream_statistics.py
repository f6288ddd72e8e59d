"""What a camera's stream did: counts, rates, latencies and gaps between stamps. No ROS in here."""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import numpy as np

Event = Literal[
    "received", "processed", "overload", "rate limit", "malformed", "failed", "unwatched", "discarded", "missing"
]
"""overload: dropped for a newer image; rate limit: more than max_rate; malformed: no valid image; failed: could not be
processed; unwatched: nobody subscribed to the result; discarded: the node was deactivated before its turn; missing:
never arrived, seen as a gap between stamps. Every image received ends as exactly one of the others, once it neither
waits nor is under way."""
Stage = Literal[
    "age at reception",
    "queue wait",
    "conversion",
    "inference",
    "decoding",
    "matching",
    "odometry",
    "publishing",
    "reception to publication",
]

_RECENT = 300  # samples per stage that percentiles are taken of
_RATE_WINDOW = 5  # snapshots that rates are taken over
_INTERVALS = 31  # intervals between stamps that the usual one is taken of
_PAUSE = 2.0  # seconds; a longer gap is a camera that paused, not a lossy transport
_LARGEST_AGE = 3600.0  # seconds; beyond it, stamps and clock have nothing to do with each other


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
    rates : dict
        Events per second over the last snapshots.
    period : float
        Seconds that rates were taken over.
    latencies : dict
        Percentiles by stage, of recent images.
    silence : float or None
        Seconds since the last image; None if there was none.
    foreign_stamps : float or None
        Seconds from the stamp of the last image to the node's clock, if that is too much to be an age.
    failure : str
        Why the last image failed that did; empty if none did since the previous snapshot.
    """

    totals: dict[Event, int]
    recent: dict[Event, int]
    rates: dict[Event, float]
    period: float
    latencies: dict[Stage, Percentiles]
    silence: float | None
    foreign_stamps: float | None
    failure: str


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
    _snapshots: deque[tuple[float, dict[Event, int]]] = field(init=False)
    _foreign_stamps: float | None = field(default=None, init=False)
    _failure: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self._durations = {stage: deque(maxlen=_RECENT) for stage in get_args(Stage)}
        self._gaps = StampGaps()
        self._snapshots = deque([(self.clock(), self._counts())], maxlen=_RATE_WINDOW)

    def received(self, stamp: float, now: float) -> None:
        """Record an image with its stamp and the time of the same clock, in seconds; 0 is a clock that does not run."""
        with self._lock:
            self._last_image = self.clock()
            self._totals["received"] += 1
            self._totals["missing"] += self._gaps.missing_before(stamp)
            age = now - stamp
            self._foreign_stamps = age if now != 0 and abs(age) > _LARGEST_AGE else None
            if self._gaps.went_back:  # a bag that started again: its clock goes back a little earlier or later
                self._durations["age at reception"].clear()
            elif now != 0 and self._foreign_stamps is None:
                self._durations["age at reception"].append(age)

    def resume(self) -> None:
        """Let silence, gaps and rates count from now on: until now nothing was wanted."""
        with self._lock:
            self._gaps = StampGaps()
            self._snapshots.clear()
            self._snapshots.append((self.clock(), self._counts()))
            if self._last_image is not None:
                self._last_image = self.clock()

    def clock_jumped(self) -> None:
        """Forget ages: they were taken of a clock that was about to jump."""
        with self._lock:
            self._durations["age at reception"].clear()

    def count(self, event: Event) -> None:
        """Record what became of an image."""
        with self._lock:
            self._totals[event] += 1

    def failed(self, reason: str) -> None:
        """Record an image that failed, and why."""
        with self._lock:
            self._totals["failed"] += 1
            self._failure = reason

    def took(self, durations: Mapping[Stage, float]) -> None:
        """Record how long the stages of one image took, in seconds."""
        with self._lock:
            for stage, seconds in durations.items():
                self._durations[stage].append(seconds)

    def snapshot(self) -> Snapshot:
        """Return the state and start the next period."""
        with self._lock:
            now, totals = self.clock(), self._counts()
            (oldest, before), (_, previous) = self._snapshots[0], self._snapshots[-1]
            self._snapshots.append((now, totals))
            period = max(now - oldest, 1e-9)
            failure, self._failure = self._failure, ""
            return Snapshot(
                totals=totals,
                recent={event: count - previous[event] for event, count in totals.items()},
                rates={event: (count - before[event]) / period for event, count in totals.items()},
                period=period,
                latencies={stage: _percentiles(values) for stage, values in self._durations.items() if values},
                silence=None if self._last_image is None else now - self._last_image,
                foreign_stamps=self._foreign_stamps,
                failure=failure,
            )

    def _counts(self) -> dict[Event, int]:
        return {event: self._totals[event] for event in get_args(Event)}


class StampGaps:
    """Counts images that never arrived, for a camera of steady rate, from the stamps of those that did.

    Attributes
    ----------
    went_back : bool
        Whether the last stamp was older than the one before.
    """

    def __init__(self) -> None:
        self.went_back = False
        self._last: float | None = None
        self._intervals: deque[float] = deque(maxlen=_INTERVALS)

    def missing_before(self, stamp: float) -> int:
        """Return how many images are missing between the previous stamp and this one, both in seconds."""
        interval = None if self._last is None else stamp - self._last
        self._last = stamp
        self.went_back = interval is not None and interval < 0
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

"""Thinning out streams. Needs no ROS."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpoint_ros.nodes.detector.rate_limit import RateLimiter

SECONDS = 100
JITTER = 0.005  # seconds


def passed(stream_rates: list[float], rate: float, phases: tuple[float, ...] = ()) -> list[int]:
    """Return how many items of each stream pass, of streams that come with jitter."""
    random, names = np.random.default_rng(0), [str(index) for index in range(len(stream_rates))]
    limiter, arrivals = RateLimiter(names), []
    for index, (name, own) in enumerate(zip(names, stream_rates)):
        begin = phases[index] if phases else random.uniform(0, 1 / own)
        times = begin + np.arange(SECONDS * own) / own + random.uniform(-JITTER, JITTER, round(SECONDS * own))
        arrivals += [(float(time), name) for time in times]
    counts = dict.fromkeys(names, 0)
    for time, name in sorted(arrivals):
        counts[name] += limiter.lets_pass(name, time, rate)
    return list(counts.values())


@pytest.mark.parametrize("rate", [0.5, 3.0, 10.0, 20.0, 29.0])
def test_lets_the_rate_through_and_not_more(rate: float) -> None:
    (count,) = passed([30.0], rate)
    assert 98 * rate <= count <= 100 * rate + 2


@pytest.mark.parametrize("rate", [0.0, 30.0, 100.0])
def test_lets_all_of_a_slower_stream_through_in_spite_of_jitter(rate: float) -> None:
    assert passed([30.0], rate) == [3000]


def test_a_higher_rate_takes_effect_at_once() -> None:
    limiter = RateLimiter(["camera"])
    assert [limiter.lets_pass("camera", time, 0.001) for time in (0.0, 0.5, 1.0)] == [True, True, False]
    assert sum(limiter.lets_pass("camera", 1.1 + number / 10, 10.0) for number in range(100)) >= 98


@pytest.mark.parametrize(
    ("rates", "limit", "fair"),
    [
        ([10, 15, 25, 40], 20, [5, 5, 5, 5]),
        ([4, 20, 40], 15, [4, 5.5, 5.5]),
        ([1, 2, 30, 60], 20, [1, 2, 8.5, 8.5]),
        ([6, 30], 10, [5, 5]),  # one that comes little more often than its share gets it, too
        ([10, 10, 10], 30, [10, 10, 10]),
        ([3, 3], 20, [3, 3]),
    ],
)
def test_streams_share_fairly_and_what_one_leaves_is_not_lost(
    rates: list[float], limit: float, fair: list[float]
) -> None:
    counts = passed(rates, limit)
    np.testing.assert_allclose(counts, np.multiply(fair, SECONDS), rtol=0.03, atol=2)
    assert sum(counts) <= limit * SECONDS + 2 * len(rates)


def test_images_of_a_stereo_pair_pass_both_or_none() -> None:
    limiter, delays = RateLimiter(["left", "right"]), np.random.default_rng(0).uniform(0, 0.008, 3000)
    passed = [
        (limiter.lets_pass("left", number / 30, 14.6), limiter.lets_pass("right", number / 30 + delay, 14.6))
        for number, delay in enumerate(delays)
    ]
    assert 695 <= passed.count((True, True)) <= 735
    assert not {(True, False), (False, True)} & set(passed)


@given(
    arrivals=st.lists(st.tuples(st.floats(0, 0.5), st.sampled_from("abc")), max_size=200), rate=st.floats(0.01, 1000)
)
def test_never_more_than_the_rate_whatever_comes(arrivals: list[tuple[float, str]], rate: float) -> None:
    limiter, now, count = RateLimiter("abc"), 0.0, 0
    for pause, stream in arrivals:
        now += pause
        count += limiter.lets_pass(stream, now, rate)
        assert count <= now * rate + 3 * 2 + 1e-6

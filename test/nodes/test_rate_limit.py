"""Thinning out streams. Needs no ROS."""

from __future__ import annotations

import numpy as np
import pytest

from superpoint_ros.nodes.detector.rate_limit import RateLimiter


def passed(arrivals: np.ndarray, rate: float) -> int:
    limiter = RateLimiter()
    return sum(limiter.lets_pass(float(arrival), rate) for arrival in arrivals)


@pytest.mark.parametrize("rate", [0.5, 3.0, 10.0, 20.0, 29.0])
def test_lets_the_rate_through_and_not_more(rate: float) -> None:
    jitter = np.random.default_rng(0).uniform(-0.005, 0.005, 3000)
    arrivals = np.arange(3000) / 30 + jitter  # 100 seconds
    assert 98 * rate <= passed(arrivals, rate) <= 100 * rate + 2


@pytest.mark.parametrize("rate", [0.0, 30.0, 100.0])
def test_lets_all_of_a_slower_stream_through_in_spite_of_jitter(rate: float) -> None:
    jitter = np.random.default_rng(0).uniform(-0.005, 0.005, 3000)
    assert passed(np.arange(3000) / 30 + jitter, rate) == 3000


def test_a_higher_rate_takes_effect_at_once() -> None:
    limiter = RateLimiter()
    assert limiter.lets_pass(0.0, 0.001) and not limiter.lets_pass(1.0, 0.001)
    assert sum(limiter.lets_pass(1.1 + number / 10, 10.0) for number in range(100)) >= 98

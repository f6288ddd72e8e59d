"""Counts, rates, percentiles and gaps between stamps. Needs no ROS."""

from __future__ import annotations

import pytest

from superpoint_ros.nodes.reporting.stream_statistics import StampGaps, StreamStatistics


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_snapshot_gives_totals_and_what_happened_since_the_last_one() -> None:
    clock = FakeClock()
    statistics = StreamStatistics(clock)
    assert statistics.snapshot().silence is None
    for number in range(10):
        clock.now += 0.1
        statistics.received(stamp=number * 0.1, now=number * 0.1 + 0.01)
        statistics.count("processed" if number % 2 else "overload")
    clock.now += 1.0
    first = statistics.snapshot()
    assert first.totals["received"] == first.recent["received"] == 10
    assert first.totals["processed"] == first.totals["overload"] == 5
    assert first.totals["missing"] == 0
    assert first.rates["received"] == pytest.approx(5.0)
    assert first.silence == pytest.approx(1.0)
    clock.now += 1.0
    statistics.count("malformed")
    second = statistics.snapshot()
    assert second.totals["received"] == 10 and second.recent["received"] == 0
    assert second.recent["malformed"] == 1 and second.rates["received"] == pytest.approx(10 / 3)


def test_a_pause_in_which_nothing_was_wanted_is_neither_silence_nor_loss_nor_a_low_rate() -> None:
    clock = FakeClock()
    statistics = StreamStatistics(clock)

    def play(first: int) -> None:
        for number in range(first, first + 20):
            clock.now = 100.0 + number * 0.1
            statistics.received(stamp=clock.now, now=clock.now)
            statistics.count("processed")
            if number % 10 == 0:
                statistics.snapshot()

    play(0)
    clock.now = 102.7  # eight images later: too short for a camera that paused
    statistics.resume()
    resumed = statistics.snapshot()
    assert (resumed.silence, resumed.recent["processed"]) == (0.0, 0)
    play(28)
    found = statistics.snapshot()
    assert found.totals["missing"] == 0
    assert found.rates["processed"] == pytest.approx(20 / 2.0) and found.period == pytest.approx(2.0)


def test_percentiles_are_of_milliseconds() -> None:
    statistics = StreamStatistics()
    for milliseconds in range(101):
        statistics.took({"inference": milliseconds * 1e-3})
    latencies = statistics.snapshot().latencies
    assert list(latencies) == ["inference"]
    assert latencies["inference"] == pytest.approx((50, 95, 99))


def ages(statistics: StreamStatistics) -> tuple[float, ...] | None:
    return statistics.snapshot().latencies.get("age at reception")


def test_ages_forget_a_bag_that_starts_again_and_its_clock() -> None:
    statistics = StreamStatistics()
    for loop in range(3):
        for number in range(100):
            stamp = 50.0 + number / 30
            late = loop > 0 and number < 3  # the clock goes back a little after the stamps
            statistics.received(stamp, now=stamp + (100 / 30 if late else 0.02))
            if loop > 0 and number == 2:
                statistics.clock_jumped()
        assert ages(statistics) == pytest.approx((20.0, 20.0, 20.0))
    assert statistics.snapshot().totals["missing"] == 0


def test_stamps_of_another_clock_have_no_age() -> None:
    statistics = StreamStatistics()
    statistics.received(stamp=5.0, now=1.7e9)
    assert ages(statistics) is None
    assert statistics.snapshot().foreign_stamps == pytest.approx(1.7e9)
    statistics.received(stamp=6.0, now=0.0)  # simulated time that nobody publishes
    assert ages(statistics) is None and statistics.snapshot().foreign_stamps is None


def test_a_failure_is_told_once() -> None:
    statistics = StreamStatistics()
    statistics.failed("no memory")
    first, second = statistics.snapshot(), statistics.snapshot()
    assert (first.failure, first.totals["failed"]) == ("no memory", 1) and second.failure == ""


def missing(stamps: list[float]) -> int:
    gaps = StampGaps()
    return sum(gaps.missing_before(stamp) for stamp in stamps)


@pytest.mark.parametrize("rate", [5.0, 30.0, 200.0])
@pytest.mark.parametrize("lost", [set(), {50}, {50, 51, 52}, {40, 60, 80}])
def test_counts_what_is_missing_between_stamps(rate: float, lost: set[int]) -> None:
    stamps = [1e9 + number / rate for number in range(100) if number not in lost]
    expected = 0 if rate * 2.0 <= len(lost) else len(lost)
    assert missing(stamps) == expected


def test_jitter_is_not_loss() -> None:
    stamps = [number / 30 + 0.005 * (-1) ** number for number in range(100)]
    assert missing(stamps) == 0


def test_a_pause_and_a_jump_back_are_not_loss() -> None:
    steady = [number / 30 for number in range(50)]
    assert missing(steady + [stamp + 60 for stamp in steady] + steady) == 0


def test_repeated_stamps_are_not_loss() -> None:
    assert missing([1.0] * 100) == 0

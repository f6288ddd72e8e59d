"""The thread that computes: newest frame, or every frame in order. Needs no ROS."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from superpoint_ros.nodes.detector.worker import Worker

TIMEOUT = 30.0  # seconds; only ever reached when something is wrong


class Gate:
    """A `process` that records frames, as the tuples they are processed in if several, and lets them pass on demand."""

    def __init__(self) -> None:
        self.frames: list[object] = []
        self.started = threading.Semaphore(0)
        self.may_pass = threading.Semaphore(0)

    def __call__(self, frames: list[object]) -> None:
        self.frames.append(frames[0] if len(frames) == 1 else tuple(frames))
        self.started.release()
        assert self.may_pass.acquire(timeout=TIMEOUT)

    def wait_for_start(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.started.acquire(timeout=TIMEOUT)


@contextmanager
def busy_worker(keep_all: bool) -> Iterator[tuple[Worker[object], Gate]]:
    """Yield a worker that is in the middle of frame "first"."""
    gate = Gate()
    worker: Worker[object] = Worker("gate", gate, keep_all)
    assert worker.offer("camera", "first")
    gate.wait_for_start()
    yield worker, gate
    gate.may_pass.release(1000)
    worker.stop()


def test_latest_replaces_the_frame_that_waits() -> None:
    with busy_worker(keep_all=False) as (worker, gate):
        assert [worker.offer("camera", number) for number in range(3)] == [True, False, False]
        gate.may_pass.release(2)
        gate.wait_for_start()
        assert gate.frames == ["first", 2]


def test_latest_keeps_the_turn_of_every_stream() -> None:
    with busy_worker(keep_all=False) as (worker, gate):
        worker.offer("slow", "slow 0")
        for number in range(100):
            worker.offer("fast", f"fast {number}")
        worker.offer("slow", "slow 1")
        gate.may_pass.release(3)
        gate.wait_for_start(2)
        assert gate.frames == ["first", "slow 1", "fast 99"]


@pytest.mark.parametrize(
    ("batch_limit", "expected"),
    [(3, [("a0", "a1", "a2"), ("b0", "b1"), "a3"]), (1, ["a0", "b0", "a1", "a2", "a3", "b1"])],
)
def test_items_of_one_kind_that_wait_are_processed_together_up_to_the_limit(batch_limit, expected) -> None:
    gate = Gate()
    worker: Worker[object] = Worker("gate", gate, False, batch_key=lambda frame: str(frame)[0], batch_limit=batch_limit)
    worker.offer(0, "first")
    gate.wait_for_start()
    for stream, frame in enumerate(("a0", "b0", "a1", "a2", "a3", "b1")):
        worker.offer(stream, frame)
    assert worker.has(1) and not worker.has(99)
    gate.may_pass.release(1 + len(expected))
    gate.wait_for_start(len(expected))
    worker.stop()
    assert gate.frames == ["first", *expected]


def test_all_processes_every_frame_in_order() -> None:
    gate = Gate()
    gate.may_pass.release(1000)
    worker: Worker[object] = Worker("gate", gate, keep_all=True)
    assert all(worker.offer("left" if number % 3 else "right", number) for number in range(200))
    gate.wait_for_start(200)
    worker.stop()
    assert gate.frames == list(range(200))


def test_all_makes_who_offers_wait_for_room() -> None:
    with busy_worker(keep_all=True) as (worker, gate):
        offered: list[int] = []

        def offer_many() -> None:
            for number in range(20):
                worker.offer("camera", number)
                offered.append(number)

        producer = threading.Thread(target=offer_many)
        producer.start()
        producer.join(0.3)  # time enough to offer all, if it could
        assert producer.is_alive() and len(offered) < 20
        gate.may_pass.release(1000)
        producer.join(TIMEOUT)
        gate.wait_for_start(20)
        assert gate.frames == ["first", *range(20)]


def test_stop_finishes_the_frame_in_progress_and_returns_the_others() -> None:
    with busy_worker(keep_all=False) as (worker, gate):
        worker.offer("camera", "second")
        left: list[object] = []
        stopping = threading.Thread(target=lambda: left.extend(worker.stop()))
        stopping.start()
        stopping.join(0.2)
        assert stopping.is_alive()
        gate.may_pass.release()
        stopping.join(TIMEOUT)
        assert not stopping.is_alive()
        assert (gate.frames, left) == (["first"], ["second"])


def test_stop_frees_who_waits_for_room() -> None:
    with busy_worker(keep_all=True) as (worker, gate):
        producer = threading.Thread(target=lambda: [worker.offer("camera", number) for number in range(20)])
        producer.start()
        producer.join(0.2)
        gate.may_pass.release()
        worker.stop()
        producer.join(TIMEOUT)
        assert not producer.is_alive()

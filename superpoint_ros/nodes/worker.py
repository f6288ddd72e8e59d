"""One thread that computes, fed by callbacks that only store: no ROS in here."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Frame = TypeVar("Frame")

_CAPACITY = 4  # frames that wait under the policy "all": enough to hide a pause of the callback thread


class Worker(Generic[Frame]):
    """Runs `process` on frames in a thread of its own.

    Under the policy "latest" a new frame replaces the one of the same stream that still waits and keeps its turn, so
    that every stream is served whatever the others' rates. Under "all" nothing is replaced; who offers a frame waits
    for room instead.

    Parameters
    ----------
    process : callable
        Takes a frame; must not raise.
    keep_all : bool
        Whether the policy is "all".
    """

    def __init__(self, process: Callable[[Frame], None], keep_all: bool) -> None:
        self._process = process
        self._keep_all = keep_all
        self._numbers = itertools.count()
        self._waiting: dict[Hashable, Frame] = {}  # in the order of their turn
        self._stopped = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="detector_worker", daemon=True)
        self._thread.start()

    def offer(self, stream: Hashable, frame: Frame) -> bool:
        """Hand over a frame; returns False if an older frame of the same stream was dropped for it."""
        with self._changed:
            if self._keep_all:
                self._changed.wait_for(lambda: self._stopped or len(self._waiting) < _CAPACITY)
            key = next(self._numbers) if self._keep_all else stream
            replaces = key in self._waiting
            self._waiting[key] = frame  # a dict keeps the place of a key it knows
            self._changed.notify_all()
        return not replaces

    def stop(self) -> list[Frame]:
        """Finish the frame in progress, end the thread, and return the frames that still waited."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()
        return list(self._waiting.values())

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._waiting)
                if self._stopped:
                    return
                frame = self._waiting.pop(next(iter(self._waiting)))
                self._changed.notify_all()
            self._process(frame)

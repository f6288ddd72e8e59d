"""A thread with a waiting room: callbacks and other threads hand over, it computes. No ROS in here."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")

_CAPACITY = 4
"""Items that wait where none is replaced: enough to hide a pause of who offers them."""


class Worker(Generic[Item]):
    """Runs `process` in a thread of its own.

    Unless `keep_all`, a new item replaces the one of the same stream that still waits and keeps its turn, so that
    every stream is served whatever the others' rates. With `keep_all` nothing is replaced; who offers an item waits
    for room instead.

    Parameters
    ----------
    name : str
        Of the thread.
    process : callable
        Takes a list of items, in the order of their turns; must not raise.
    keep_all : bool
        Whether every item is processed.
    batch_key : callable, optional
        Items that wait at the same moment and for which it gives the same are processed together with the one whose
        turn it is. Without it, each is processed alone.
    batch_limit : int
        The most that are processed together.
    """

    def __init__(
        self,
        name: str,
        process: Callable[[list[Item]], None],
        keep_all: bool,
        batch_key: Callable[[Item], Hashable] | None = None,
        batch_limit: int = 1,
    ) -> None:
        self._process = process
        self._keep_all = keep_all
        self._batch_key = batch_key or id
        self._batch_limit = batch_limit
        self._numbers = itertools.count()
        self._waiting: dict[Hashable, Item] = {}  # in the order of their turn
        self._stopped = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, stream: Hashable, item: Item) -> bool:
        """Hand over an item; returns False if an older one of the same stream was dropped for it."""
        with self._changed:
            if self._keep_all:
                self._changed.wait_for(lambda: self._stopped or len(self._waiting) < _CAPACITY)
            key = next(self._numbers) if self._keep_all else stream
            replaces = key in self._waiting
            self._waiting[key] = item  # a dict keeps the place of a key it knows
            self._changed.notify_all()
        return not replaces

    def has(self, stream: Hashable, patience: float = 0.0) -> bool:
        """Whether an item of a stream waits, or comes within so many seconds; not to be asked with `keep_all`."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or stream in self._waiting, patience)
            return stream in self._waiting

    def stop(self) -> list[Item]:
        """Finish what is in progress, end the thread, and return the items that still waited."""
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
                items = self._take()
                self._changed.notify_all()
            self._process(items)
            del items  # images must not live on until the next ones come

    def _take(self) -> list[Item]:
        kind = self._batch_key(next(iter(self._waiting.values())))
        alike = (key for key, item in self._waiting.items() if self._batch_key(item) == kind)
        return [self._waiting.pop(key) for key in list(itertools.islice(alike, self._batch_limit))]

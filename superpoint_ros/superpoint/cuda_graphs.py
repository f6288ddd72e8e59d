"""CUDA graphs of functions that work on fixed buffers, and a bounded store of what is kept ready."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_WARM_UPS = 3  # runs until libraries have chosen their kernels and allocated what they keep


class GraphRecorder:
    """Records functions as CUDA graphs that share one memory pool, so that the largest alone decides what they take.

    That is safe as long as the functions write to buffers of their caller's and leave nothing else behind, and their
    graphs run one after the other on one stream.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)
        self._latest: torch.cuda.CUDAGraph | None = None  # a pool lives as long as one of its graphs

    def __call__(self, function: Callable[[], None]) -> Callable[[], None]:
        """Return what does the device work of `function` again, in a single launch on the current stream.

        `function` runs a few times first, after what the current stream has been given until now, which may still use
        the memory that its buffers have. May be called in a thread of its own while other threads use the GPU.

        Raises
        ------
        RuntimeError
            If the function cannot be recorded, such as one that waits for the device.
        """
        self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))
        with torch.cuda.stream(self._stream):
            try:
                for _ in range(_WARM_UPS):
                    function()
            finally:  # also after an error: the caller gives its buffers up then, which must not be written to any more
                self._stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            # Not by the context manager torch.cuda.graph, which halts all threads to collect garbage.
            pool = self._latest.pool() if self._latest else None
            graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                function()
            finally:
                graph.capture_end()
            torch.cuda.empty_cache()  # what the warm-up took and the graph has no use for
        self._latest = graph
        return graph.replay


class RecentlyUsed(Generic[Key, Value]):
    """A dictionary for several threads that drops the least recently used of more than `limit` entries."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[Key, Value] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """Return the entry of `key`, now the most recently used, or None."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Add or replace an entry, now the most recently used."""
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            if len(self._entries) > self._limit:
                self._entries.popitem(last=False)

    def replace(self, key: Key, value: Value) -> None:
        """Replace an entry where it is; one that was dropped stays away."""
        with self._lock:
            if key in self._entries:
                self._entries[key] = value

    def clear(self) -> None:
        """Drop all entries."""
        with self._lock:
            self._entries.clear()

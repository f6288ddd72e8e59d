"""Signals that a library takes over when it is imported."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_CAUGHT_BY_GLOG = (signal.SIGILL, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV, signal.SIGTERM)


@contextmanager
def signal_handlers_kept() -> Iterator[None]:
    """Put the process's handlers back that glog replaces by one that prints a native stack trace.

    Also those set in C, such as rclpy's, of which Python's `signal` does not know.
    """
    libc = ctypes.CDLL(None)
    actions = {number: ctypes.create_string_buffer(256) for number in _CAUGHT_BY_GLOG}  # more than struct sigaction has
    for number, action in actions.items():
        libc.sigaction(number, None, action)
    try:
        yield
    finally:
        for number, action in actions.items():
            libc.sigaction(number, action, None)

"""The life of a node's process."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Protocol

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions

from . import fast_dds

_LONGEST_WAIT = 0.2  # seconds, for a signal to be seen


class StartableNode(Protocol):
    """A node that starts itself and gives up what it holds."""

    def start(self) -> None: ...

    def release(self) -> None: ...

    def destroy_node(self) -> None: ...


def run_node(name: str, make: Callable[[], StartableNode], args: list[str] | None) -> int:
    """Run a node until SIGINT or SIGTERM.

    Parameters
    ----------
    name : str
        For messages.
    make : callable
        Makes the node; an error it raises ends the process with one line.
    args : list of str, optional
        ROS arguments; those of the command line if not given.

    Returns
    -------
    int
        The process's exit code.
    """
    stopping = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        if not stopping.is_set():  # a second signal must not cut the clean-up short
            stopping.set()
            raise KeyboardInterrupt

    # rclpy's own handlers would pull the context away under a node that is still loading or publishing.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        return _run(name, make, args, stopping)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        rclpy.try_shutdown()


def _run(name: str, make: Callable[[], StartableNode], args: list[str] | None, stopping: threading.Event) -> int:
    fast_dds.remove_abandoned_segments()
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = make()
    except (ValueError, RuntimeError, OSError) as error:  # a bad parameter, arguments that ROS cannot read
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    try:
        node.start()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stopping.is_set():  # an interrupt that Python swallows, in a __del__, counts too
            executor.spin_once(timeout_sec=_LONGEST_WAIT)
    finally:
        stopping.set()
        node.release()
        node.destroy_node()
    return 0

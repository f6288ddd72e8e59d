"""The life of a node's process."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.signals import SignalHandlerOptions

from . import fast_dds


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
    # rclpy's own handlers would pull the context away under a node that is still loading or publishing.
    _on_stop_signals(signal.default_int_handler)
    try:
        return _run(name, make, args)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        rclpy.try_shutdown()


def _run(name: str, make: Callable[[], StartableNode], args: list[str] | None) -> int:
    fast_dds.remove_abandoned_segments()
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = make()
    except (ValueError, RuntimeError, OSError) as error:  # a bad parameter, arguments that ROS cannot read
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    try:
        node.start()
        rclpy.spin(node)  # the timers wake it often enough to see a signal
    finally:
        _on_stop_signals(signal.SIG_IGN)  # a second signal must not cut the clean-up short
        node.release()
        node.destroy_node()
    return 0


def _on_stop_signals(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)

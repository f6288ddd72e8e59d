"""A process that is certain to end with the one that started it, and whose output is at hand when it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from types import TracebackType

GRACE = 10.0
"""Seconds to end after SIGINT."""


class ChildProcess:
    """Runs a command from construction to the end of a ``with`` block.

    It runs in a session of its own, so that Ctrl-C in the terminal reaches the parent alone, which then ends its
    children in order.

    Parameters
    ----------
    name : str
        Names the process in messages.
    command : sequence of str
        Program and arguments.
    environment : mapping
        All its environment variables.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._log.close()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while the process runs; negative if a signal ended it."""
        return self._process.poll()

    def stop(self) -> int:
        """End the process with SIGINT, or with SIGKILL if that takes too long, and return the exit code."""
        if self.exit_code is None:
            self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            return self._process.wait()

    def log(self) -> str:
        """Return what the process has written so far."""
        file = self._log.fileno()
        return os.pread(file, os.fstat(file).st_size, 0).decode(
            errors="replace"
        )  # the child writes at the file's offset

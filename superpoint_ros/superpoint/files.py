"""Files that are written whole or not at all, and folders for them that are tried before."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def make_output_folder(folder: Path) -> None:
    """Make a folder for results and try to write there: after all has been computed is too late to find out.

    Raises
    ------
    ValueError
        If the folder cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(f"{folder}: must be a folder that can be written to: {error.strerror}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of a new file beside `path`, and move it there when the block ends without an error.

    Missing folders are made. On an error the new file is removed and what was at `path` stays.

    Parameters
    ----------
    path : Path
        What is to be written; the new file has the same suffix.

    Raises
    ------
    OSError
        If the file cannot be made or moved there.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder, and a file is to be written", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

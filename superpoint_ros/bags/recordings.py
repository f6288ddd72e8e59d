"""Opening a rosbag2 for reading, complete or cut off, without ever writing to it."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml
import zstandard
from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader

from .salvage import SALVAGERS

Message = tuple[Connection, int, bytes]
"""Topic, time of recording in nanoseconds, serialised message."""

STORAGES = {".mcap": "mcap", ".db3": "sqlite3"}
_METADATA = "metadata.yaml"
_COMPRESSED_FILE = ".zstd"


class BagError(ValueError):
    """A bag that cannot be read or written as asked; the message names it and says why."""


class _Reader(Protocol):
    """What rosbags' readers and those of `salvage` have in common."""

    @property
    def connections(self) -> list[Connection]: ...

    def messages(self) -> Iterator[Message]: ...


@dataclass
class Recording:
    """An open bag.

    Attributes
    ----------
    path : Path
    storage : {"mcap", "sqlite3"}
        Of its first file.
    warnings : list of str
        What is missing or damaged. Grows while messages are read.
    """

    path: Path
    storage: str
    warnings: list[str]
    _readers: list[_Reader] = field(repr=False)

    @property
    def connections(self) -> list[Connection]:
        """One per topic and type, in the order of the bag, with the number of messages in all files."""
        merged: dict[tuple[str, str], Connection] = {}
        for connection in (connection for reader in self._readers for connection in reader.connections):
            key = connection.topic, connection.msgtype
            known = merged.get(key)
            count = connection.msgcount + (known.msgcount if known else 0)
            merged[key] = (known or connection)._replace(msgcount=count)
        return list(merged.values())

    def messages(self) -> Iterator[Message]:
        """Yield all messages, file by file, always in the same order; the rest of a damaged file is left out."""
        for reader in self._readers:
            try:
                for connection, time, data in reader.messages():
                    yield connection, time, _decompressed(data)
            except Exception as error:  # storage, database and compression errors have no common base
                self.warnings.append(f"{self.path}: cut off or damaged ({_line(error)}): took what comes before")


@contextmanager
def open_recording(path: Path, scratch: Path) -> Iterator[Recording]:
    """Open a bag for reading.

    Parameters
    ----------
    path : Path
        rosbag2 folder, with or without its metadata.yaml, or one .mcap or .db3 file.
    scratch : Path
        Folder for a copy of a database that its recorder left unfinished; made if it is needed, removed on closing
        and with it the folder that it is in, if that is empty then.

    Raises
    ------
    BagError
        If there is no bag at `path`, or nothing in it can be read.
    """
    if not path.exists():
        raise BagError(f"{path}: no such file or folder")
    warnings: list[str] = []
    files = _storage_files(path, warnings)
    with ExitStack() as stack:
        stack.callback(_remove_copies, scratch)
        readers = _open(path, files, scratch, warnings, stack)
        if not any(reader.connections for reader in readers):
            raise BagError("\n".join([f"{path}: no messages can be read from it", *warnings]))
        storage = "mcap" if ".mcap" in files[0].name else "sqlite3"
        yield Recording(path, storage, warnings, readers)


def bag_files(path: Path) -> list[Path]:
    """Return all files of a bag, to recognise whether it has changed."""
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def _storage_files(path: Path, warnings: list[str]) -> list[Path]:
    if path.is_file():
        if path.suffix == ".bag":
            raise BagError(f"{path}: a ROS 1 bag; convert it first: rosbags-convert --src {path} --dst FOLDER")
        if path.suffix == _COMPRESSED_FILE:
            raise BagError(f"{path}: a compressed file of a bag; give its folder, or unpack it first: zstd -d {path}")
        if path.suffix not in STORAGES:
            raise BagError(f"{path}: not a bag; expected a rosbag2 folder, or an .mcap or .db3 file")
        return [path]
    files = _files_of_metadata(path, warnings)
    if not files:
        files = sorted((file for file in path.iterdir() if file.suffix in STORAGES), key=_natural_order)
    if not files:
        raise BagError(f"{path}: not a bag; the folder has neither .mcap nor .db3 files")
    return files


def _files_of_metadata(folder: Path, warnings: list[str]) -> list[Path]:
    try:
        metadata = yaml.safe_load((folder / _METADATA).read_text(encoding="utf-8"))
        names = metadata["rosbag2_bagfile_information"]["relative_file_paths"]
        files = [folder / Path(name).name for name in names]
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        reason = f"there is no {_METADATA}" if isinstance(error, FileNotFoundError) else f"{_METADATA} cannot be read"
        warnings.append(f"{folder}: {reason}, the recorder may have been killed; taking all files in order of names")
        return []
    warnings.extend(f"{file}: the file is missing" for file in files if not file.exists())
    return [file for file in files if file.exists()]


def _natural_order(file: Path) -> list[Any]:
    """Order bag_2 before bag_10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", file.name)]


def _open(path: Path, files: list[Path], scratch: Path, warnings: list[str], stack: ExitStack) -> list[_Reader]:
    if any(file.suffix == _COMPRESSED_FILE for file in files):  # rosbags unpacks them, in complete bags
        try:
            return [stack.enter_context(Reader(path))]
        except Exception as error:  # storage, database, YAML and compression errors have no common base
            raise BagError(
                f"{path}: not readable ({_line(error)}); of compressed files only complete bags are"
            ) from error
    readers: list[_Reader] = []
    for file in (_settled(file, scratch, warnings) for file in files):
        try:
            readers.append(stack.enter_context(Reader(file)))
        except Exception as error:  # as above
            try:
                salvaged = stack.enter_context(closing(SALVAGERS[file.suffix](file)))
            except Exception:  # as above; the first error says more
                warnings.append(f"{file}: not readable at all ({_line(error)})")
                continue
            warnings.append(f"{file}: cut off or damaged ({_line(error)}); only messages that are complete are taken")
            readers.append(salvaged)
    return readers


def _settled(file: Path, scratch: Path, warnings: list[str]) -> Path:
    """Return the database itself, or a copy of it in which the transactions that its recorder left are settled."""
    journals = [file.with_name(file.name + suffix) for suffix in ("-wal", "-journal")]
    unsettled = [journal for journal in journals if journal.is_file() and journal.stat().st_size > 0]
    if file.suffix != ".db3" or not unsettled:
        return file
    warnings.append(f"{file}: its recorder was killed; reading a copy to which {unsettled[0].name} is applied")
    scratch.mkdir(parents=True, exist_ok=True)
    for part in (file, *unsettled):
        shutil.copyfile(part, scratch / part.name)
    with closing(sqlite3.connect(scratch / file.name)) as database:
        database.execute("PRAGMA journal_mode=DELETE").fetchall()
        database.execute("SELECT count(*) FROM sqlite_master").fetchall()
    return scratch / file.name


def _remove_copies(scratch: Path) -> None:
    if scratch.is_dir():
        shutil.rmtree(scratch)
        with suppress(OSError):  # not empty: it holds what was written, to be continued
            scratch.parent.rmdir()


def _decompressed(data: bytes) -> bytes:
    """Undo the compression of single messages, which only metadata.yaml declares: no CDR begins like Zstandard."""
    return zstandard.decompress(data) if data[:4] == zstandard.FRAME_HEADER else data


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

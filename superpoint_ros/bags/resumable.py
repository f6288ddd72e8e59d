"""Writing a rosbag2 in parts, so that a later run goes on where an earlier one was killed.

While it grows, the bag ``OUT`` is the folder ``OUT.partial``: finished storage files ``OUT_0.mcap``, ``OUT_1.mcap``
and so on, a JSON record beside each, and ``job.json``, which says what is being made. A storage file counts once its
record is there. When all is written, the folder gets its metadata.yaml, loses the records and is renamed to ``OUT``: a
rosbag2 of several files, as `ros2 bag record` makes them.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2 import StoragePlugin, Writer

from ..superpoint.files import replacing
from .recordings import STORAGES, BagError

_SUFFIXES = {storage: suffix for suffix, storage in STORAGES.items()}
_UNKNOWN_HASH = "unknown"  # rosbags' writer insists on one


@dataclass(frozen=True)
class OutputTopic:
    """A topic to be written; `definition` and `type_hash` are "" where they are unknown."""

    name: str
    msgtype: str
    definition: str
    type_hash: str
    qos: tuple[Qos, ...]


@dataclass(frozen=True)
class Progress:
    """What finished parts hold.

    Attributes
    ----------
    messages_read : int
        Messages of the input that were taken care of, from its beginning.
    images, keypoints : int
        Images searched, and keypoints found in them.
    """

    messages_read: int = 0
    images: int = 0
    keypoints: int = 0

    def __add__(self, other: Progress) -> Progress:
        return Progress(
            self.messages_read + other.messages_read, self.images + other.images, self.keypoints + other.keypoints
        )


def partial_folder(out: Path) -> Path:
    """Return the folder that holds the bag `out` until it is complete."""
    return out.with_name(f"{out.name}.partial")


class ResumableBag:
    """The bag `out` in the making; a context manager.

    Parameters
    ----------
    out : Path
        Must not exist.
    storage : {"mcap", "sqlite3"}
    topics : list of OutputTopic
    job : dict
        What is being made, as JSON has it: a bag that was begun is continued only for the same job.

    Raises
    ------
    BagError
        On entering, if another process writes this bag or the one begun is of another job.

    Attributes
    ----------
    progress : Progress
        Of this run and the earlier ones.
    is_complete : bool
        An earlier run was killed at the very end: there is nothing left to write.
    """

    def __init__(self, out: Path, storage: str, topics: list[OutputTopic], job: dict[str, Any]) -> None:
        self._out = out
        self._folder = partial_folder(out)
        self._storage = storage
        self._topics = topics
        self._job: dict[str, Any] = json.loads(json.dumps(job))
        self._writer: Writer | None = None
        self._connections: dict[tuple[str, str], Connection] = {}
        self._committed = Progress()
        self._part_progress = Progress()
        self._parts: list[dict[str, Any]] = []

    def __enter__(self) -> ResumableBag:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self._folder, os.O_RDONLY)
        try:
            self._resume()
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.abort()
        os.close(self._lock)

    @property
    def progress(self) -> Progress:
        return self._committed + self._part_progress

    @property
    def is_complete(self) -> bool:
        return (self._folder / "metadata.yaml").is_file()

    def write(self, topic: str, msgtype: str, time: int, data: bytes | memoryview) -> None:
        """Write a serialised message, recorded at `time` nanoseconds."""
        if self._writer is None:
            self._open_part()
        assert self._writer is not None
        self._writer.write(self._connections[topic, msgtype], time, data)

    def advance(self, step: Progress, images_per_part: int) -> None:
        """Count what was written, and finish the part once it has `images_per_part` images; 0 never does."""
        self._part_progress += step
        if 0 < images_per_part <= self._part_progress.images:
            self._finish_part()

    def finish(self) -> None:
        """Complete the bag and give it its name."""
        if not self.is_complete:
            if self._writer is not None or not self._parts:
                self._finish_part()
            with replacing(self._folder / "metadata.yaml") as partial:
                metadata = {"rosbag2_bagfile_information": self._metadata()}
                partial.write_text(yaml.safe_dump(metadata, sort_keys=False), encoding="utf-8")
        kept = {"metadata.yaml", "job.json", *self._storage_files()}
        for entry in self._folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name not in kept:
                entry.unlink()
        (self._folder / "job.json").unlink(missing_ok=True)
        self._folder.rename(self._out)

    def _resume(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BagError(f"{self._folder}: another process is writing this bag") from None
        record = self._folder / "job.json"
        if record.is_file():
            begun = json.loads(record.read_text(encoding="utf-8"))
            if changed := [name for name in self._job if begun.get(name) != self._job[name]]:
                raise BagError(
                    f"{self._folder}: was begun with other {', '.join(changed)}; "
                    "give what was given then to continue it, or remove it to start again"
                )
        else:
            with replacing(record) as partial:
                partial.write_text(json.dumps(self._job, indent=2), encoding="utf-8")
        while (finished := self._record(len(self._parts))).is_file():
            part = json.loads(finished.read_text(encoding="utf-8"))
            self._committed += Progress(**part["progress"])
            self._parts.append(part["metadata"])

    def _record(self, index: int) -> Path:
        return self._folder / f"{self._out.name}_{index}.json"

    def _open_part(self) -> None:
        shutil.rmtree(self._folder / "writing", ignore_errors=True)
        name = f"{self._out.name}_{len(self._parts)}"
        plugin = StoragePlugin[self._storage.upper()]
        self._writer = Writer(self._folder / "writing" / name, version=9, storage_plugin=plugin)
        self._writer.open()
        self._connections = {
            (topic.name, topic.msgtype): self._writer.add_connection(
                topic.name,
                topic.msgtype,
                msgdef=topic.definition,
                rihs01=topic.type_hash or _UNKNOWN_HASH,
                offered_qos_profiles=topic.qos,
            )
            for topic in self._topics
        }

    def _finish_part(self) -> None:
        if self._writer is None:
            self._open_part()
        assert self._writer is not None
        writer, self._writer = self._writer, None
        writer.close()
        file = next(entry for entry in writer.path.iterdir() if entry.suffix == _SUFFIXES[self._storage])
        if self._storage == "sqlite3":
            _forget_unknown_hashes(file)
        metadata = yaml.safe_load((writer.path / "metadata.yaml").read_text(encoding="utf-8"))
        part = {"progress": asdict(self._part_progress), "metadata": metadata["rosbag2_bagfile_information"]}
        file.replace(self._folder / file.name)
        with replacing(self._record(len(self._parts))) as partial:
            partial.write_text(json.dumps(part), encoding="utf-8")
        self._parts.append(part["metadata"])
        self._committed, self._part_progress = self.progress, Progress()

    def _storage_files(self) -> list[str]:
        """Names of the finished bag's files: in metadata.yaml, for an earlier run may have removed the records."""
        metadata = yaml.safe_load((self._folder / "metadata.yaml").read_text(encoding="utf-8"))
        names: list[str] = metadata["rosbag2_bagfile_information"]["relative_file_paths"]
        return names

    def _metadata(self) -> dict[str, Any]:
        """Return what metadata.yaml says of all parts together."""
        filled = [part for part in self._parts if part["message_count"]] or self._parts[:1]
        starts = [part["starting_time"]["nanoseconds_since_epoch"] for part in filled]
        ends = [start + part["duration"]["nanoseconds"] for start, part in zip(starts, filled)]
        topics = [dict(entry) for entry in self._parts[0]["topics_with_message_count"]]
        for index, entry in enumerate(topics):
            counts = (part["topics_with_message_count"][index]["message_count"] for part in self._parts)
            entry["message_count"] = sum(counts)
            if entry["topic_metadata"]["type_description_hash"] == _UNKNOWN_HASH:
                entry["topic_metadata"]["type_description_hash"] = ""
        return {
            **self._parts[0],
            "relative_file_paths": [name for part in self._parts for name in part["relative_file_paths"]],
            "starting_time": {"nanoseconds_since_epoch": min(starts)},
            "duration": {"nanoseconds": max(ends) - min(starts)},
            "message_count": sum(part["message_count"] for part in self._parts),
            "topics_with_message_count": topics,
            "files": [file for part in self._parts for file in part["files"]],
            "custom_data": {"superpoint_ros": json.dumps(self._job)},
        }


def _forget_unknown_hashes(file: Path) -> None:
    with closing(sqlite3.connect(file)) as database, database:
        for table in ("topics", "message_definitions"):
            database.execute(
                f"UPDATE {table} SET type_description_hash = '' WHERE type_description_hash = ?", [_UNKNOWN_HASH]
            )

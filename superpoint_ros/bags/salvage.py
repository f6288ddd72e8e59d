"""Reading storage files that end in the middle: MCAP without footer and index, SQLite databases cut short.

The readers have `connections`, `messages()` and `close()` as rosbags' have, and stop at the first damage.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mcap.records import Channel, Message, Schema
from mcap.stream_reader import StreamReader
from rosbags.interfaces import Connection, ConnectionExtRosbag2, MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2.metadata import parse_qos

_FORMATS = {"ros2msg": MessageDefinitionFormat.MSG, "ros2idl": MessageDefinitionFormat.IDL}
_NO_DEFINITION = MessageDefinition(MessageDefinitionFormat.NONE, "")


class SalvagedMcap:
    """The complete records of an MCAP file, in the order of the file. A chunk that is cut off is lost as a whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        channels: dict[int, tuple[Channel, Schema | None]] = {}
        counts: Counter[int] = Counter()
        schemas: dict[int, Schema] = {}
        for record in self._records():
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                channels[record.id] = record, schemas.get(record.schema_id)
            elif isinstance(record, Message):
                counts[record.channel_id] += 1
        self._connections = {
            number: _mcap_connection(channel, schema, counts[number], self)
            for number, (channel, schema) in channels.items()
        }
        self.connections = list(self._connections.values())

    def messages(self) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield topic, time of recording in nanoseconds, and serialised message."""
        for record in self._records():
            if isinstance(record, Message):
                yield self._connections[record.channel_id], record.log_time, record.data

    def close(self) -> None:
        """Do nothing: the file is open only while it is read."""

    def _records(self) -> Iterator[Any]:
        with self._path.open("rb") as file:
            records = StreamReader(file, record_size_limit=self._path.stat().st_size).records
            while True:
                try:
                    record = next(records)
                except Exception:  # a damaged file ends in many ways, a whole one with StopIteration
                    return
                yield record


def _mcap_connection(channel: Channel, schema: Schema | None, count: int, owner: object) -> Connection:
    definition = _NO_DEFINITION
    if schema is not None and schema.encoding in _FORMATS:
        definition = MessageDefinition(_FORMATS[schema.encoding], schema.data.decode())
    qos = parse_qos(channel.metadata.get("offered_qos_profiles", ""))
    extension = ConnectionExtRosbag2(channel.message_encoding, qos)
    name = schema.name if schema is not None else ""
    return Connection(channel.id, channel.topic, name, definition, "", count, extension, owner)


class SalvagedDatabase:
    """The rows of an SQLite storage file up to the first damage, in the order of recording."""

    def __init__(self, path: Path) -> None:
        uri = f"file:{quote(str(path.absolute()))}?immutable=1"
        self._database = sqlite3.connect(uri, uri=True, check_same_thread=False)
        # Else SQLite refuses a file that is shorter than its header says.
        self._database.execute("PRAGMA writable_schema=ON")
        definitions = {
            row["topic_type"]: MessageDefinition(_FORMATS[row["encoding"]], row["encoded_message_definition"])
            for row in self._rows("message_definitions")
            if row["encoding"] in _FORMATS
        }
        counts = Counter(number for (number,) in _until_damage(self._database, "SELECT topic_id FROM messages"))
        self._connections = {
            row["id"]: Connection(
                row["id"],
                row["name"],
                row["type"],
                definitions.get(row["type"], _NO_DEFINITION),
                row.get("type_description_hash", ""),
                counts[row["id"]],
                ConnectionExtRosbag2(row["serialization_format"], parse_qos(row.get("offered_qos_profiles", ""))),
                self,
            )
            for row in self._rows("topics")
        }
        self.connections = list(self._connections.values())

    def messages(self) -> Iterator[tuple[Connection, int, bytes]]:
        """Yield topic, time of recording in nanoseconds, and serialised message."""
        rows = _until_damage(self._database, "SELECT topic_id, timestamp, data FROM messages ORDER BY id")
        return ((self._connections[number], time, data) for number, time, data in rows if number in self._connections)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _rows(self, table: str) -> list[dict[str, Any]]:
        """Return a table that every storage file has at its beginning, or nothing where this version has it not."""
        columns = [row[1] for row in self._database.execute(f"PRAGMA table_info({table})")]
        query = f"SELECT {', '.join(columns)} FROM {table}"
        return [dict(zip(columns, row)) for row in _until_damage(self._database, query)] if columns else []


def _until_damage(database: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    rows = database.execute(query)
    while True:
        try:
            row = next(rows)
        except (StopIteration, sqlite3.DatabaseError):
            return
        yield row


SALVAGERS: dict[str, Callable[[Path], SalvagedMcap | SalvagedDatabase]] = {
    ".mcap": SalvagedMcap,
    ".db3": SalvagedDatabase,
}

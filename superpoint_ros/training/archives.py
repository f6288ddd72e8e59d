"""Reading of the archives in which games ship their pictures: Qt's resource collections (.rcc) and ZIP (.zip, .pk3)."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

_ZLIB, _DIRECTORY, _ZSTD = 1, 2, 4


def read_rcc(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of every file in a collection; entries compressed with zstd are left out.

    Raises
    ------
    ValueError
        If the file is not a resource collection of a known version.
    """
    blob = path.read_bytes()
    if len(blob) < 20 or blob[:4] != b"qres":
        raise ValueError(f"{path}: not a Qt resource collection (no 'qres' at its start)")
    version, tree, data, names = struct.unpack_from(">4I", blob, 4)
    if version not in (1, 2, 3):
        raise ValueError(f"{path}: resource collection version {version}, known are 1 to 3")
    node_size = 14 if version == 1 else 22
    pending = [(0, "")]
    while pending:
        index, parent = pending.pop()
        name_offset, flags, first, second = struct.unpack_from(">IHII", blob, tree + index * node_size)
        name = f"{parent}/{_name(blob, names + name_offset)}" if index else ""
        if flags & _DIRECTORY:
            pending.extend((second + child, name) for child in range(first))
        elif not flags & _ZSTD:
            yield name, _content(blob, data + second, compressed=bool(flags & _ZLIB))


def read_zip(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield ("/" + name, content) of every file in a ZIP archive.

    Raises
    ------
    ValueError
        If the file is no ZIP archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    yield f"/{entry.filename}", archive.read(entry)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: {error}") from None


def _name(blob: bytes, offset: int) -> str:
    (length,) = struct.unpack_from(">H", blob, offset)
    return blob[offset + 6 : offset + 6 + 2 * length].decode("utf-16-be")


def _content(blob: bytes, offset: int, compressed: bool) -> bytes:
    (size,) = struct.unpack_from(">I", blob, offset)
    content = blob[offset + 4 : offset + 4 + size]
    return zlib.decompress(content[4:]) if compressed else content

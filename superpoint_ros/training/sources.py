"""Where training pictures come from: Debian packages, fetched and unpacked, and installed Python packages."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from .archives import read_rcc, read_zip
from .licences import FileLicence, parse_copyright

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".pgm", ".ppm")
_ARCHIVES = {".rcc": read_rcc, ".zip": read_zip, ".pk3": read_zip}


@dataclass(frozen=True)
class Source:
    """A package with images. Patterns are shell patterns on the path inside the package.

    `module` is the Python package of the kind python, or the path of the kind folder.
    """

    name: str
    kind: Literal["debian", "python", "folder"]
    split: Literal["train", "validation"]
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    module: str = ""
    licence: str = ""
    basis: str = ""

    def __post_init__(self) -> None:
        if self.kind != "debian" and not self.module:
            raise ValueError(f"kind {self.kind} needs module, the package or folder of pictures")


def fetch(source: Source, output: Path) -> tuple[Path, str]:
    """Return the folder that holds a source's files, and its version.

    Debian packages are downloaded to ``packages`` and unpacked to ``unpacked`` in the folder `output`, once.

    Raises
    ------
    ValueError
        If the source cannot be had; the message names it.
    """
    if source.kind == "folder":
        return Path(source.module), "local"
    if source.kind == "python":
        spec = importlib.util.find_spec(source.module)
        if spec is None or not spec.submodule_search_locations:
            raise ValueError(f"source {source.name!r}: the Python package is not installed (pip install {source.name})")
        return Path(spec.submodule_search_locations[0]), version(source.name)
    return _fetch_debian(source.name, output)


def _fetch_debian(name: str, output: Path) -> tuple[Path, str]:
    downloads, folder = output / "packages", output / "unpacked" / name
    downloads.mkdir(parents=True, exist_ok=True)
    if not list(downloads.glob(f"{name}_*.deb")):
        _call(name, ["apt-get", "download", name], downloads)
    archive = sorted(downloads.glob(f"{name}_*.deb"))[-1]
    if not folder.exists():
        partial = folder.with_name(f"{name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        _call(name, ["dpkg-deb", "-x", archive.name, str(partial.resolve())], downloads)
        partial.rename(folder)
    return folder, archive.name.split("_")[1].replace("%3a", ":")


def _call(name: str, command: list[str], folder: Path) -> None:
    """Run a program in `folder` for the source `name`."""
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", "") or error
        raise ValueError(f"source {name!r}: '{' '.join(command)}' failed in {folder}: {reason}") from None


def read_licences(source: Source, folder: Path) -> list[FileLicence]:
    """Return what a source in `folder` says about its files' licences."""
    if source.licence:
        return [FileLicence(("*",), source.licence)]
    documents = sorted(folder.glob("usr/share/doc/*/copyright")) or sorted(folder.glob("copyright"))
    return [licence for document in documents for licence in parse_copyright(document.read_text(errors="replace"))]


def read_images(source: Source, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (path inside the package, encoded image) in a fixed order."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        relative = file.relative_to(folder).as_posix()
        if file.suffix in _ARCHIVES:
            for name, content in sorted(_ARCHIVES[file.suffix](file)):
                if name.lower().endswith(_SUFFIXES) and _wanted(relative + name, source):
                    yield relative + name, content
        elif file.suffix.lower() in _SUFFIXES and _wanted(relative, source):
            yield relative, file.read_bytes()


def _wanted(path: str, source: Source) -> bool:
    included = any(fnmatchcase(path, pattern) for pattern in source.include)
    return included and not any(fnmatchcase(path, pattern) for pattern in source.exclude)

"""Which licence an image of a Debian package has, by the package's machine-readable ``debian/copyright``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

LicenceClass = Literal["permissive", "share_alike", "unsuitable"]

_PERMISSIVE = (
    r"public[- ]domain",
    r"cc0(-1\.0)?",
    r"cc-by-\d\.\d",
    r"expat",
    r"mit",
    r"x11",
    r"zlib",
    r"apache-2\.0",
    r"bsd-[23]-clause",
)
_SHARE_ALIKE = (r"cc-by-sa-\d\.\d", r"gpl-\d(\.\d)?\+?", r"lgpl-\d(\.\d)?\+?", r"free-art(-license)?(-\d\.\d)?")
_ARCHIVE = re.compile(r"[^/]+\.(zip|pk3|rcc)/")
_IMAGE_SUFFIX = re.compile(r"\.(jpe?g|png|webp|bmp)$", re.IGNORECASE)


@dataclass(frozen=True)
class FileLicence:
    """One "Files" paragraph: shell patterns and the licence name given for them."""

    patterns: tuple[str, ...]
    licence: str


def parse_copyright(text: str) -> list[FileLicence]:
    """Return the "Files" paragraphs of a DEP-5 ``debian/copyright``, in order; empty if it is not of that format."""
    if not text.lstrip().lower().startswith("format"):
        return []
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", text):
        fields = _fields(paragraph)
        if "files" in fields and fields.get("license"):
            paragraphs.append(FileLicence(tuple(fields["files"].split()), fields["license"].splitlines()[0].strip()))
    return paragraphs


def licence_of(path: str, licences: list[FileLicence]) -> str | None:
    """Return the licence of an installed file, or None if no paragraph names it.

    The last matching paragraph wins, as DEP-5 says. Patterns are relative to the source tree and
    files are installed elsewhere, so a pattern may match any tail of the path, with or without its
    own first folder ("data/tracks/x/*" becomes ".../torcs/tracks/x/..."); the image format may have
    changed during the build, and files may have been packed into an archive. Where no pattern
    matches, the file's bare name may be listed under another folder.
    """
    found = [item.licence for item in licences if any(_matches(path, pattern) for pattern in item.patterns)]
    if not found:
        name = _IMAGE_SUFFIX.sub("", path).rsplit("/", 1)[-1]
        names = [{_IMAGE_SUFFIX.sub("", pattern).rsplit("/", 1)[-1] for pattern in item.patterns} for item in licences]
        found = [item.licence for item, listed in zip(licences, names) if name in listed]
    return found[-1] if found else None


def _matches(path: str, pattern: str) -> bool:
    bare = _IMAGE_SUFFIX.sub("", pattern)
    candidate = path if bare == pattern else _IMAGE_SUFFIX.sub("", path)
    tails = [bare]
    if bare.count("/") > 1:
        tails.append(bare.split("/", 1)[1])
    candidates = {candidate, _ARCHIVE.sub("", candidate)}
    return any(fnmatchcase(name, form) for name in candidates for form in (bare, *(f"*/{tail}" for tail in tails)))


def licence_class(licence: str) -> str:
    """Classify a licence name: "permissive", "share_alike" or "unsuitable".

    Of alternatives ("A or B") the most permissive counts, of several at once ("A and B") the least.
    Unknown names are unsuitable.
    """
    order: tuple[str, ...] = get_args(LicenceClass)
    alternatives = re.split(r"\s+or\s+|\s*\|\s*", licence.strip(), flags=re.IGNORECASE)
    ranks = []
    for alternative in alternatives:
        parts = [part for part in re.split(r"\s+and\s+|,\s*", alternative, flags=re.IGNORECASE) if part]
        ranks.append(max((order.index(_single_class(part)) for part in parts), default=2))
    return order[min(ranks)]


def _single_class(name: str) -> str:
    name = name.strip().lower()
    for label, patterns in (("permissive", _PERMISSIVE), ("share_alike", _SHARE_ALIKE)):
        if any(re.fullmatch(pattern, name) for pattern in patterns):
            return label
    return "unsuitable"


def _fields(paragraph: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in paragraph.splitlines():
        match = re.match(r"([A-Za-z-]+):(.*)", line)
        if match and not line[0].isspace():
            name = match[1].lower()
            fields[name] = match[2].strip()
        elif name:
            fields[name] += "\n" + line.strip()
    return {key: value.strip() for key, value in fields.items()}

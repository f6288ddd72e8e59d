"""Which image messages are refused, whatever they hold."""

from __future__ import annotations

MAX_SIDE = 16384
"""Longest image side accepted, in pixels."""
MAX_PIXELS = 2**25
"""Largest image accepted, in pixels: 8K video, for which one feature map of the network takes 8 GiB."""
MIN_SIDE = 8
"""Shortest image side accepted, in pixels: one cell of the network."""

_QUOTED = 80  # characters


class ImageError(ValueError):
    """An image message that cannot be processed; the text says what was found and what was expected."""


def quoted(text: str) -> str:
    """Return a text of a message for an error: cut, because whoever sends it must not fill the log."""
    return repr(text if len(text) <= _QUOTED else f"{text[:_QUOTED]}...")


def check_size(width: int, height: int) -> None:
    """Raise `ImageError` unless an image of so many pixels is accepted."""
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"size {width} x {height} is too small; expected at least {MIN_SIDE} x {MIN_SIDE} pixels")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(
            f"size {width} x {height} is absurd; expected at most {MAX_SIDE} pixels a side and {MAX_PIXELS} in all"
        )

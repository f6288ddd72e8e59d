"""The encodings of sensor_msgs/image_encodings: how pixels lie in memory, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .limits import ImageError, quoted

Scaling = Literal["none", "full_range", "percentiles"]


@dataclass(frozen=True)
class Encoding:
    """What is known of one encoding.

    Attributes
    ----------
    dtype : numpy.dtype
        Type of one value.
    channels : int
        Values per pixel.
    luminance : int or None
        The channel to take alone, for YUV images.
    color : str
        8-bit encoding with the same order of channels, or "mono8".
    scaling : {"none", "full_range", "percentiles"}
        How values become 8-bit numbers.
    rows : callable
        Rows of `step` bytes that the data holds for a given image height: planar images have extra ones.
    """

    dtype: np.dtype[Any]
    channels: int
    luminance: int | None = None
    color: str = "mono8"
    scaling: Scaling = "none"
    rows: Callable[[int], int] = lambda height: height


def _named_encodings() -> dict[str, Encoding]:
    byte, word = np.dtype(np.uint8), np.dtype(np.uint16)
    table = {"mono8": Encoding(byte, 1), "mono16": Encoding(word, 1, scaling="full_range")}
    for order in ("rgb", "bgr", "rgba", "bgra", "bayer_rggb", "bayer_bggr", "bayer_gbrg", "bayer_grbg"):
        channels = 1 if order.startswith("bayer") else len(order)
        table[f"{order}8"] = Encoding(byte, channels, color=f"{order}8")
        table[f"{order}16"] = Encoding(word, channels, color=f"{order}8", scaling="full_range")
    for name, luminance in (("yuv422", 1), ("uyvy", 1), ("yuv422_yuy2", 0), ("yuyv", 0)):
        table[name] = Encoding(byte, 2, luminance=luminance)
    for name in ("nv12", "nv21"):
        table[name] = Encoding(byte, 1, rows=lambda height: height + (height + 1) // 2)
    table["nv24"] = Encoding(byte, 1, rows=lambda height: 3 * height)
    return table


_NAMED_ENCODINGS = _named_encodings()
_GENERIC_NAME = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)(?:C([1-9][0-9]{0,2}))?")  # OpenCV has at most 512 channels
_GENERIC_DTYPES = {
    "8U": np.uint8,
    "8S": np.int8,
    "16U": np.uint16,
    "16S": np.int16,
    "32S": np.int32,
    "32F": np.float32,
    "64F": np.float64,
}
_GENERIC_COLORS = {1: "mono8", 3: "bgr8", 4: "bgra8"}


def find_encoding(name: str) -> Encoding:
    """Return the encoding of that name.

    Raises
    ------
    ImageError
        If it is unknown, or its channels have no luminance.
    """
    if name in _NAMED_ENCODINGS:
        return _NAMED_ENCODINGS[name]
    generic = _GENERIC_NAME.fullmatch(name)
    if generic is None:
        raise ImageError(f"encoding {quoted(name)} is unknown; expected one of sensor_msgs/image_encodings")
    depth, channels = generic[1], int(generic[2] or 1)
    if channels not in _GENERIC_COLORS:
        raise ImageError(f"encoding {name!r} has no luminance; expected 1 (gray), 3 (BGR) or 4 (BGRA) channels")
    scaling: Scaling = "percentiles"
    if depth == "8U":
        scaling = "none"
    elif depth == "16U" and channels > 1:
        scaling = "full_range"
    return Encoding(np.dtype(_GENERIC_DTYPES[depth]), channels, color=_GENERIC_COLORS[channels], scaling=scaling)


def is_generic(name: str) -> bool:
    """Whether an encoding names only type and number of the channels, such as ``16UC1``."""
    return _GENERIC_NAME.fullmatch(name) is not None

"""Image messages from everything a broken or hostile camera could send; importing it needs ROS 2."""

from __future__ import annotations

import io
import struct
import zlib
from array import array
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image as pillow
from sensor_msgs.msg import CompressedImage, Image

BYTES_PER_PIXEL = {
    **dict.fromkeys(("mono8", "8UC1", "8SC1", "bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"), 1),
    **dict.fromkeys(("mono16", "16UC1", "16SC1", "bayer_rggb16", "yuv422", "uyvy", "yuv422_yuy2", "yuyv"), 2),
    **dict.fromkeys(("rgb8", "bgr8", "8UC3", "8SC3"), 3),
    **dict.fromkeys(("rgba8", "bgra8", "8UC4", "32SC1", "32FC1"), 4),
    **dict.fromkeys(("rgb16", "bgr16", "16UC3"), 6),
    **dict.fromkeys(("rgba16", "bgra16", "64FC1", "16UC4"), 8),
    **dict.fromkeys(("32FC3", "32SC3"), 12),
    **dict.fromkeys(("64FC3",), 24),
    **dict.fromkeys(("64FC4",), 32),
}
_PLANAR_ROWS = {"nv12": 1.5, "nv21": 1.5, "nv24": 3.0}
_BAD_ENCODINGS = ("", "rgb", "8UC", "8UC2", "8UC0", "16UC99999999999999999999", "bayer_rggb12", "h264", "\x00", "MONO8")
_LONG = ("8UC" + 5_000 * "9", 20_000 * "\u20ac")

_sides = st.one_of(st.integers(8, 48), st.integers(0, 9), st.sampled_from([2**14, 2**16, 2**31, 2**32 - 1]))
_offsets = st.one_of(st.just(0), st.integers(-70, 70), st.integers(-(2**32), 2**32))


@st.composite
def images(draw: st.DrawFn) -> Image:
    """Image messages that are right, nearly right, or nonsense."""
    name = draw(st.sampled_from([*BYTES_PER_PIXEL, *_PLANAR_ROWS, *_BAD_ENCODINGS, *_LONG]))
    width, height = draw(_sides), draw(_sides)
    step = _unsigned(width * BYTES_PER_PIXEL.get(name, 1) + draw(st.one_of(st.just(0), st.integers(0, 9), _offsets)))
    length = round(step * height * _PLANAR_ROWS.get(name, 1.0)) + draw(_offsets)
    message = Image(encoding=name, width=width, height=height, step=step)
    message.is_bigendian = draw(st.sampled_from([0, 1, 255]))
    message.header.frame_id = "camera_optical_frame"
    message.data = array("B", _noise(draw, min(max(length, 0), 100_000)))
    return message


def _unsigned(value: int) -> int:
    return min(max(value, 0), 2**32 - 1)


def _noise(draw: st.DrawFn, length: int) -> bytes:
    generator = np.random.default_rng(draw(st.integers(0, 2**16)))
    if draw(st.booleans()):
        return generator.bytes(length)
    special = np.array([np.nan, np.inf, -np.inf, 0.0, 1e300, -1e-300, 1.0, 0.5])  # if they are taken for 64FC1
    return generator.choice(special, length // 8 + 1).tobytes()[:length]


# Compressed


def _encoded(mode: str, format: str, size: tuple[int, int] | None = None, **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 4), np.uint8)
    image = (
        pillow.fromarray(pixels[..., :2].copy().view(np.uint16)[..., 0])
        if mode == "I;16"
        else pillow.fromarray(pixels, "RGBA").convert(mode)
    )
    buffer = io.BytesIO()
    (image.resize(size) if size else image).save(buffer, format, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, color: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG with right checksums that announces a size and holds these chunks after the header."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), *chunks, (b"IEND", b""))
    )


_ZEROS = zlib.compress(bytes(50_000_000), 9)  # 50 kB
BOMBS = [
    png(60_000, 60_000, 8, 2, (b"IDAT", _ZEROS)),
    png(2**31 - 1, 2**31 - 1, 16, 6, (b"IDAT", _ZEROS)),
    png(16_384, 2_049, 8, 6, (b"IDAT", _ZEROS)),
    png(40, 24, 8, 2, (b"IDAT", _ZEROS)),
    png(40, 24, 8, 2, (b"zTXt", b"comment\0\0" + _ZEROS), (b"IDAT", zlib.compress(bytes(24 * 121)))),
    png(40, 24, 8, 2, (b"iTXt", b"c\0\1\0\0\0" + _ZEROS), (b"IDAT", zlib.compress(bytes(24 * 121)))),
    png(40, 24, 8, 2, (b"iCCP", b"profile\0\0" + _ZEROS), (b"IDAT", zlib.compress(bytes(24 * 121)))),
]


def many_scans(number: int, size: tuple[int, int] | None = None) -> bytes:
    """Return a progressive JPEG whose last scan is repeated: little data, much decoding."""
    data = _encoded("RGB", "JPEG", size, progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:-2] + number * data[start:-2] + data[-2:]


SOURCES = [
    *(_encoded(mode, "JPEG") for mode in ("L", "RGB", "CMYK")),
    _encoded("RGB", "JPEG", progressive=True),
    *(_encoded(mode, "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I")),
    *(_encoded(mode, "TIFF") for mode in ("L", "RGB", "F", "I;16")),
    _encoded("RGB", "TIFF", compression="tiff_deflate"),
    _encoded("RGB", "TIFF", compression="jpeg"),
    _encoded("RGB", "BMP"),
    _encoded("RGB", "GIF"),
]
_FORMATS = [
    "jpeg",
    "png",
    "",
    "bgr8; jpeg compressed bgr8",
    "16UC1; png compressed ",
    "mono16; png compressed ",
    "\x00;",
]
_FORMATS += ["16UC1; compressedDepth png", "rgb8; tiff compressed rgb8"]
_FORMATS += [*_LONG, f"{_LONG[0]}; compressedDepth png"]


@st.composite
def compressed_images(draw: st.DrawFn) -> CompressedImage:
    """CompressedImage messages that are right, damaged, other files, or bombs."""
    data = bytearray(draw(st.sampled_from(SOURCES)))
    kind = draw(st.sampled_from(["whole", "bytes", "bytes", "cut", "spliced", "inserted", "bomb", "header", "scans"]))
    if kind == "bytes":
        for _ in range(draw(st.integers(1, 20))):
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    elif kind == "cut":
        del data[draw(st.integers(0, len(data))) :]
    elif kind == "spliced":
        other = draw(st.sampled_from(SOURCES))
        data = data[: draw(st.integers(0, len(data)))] + other[draw(st.integers(0, len(other))) :]
    elif kind == "inserted":
        position = draw(st.integers(0, len(data)))
        data[position:position] = draw(st.binary(max_size=200))
    elif kind == "bomb":
        data = bytearray(draw(st.sampled_from(BOMBS)))
    elif kind == "header":
        sides, depth, color = draw(st.tuples(_sides, _sides)), draw(st.integers(0, 33)), draw(st.integers(0, 7))
        data = bytearray(png(*sides, depth, color, (b"IDAT", zlib.compress(draw(st.binary(max_size=500))))))
    elif kind == "scans":
        data = bytearray(many_scans(draw(st.integers(0, 2_000))))
    message = CompressedImage(format=draw(st.sampled_from(_FORMATS)), data=array("B", bytes(data)))
    message.header.frame_id = "camera_optical_frame"
    return message

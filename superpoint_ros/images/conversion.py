"""From image messages to the 8-bit arrays that the detector reads.

Whatever a camera sends becomes ``uint8`` luminance (H, W) or RGB (H, W, 3):

- 8-bit images keep their values. ``8UC3`` and ``8UC4`` are taken as BGR and BGRA, OpenCV's order.
- YUV images (``yuv422``, ``uyvy``, ``yuv422_yuy2``, ``yuyv``, ``nv12``, ``nv21``, ``nv24``) give their Y channel as it
  is.
- Bayer images are demosaiced to RGB.
- ``mono16``, 16-bit colour and 16-bit Bayer are full range by definition: 65535 becomes 255.
- All other numbers (``16UC1``, ``32FC1`` ...: thermal, depth, disparity) have no agreed range. The 1st percentile of
  the image's finite values becomes black and the 99th white, image by image: a result then depends on its own image
  alone, not on the frames before, and the detector hardly sees the contrast change from frame to frame.
- A `value_range` replaces the last two rules by a fixed one, for example (0, 4095) for a 12-bit camera.
- Values outside the range saturate; NaN becomes black.

Row padding (``step``) and byte order (``is_bigendian``) are honoured.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from PIL import Image as pillow

if TYPE_CHECKING:  # messages of any library do, so that bags are read without ROS
    from sensor_msgs.msg import CompressedImage, Image

MAX_SIDE = 16384
"""Longest image side accepted, in pixels."""
MAX_PIXELS = 2**25
"""Largest image accepted, in pixels: 8K video, for which one feature map of the network takes 8 GiB."""
MIN_SIDE = 8
"""Shortest image side accepted, in pixels: one cell of the network."""
MAX_JPEG_SCANS = 100
"""Most scans of a JPEG accepted. Encoders write some ten; thousands of tiny ones would keep the decoder for minutes."""

_JPEG_SCAN = b"\xff\xda"  # the marker; in the data of a scan 0xff is always followed by 0 or a restart marker
_COMPRESSED_FORMATS = ("JPEG", "PNG", "TIFF")  # those of compressed_image_transport
_SAMPLED_VALUES = 50_000  # enough to estimate two percentiles, cheap enough for every frame

warnings.filterwarnings("ignore", category=pillow.DecompressionBombWarning)  # MAX_PIXELS is stricter
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # of damaged metadata; the image may be good

UInt8Image = npt.NDArray[np.uint8]
ValueRange = tuple[float, float]


class ImageError(ValueError):
    """An image message that cannot be processed; the text says what was found and what was expected."""


@dataclass(frozen=True)
class _Encoding:
    """How the pixels of an encoding lie in memory and what they mean.

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
    scaling: Literal["none", "full_range", "percentiles"] = "none"
    rows: Callable[[int], int] = lambda height: height


def _named_encodings() -> dict[str, _Encoding]:
    byte, word = np.dtype(np.uint8), np.dtype(np.uint16)
    table = {"mono8": _Encoding(byte, 1), "mono16": _Encoding(word, 1, scaling="full_range")}
    for order in ("rgb", "bgr", "rgba", "bgra", "bayer_rggb", "bayer_bggr", "bayer_gbrg", "bayer_grbg"):
        channels = 1 if order.startswith("bayer") else len(order)
        table[f"{order}8"] = _Encoding(byte, channels, color=f"{order}8")
        table[f"{order}16"] = _Encoding(word, channels, color=f"{order}8", scaling="full_range")
    for name, luminance in (("yuv422", 1), ("uyvy", 1), ("yuv422_yuy2", 0), ("yuyv", 0)):
        table[name] = _Encoding(byte, 2, luminance=luminance)
    for name in ("nv12", "nv21"):
        table[name] = _Encoding(byte, 1, rows=lambda height: height + (height + 1) // 2)
    table["nv24"] = _Encoding(byte, 1, rows=lambda height: 3 * height)
    return table


_NAMED_ENCODINGS = _named_encodings()
_GENERIC_ENCODING = re.compile(r"(8U|8S|16U|16S|32S|32F|64F)(?:C([1-9][0-9]*))?")
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


def _encoding(name: str) -> _Encoding:
    if name in _NAMED_ENCODINGS:
        return _NAMED_ENCODINGS[name]
    generic = _GENERIC_ENCODING.fullmatch(name)
    if generic is None:
        raise ImageError(f"encoding {name!r} is unknown; expected one of sensor_msgs/image_encodings")
    depth, channels = generic[1], int(generic[2] or 1)
    if channels not in _GENERIC_COLORS:
        raise ImageError(f"encoding {name!r} has no luminance; expected 1 (gray), 3 (BGR) or 4 (BGRA) channels")
    scaling: Literal["none", "full_range", "percentiles"] = "percentiles"
    if depth == "8U":
        scaling = "none"
    elif depth == "16U" and channels > 1:
        scaling = "full_range"
    return _Encoding(np.dtype(_GENERIC_DTYPES[depth]), channels, color=_GENERIC_COLORS[channels], scaling=scaling)


def check(message: Image | CompressedImage) -> None:
    """Check what can be checked without touching the pixels.

    Parameters
    ----------
    message : sensor_msgs.msg.Image or sensor_msgs.msg.CompressedImage
        As received. Of a compressed image the header is read; nothing is decompressed.

    Raises
    ------
    ImageError
        If the message is malformed: unknown encoding, empty, beyond `MAX_SIDE` or `MAX_PIXELS`, a `step` or a data
        length that does not fit the size, or not an image at all.
    """
    if _is_compressed(message):
        _open_compressed(message)
    else:
        _check_layout(message)


def to_array(message: Image | CompressedImage, value_range: ValueRange | None = None) -> UInt8Image:
    """Convert an image message to what the detector reads.

    Parameters
    ----------
    message : sensor_msgs.msg.Image or sensor_msgs.msg.CompressedImage
        As received.
    value_range : (float, float), optional
        The values that become black and white, for images of more than 8 bits; None applies the rules of this module.

    Returns
    -------
    numpy.ndarray, (H, W) or (H, W, 3), uint8
        Luminance or RGB. Shares memory with the message where nothing had to be converted.

    Raises
    ------
    ImageError
        If the message is malformed; see `check`. Compressed data can turn out corrupt only here.
    """
    if _is_compressed(message):
        return _decompress(message, value_range)
    encoding = _check_layout(message)
    pixels = _to_8_bit(_view(message, encoding), encoding.scaling, value_range)
    return _to_rgb(pixels, encoding.color)


def _is_compressed(message: Image | CompressedImage) -> bool:
    return hasattr(message, "format")


def _check_size(width: int, height: int) -> None:
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"size {width} x {height} is too small; expected at least {MIN_SIDE} x {MIN_SIDE} pixels")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(
            f"size {width} x {height} is absurd; expected at most {MAX_SIDE} pixels a side and {MAX_PIXELS} in all"
        )


def _check_layout(message: Image) -> _Encoding:
    encoding = _encoding(message.encoding)
    _check_size(message.width, message.height)
    row_bytes = message.width * encoding.channels * encoding.dtype.itemsize
    if message.step < row_bytes:
        raise ImageError(
            f"step is {message.step} bytes; expected at least {row_bytes} for {message.width} pixels {message.encoding}"
        )
    complete = message.step * encoding.rows(message.height)
    shortest = complete - message.step + row_bytes  # some drivers leave out the padding of the last row
    if not shortest <= len(message.data) <= complete:
        raise ImageError(
            f"data holds {len(message.data)} bytes; expected {complete} "
            f"for {message.height} rows {message.encoding} of {message.step} bytes"
        )
    return encoding


def _view(message: Image, encoding: _Encoding) -> npt.NDArray[Any]:
    """Return the pixels without copying them: (H, W), or (H, W, C) for C > 1."""
    dtype = encoding.dtype.newbyteorder(">" if message.is_bigendian else "<")
    pixels: npt.NDArray[Any] = np.ndarray(
        shape=(message.height, message.width, encoding.channels),
        dtype=dtype,
        buffer=message.data,
        strides=(message.step, encoding.channels * dtype.itemsize, dtype.itemsize),
    )
    if encoding.luminance is not None:
        return pixels[..., encoding.luminance]
    return pixels[..., 0] if encoding.channels == 1 else pixels


def _to_8_bit(pixels: npt.NDArray[Any], scaling: str, value_range: ValueRange | None) -> UInt8Image:
    if scaling == "none":
        return np.ascontiguousarray(pixels)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="))  # a copy: in native order, aligned and contiguous
    if value_range is None:
        value_range = (0.0, 65535.0) if scaling == "full_range" else _percentile_range(pixels)
    low, high = value_range
    if not 0.0 < high - low < np.inf:
        return np.zeros(pixels.shape, np.uint8)
    if pixels.dtype.kind == "f":
        np.nan_to_num(pixels, copy=False, nan=low, posinf=high, neginf=low)
    scaled = pixels.astype(np.float64 if pixels.dtype.itemsize > 2 else np.float32)
    scaled -= low
    scaled *= 255.0 / (high - low)
    return np.rint(np.clip(scaled, 0.0, 255.0, out=scaled)).astype(np.uint8)


def _percentile_range(pixels: npt.NDArray[Any]) -> ValueRange:
    """Return the 1st and 99th percentile of the finite values of an evenly spaced sample, alpha excluded."""
    values = pixels[..., :3] if pixels.ndim == 3 else pixels
    every = max(1, int(np.sqrt(values.size / _SAMPLED_VALUES)))
    sample = values[::every, ::every].astype(np.float64)
    finite = sample[np.isfinite(sample)]
    if finite.size == 0:
        return 0.0, 0.0
    low, high = np.percentile(finite, (1.0, 99.0))
    return float(low), float(high)


@dataclass(frozen=True)
class _PackedImage:
    """The fields of sensor_msgs/Image, for the conversion libraries: 8-bit, without padding."""

    width: int
    height: int
    encoding: str
    step: int
    data: memoryview
    is_bigendian: bool = False


def _to_rgb(pixels: UInt8Image, color: str) -> UInt8Image:
    if color in ("mono8", "rgb8"):
        return pixels
    height, width = pixels.shape[:2]
    packed = _PackedImage(width, height, color, pixels.strides[0], pixels.data)
    return _convert_color(packed, "rgb8")


_ColorConverter: TypeAlias = Callable[[_PackedImage, str], UInt8Image]


def _cv_bridge() -> _ColorConverter:
    from cv_bridge import CvBridge

    return cast(_ColorConverter, CvBridge().imgmsg_to_cv2)


def _rosbags_image() -> _ColorConverter:
    from rosbags.image import message_to_cvimage

    return cast(_ColorConverter, message_to_cvimage)


def _color_converter() -> _ColorConverter:
    """Return the conversion of cv_bridge, or of rosbags-image where there is no cv_bridge.

    Under NumPy 2, which pip may bring, rosbags-image goes first: the cv_bridge of Jazzy and Kilted is compiled for
    NumPy 1 and would crash the process.
    """
    is_numpy_1 = np.lib.NumpyVersion(np.__version__) < "2.0.0"
    first, second = (_cv_bridge, _rosbags_image) if is_numpy_1 else (_rosbags_image, _cv_bridge)
    try:
        return first()
    except ImportError:
        return second()


_convert_color = _color_converter()


def _open_compressed(message: CompressedImage) -> pillow.Image:
    """Read the header of a compressed image and check the size it announces."""
    if "compressedDepth" in message.format:
        raise ImageError(f"format {message.format!r} is depth; expected image_transport 'compressed' with JPEG or PNG")
    data = bytes(message.data)
    try:
        image = pillow.open(io.BytesIO(data), formats=_COMPRESSED_FORMATS)
    except pillow.DecompressionBombError as error:
        raise ImageError(f"size is absurd; expected at most {MAX_PIXELS} pixels: {error}") from error
    except Exception as error:  # decoders of hostile data raise anything
        raise ImageError(
            f"{len(message.data)} bytes of format {message.format!r} are no image; expected JPEG, PNG or TIFF data"
        ) from error
    _check_size(*image.size)
    scans = data.count(_JPEG_SCAN)
    if scans > MAX_JPEG_SCANS and image.format != "PNG":
        raise ImageError(f"JPEG data has {scans} scans; expected at most {MAX_JPEG_SCANS}")
    return image


def _decompress(message: CompressedImage, value_range: ValueRange | None) -> UInt8Image:
    image = _open_compressed(message)
    try:
        if image.mode.startswith(("I", "F")):
            original = message.format.partition(";")[0].strip()
            full_range = image.mode.startswith("I;16") and not _GENERIC_ENCODING.fullmatch(original)
            return _to_8_bit(np.array(image), "full_range" if full_range else "percentiles", value_range)
        gray = image.mode in ("1", "L", "LA")
        return np.array(image if image.mode in ("L", "RGB") else image.convert("L" if gray else "RGB"))
    except Exception as error:  # as above
        raise ImageError(
            f"{image.format} data of {image.size[0]} x {image.size[1]} pixels is corrupt: {error}"
        ) from error

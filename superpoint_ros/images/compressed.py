"""Messages of sensor_msgs/CompressedImage: JPEG, PNG and TIFF, whose decoders are handed hostile data."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as pillow

from .encodings import is_generic
from .limits import MAX_PIXELS, ImageError, check_size, quoted
from .scaling import UInt8Image, ValueRange, to_8_bit

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage

MAX_JPEG_SCANS = 100
"""Most scans of a JPEG accepted. Encoders write some ten; thousands of tiny ones would keep the decoder for minutes."""

_JPEG_SCAN = b"\xff\xda"  # the marker; in the data of a scan 0xff is always followed by 0 or a restart marker
_FORMATS = ("JPEG", "PNG", "TIFF")  # those of compressed_image_transport

warnings.filterwarnings("ignore", category=pillow.DecompressionBombWarning)  # MAX_PIXELS is stricter
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # of damaged metadata; the image may be good


def open_compressed(message: CompressedImage) -> pillow.Image:
    """Read the header of a compressed image and check the size it announces."""
    if "compressedDepth" in message.format:
        raise ImageError(
            f"format {quoted(message.format)} is depth; expected image_transport 'compressed' with JPEG or PNG"
        )
    data = bytes(message.data)
    try:
        image = pillow.open(io.BytesIO(data), formats=_FORMATS)
    except pillow.DecompressionBombError as error:
        raise ImageError(f"size is absurd; expected at most {MAX_PIXELS} pixels: {error}") from error
    except Exception as error:  # decoders of hostile data raise anything
        raise ImageError(
            f"{len(message.data)} bytes of format {quoted(message.format)} are no image; expected JPEG, PNG or TIFF"
        ) from error
    check_size(*image.size)
    scans = data.count(_JPEG_SCAN)
    if scans > MAX_JPEG_SCANS and image.format != "PNG":
        raise ImageError(f"JPEG data has {scans} scans; expected at most {MAX_JPEG_SCANS}")
    return image


def decompress(message: CompressedImage, value_range: ValueRange | None) -> UInt8Image:
    """Return luminance (H, W) or RGB (H, W, 3); `ImageError` if the data is corrupt."""
    image = open_compressed(message)
    try:
        if image.mode.startswith(("I", "F")):
            original = message.format.partition(";")[0].strip()
            full_range = image.mode.startswith("I;16") and not is_generic(original)
            return to_8_bit(np.array(image), "full_range" if full_range else "percentiles", value_range)
        gray = image.mode in ("1", "L", "LA")
        return np.array(image if image.mode in ("L", "RGB") else image.convert("L" if gray else "RGB"))
    except Exception as error:  # as above
        raise ImageError(
            f"{image.format} data of {image.size[0]} x {image.size[1]} pixels is corrupt: {error}"
        ) from error

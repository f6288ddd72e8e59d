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

from typing import TYPE_CHECKING

from .color import to_rgb
from .compressed import decompress, open_compressed
from .raw import check_layout, view
from .scaling import UInt8Image, ValueRange, to_8_bit

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage, Image


def check(message: Image | CompressedImage) -> tuple[int, int]:
    """Check what can be checked without touching the pixels.

    Parameters
    ----------
    message : sensor_msgs.msg.Image or sensor_msgs.msg.CompressedImage
        As received. Of a compressed image the header is read; nothing is decompressed.

    Returns
    -------
    (int, int)
        Width and height in pixels.

    Raises
    ------
    ImageError
        If the message is malformed: unknown encoding, empty, beyond `MAX_SIDE` or `MAX_PIXELS`, a `step` or a data
        length that does not fit the size, or not an image at all.
    """
    if _is_compressed(message):
        return open_compressed(message).size
    check_layout(message)
    return message.width, message.height


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
        return decompress(message, value_range)
    encoding = check_layout(message)
    pixels = to_8_bit(view(message, encoding), encoding.scaling, value_range)
    return to_rgb(pixels, encoding.color)


def _is_compressed(message: Image | CompressedImage) -> bool:
    return hasattr(message, "format")

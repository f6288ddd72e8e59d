"""Messages of sensor_msgs/Image: their layout checked, their pixels seen without a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .encodings import Encoding, find_encoding
from .limits import ImageError, check_size

if TYPE_CHECKING:  # messages of any library do, so that bags are read without ROS
    from sensor_msgs.msg import Image


def check_layout(message: Image) -> Encoding:
    """Return the encoding of a message whose size, `step` and length of the data go together; else `ImageError`."""
    encoding = find_encoding(message.encoding)
    check_size(message.width, message.height)
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


def view(message: Image, encoding: Encoding) -> npt.NDArray[Any]:
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

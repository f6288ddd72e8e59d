"""Pixels as image messages, and the topics that image_transport has for them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from .arrays import packed

TRANSPORTS = {"raw": ("image_raw", Image), "compressed": ("image_raw/compressed", CompressedImage)}
"""Topic below a camera's name and type of the messages, by the value of a parameter ``image_transport``."""


def image_message(header: Header, pixels: npt.NDArray[np.uint8], encoding: str) -> Image:
    """Return pixels, (H, W) or (H, W, C), as a message; `encoding` says what the channels are."""
    height, width = pixels.shape[:2]
    step = width * (pixels.shape[2] if pixels.ndim == 3 else 1)
    return Image(header=header, height=height, width=width, encoding=encoding, step=step, data=packed("B", pixels))

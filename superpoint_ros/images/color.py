"""8-bit colour and Bayer images as RGB, by cv_bridge or rosbags-image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np

from .scaling import UInt8Image


@dataclass(frozen=True)
class _PackedImage:
    """The fields of sensor_msgs/Image, for the conversion libraries: 8-bit, without padding."""

    width: int
    height: int
    encoding: str
    step: int
    data: memoryview
    is_bigendian: bool = False


def to_rgb(pixels: UInt8Image, encoding: str) -> UInt8Image:
    """Return pixels of an 8-bit encoding as RGB, (H, W, 3); luminance ("mono8") stays as it is."""
    if encoding in ("mono8", "rgb8"):
        return pixels
    height, width = pixels.shape[:2]
    packed = _PackedImage(width, height, encoding, pixels.strides[0], pixels.data)
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

"""Image messages, of ROS or of any library that reads bags, as 8-bit arrays. No ROS in here."""

from .compressed import MAX_JPEG_SCANS
from .conversion import check, to_array
from .limits import MAX_PIXELS, MAX_SIDE, MIN_SIDE, ImageError

__all__ = ["MAX_JPEG_SCANS", "MAX_PIXELS", "MAX_SIDE", "MIN_SIDE", "ImageError", "check", "to_array"]

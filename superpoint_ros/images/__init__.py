"""Image messages, of ROS or of any library that reads bags, as 8-bit arrays. No ROS in here."""

from .conversion import MAX_JPEG_SCANS, MAX_PIXELS, MAX_SIDE, MIN_SIDE, ImageError, check, to_array

__all__ = ["MAX_JPEG_SCANS", "MAX_PIXELS", "MAX_SIDE", "MIN_SIDE", "ImageError", "check", "to_array"]

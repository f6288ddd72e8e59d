"""Matching and two-view geometry of keypoints, in NumPy and OpenCV."""

from .bearings import CameraModel, bearing_vectors
from .homography import HomographyEstimate, corner_error, estimate_homography, warp_points
from .matching import Matches, match_descriptors
from .relative_pose import (
    RelativePose,
    estimate_relative_pose,
    normalize_points,
    rotation_error,
    translation_error,
)

__all__ = [
    "CameraModel",
    "HomographyEstimate",
    "Matches",
    "RelativePose",
    "bearing_vectors",
    "corner_error",
    "estimate_homography",
    "estimate_relative_pose",
    "match_descriptors",
    "normalize_points",
    "rotation_error",
    "translation_error",
    "warp_points",
]

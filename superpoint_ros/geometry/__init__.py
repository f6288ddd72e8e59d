"""Matching and two-view geometry of keypoints, in NumPy and OpenCV."""

from .bearings import CameraModel, bearing_vectors
from .guidance import RECTIFIED_STEREO, near_epipolar_lines, near_predictions
from .homography import HomographyEstimate, corner_error, estimate_homography, warp_points
from .matching import Matches, ModelMismatchError, match_descriptors
from .relative_pose import (
    RelativePose,
    estimate_relative_pose,
    normalize_points,
    rotation_error,
    translation_error,
)

__all__ = [
    "RECTIFIED_STEREO",
    "CameraModel",
    "HomographyEstimate",
    "Matches",
    "ModelMismatchError",
    "RelativePose",
    "bearing_vectors",
    "corner_error",
    "estimate_homography",
    "estimate_relative_pose",
    "match_descriptors",
    "near_epipolar_lines",
    "near_predictions",
    "normalize_points",
    "rotation_error",
    "translation_error",
    "warp_points",
]

"""The decoding options that may change from one image to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from .config import LONGEST_SIDE, Subpixel, SuperPointConfig, require_choice, require_int, require_number, set_fields


@dataclass(frozen=True)
class DetectionOptions:
    """What becomes a keypoint, and where it lies.

    Parameters
    ----------
    threshold : float
        Only pixels that score above this value, in [0, 1), become keypoints.
    nms_radius : int
        Radius of non-maximum suppression in pixels; 0 switches it off.
    max_keypoints : int
        Keypoints kept per image, best first; -1 keeps all.
    border : int
        Keypoints closer than this many pixels to any of the four image borders are dropped.
    resize : int
        Length in pixels that the longer image side is resized to before detection, keeping the
        aspect ratio; 0 keeps the native size. Keypoints are always in pixels of the given image.
    subpixel : {"none", "quadratic", "soft_argmax"}
        "none" keeps the centre of the best pixel. "quadratic" takes the vertex of a parabola through
        the logarithms of the best score and its neighbours along x and y, which is exact for a
        Gaussian peak. "soft_argmax" takes the mean position in the 5 x 5 window, weighted by score.

    Raises
    ------
    ValueError
        If a value is out of range; the message names the field.
    """

    threshold: float = 0.005
    nms_radius: int = 4
    max_keypoints: int = 1024
    border: int = 4
    resize: int = 0
    subpixel: Subpixel = "none"

    def __post_init__(self) -> None:
        set_fields(
            self,
            threshold=require_number("threshold", self.threshold, minimum=0.0, below=1.0),
            nms_radius=require_int("nms_radius", self.nms_radius, minimum=0, maximum=LONGEST_SIDE),
            max_keypoints=require_int("max_keypoints", self.max_keypoints, minimum=-1),
            border=require_int("border", self.border, minimum=0),
            resize=require_int("resize", self.resize, minimum=0, maximum=LONGEST_SIDE),
        )
        if 0 < self.resize < 16:
            raise ValueError(f"resize must be 0 (native size) or at least 16 pixels, got {self.resize!r}")
        require_choice("subpixel", self.subpixel, get_args(Subpixel))

    @classmethod
    def from_config(cls, config: SuperPointConfig) -> DetectionOptions:
        """Return the options that a checkpoint recommends."""
        return cls(
            threshold=config.keypoint_threshold,
            nms_radius=config.nms_radius,
            max_keypoints=config.max_keypoints,
            border=config.border_removal_distance,
            subpixel=config.subpixel,
        )

"""The parameters of the matcher node; every other mention of them is made from here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from superpoint_ros.matching import MatchOptions

from ..parameters.common import NodeParameters, cameras_parameter, stale_after_parameter
from ..parameters.declaration import parameter


@dataclass(frozen=True)
class MatcherParameters(NodeParameters):
    """Values of all parameters of the matcher.

    Raises
    ------
    ValueError
        If one of them is not allowed; the message names it.
    """

    mode: Literal["consecutive", "keyframes", "stereo"] = parameter(
        "consecutive",
        "What each frame is matched to: consecutive, the one before; keyframes, the last key frame; stereo, the right "
        "image of the pair to the left one.",
        choices=("consecutive", "keyframes", "stereo"),
    )
    cameras: tuple[str, ...] = cameras_parameter(
        "Cameras to serve: <name>/keypoints in, <name>/matches and <name>/tracks_image out. For stereo the left and "
        "the right one: <left>/stereo_matches and <left>/stereo_matches_image out.",
        "a list of different names that can start a topic name, two of them for stereo",
    )
    backend: Literal["auto", "numpy", "torch"] = parameter(
        "auto",
        "What computes the distances; auto is torch where it is installed, else numpy. torch is needed for a GPU and "
        "faster on some CPUs; numpy needs some 200 MB less.",
        choices=("auto", "numpy", "torch"),
    )
    device: str = parameter(
        "cpu",
        "Where torch computes; auto takes the first GPU where there is one.",
        accepts=lambda device: re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", device) is not None,
        constraint="auto, cpu, cuda or cuda:N",
    )
    estimate: Literal["none", "homography", "essential"] = parameter(
        "none",
        "What is estimated from the matches: homography, for flat scenes and pure rotation, or essential, which needs "
        "<name>/camera_info. It tells inliers from outliers; tracks follow inliers only.",
        choices=("none", "homography", "essential"),
    )
    sync_slop: float = parameter(
        0.005,
        "Seconds by which the stamps of left and right may differ; 0.0 pairs equal stamps only.",
        minimum=0.0,
        maximum=1.0,
    )
    process_without_subscribers: bool = parameter(
        False, "Whether keypoints are matched even while nobody subscribes to matches or overlay.", live=True
    )
    max_ratio: float = parameter(
        1.0,
        "Lowe's ratio test: the distance to the nearest descriptor may be at most this share of the distance to the "
        "second nearest; 1 lets all pass.",
        minimum=0.0,
        maximum=1.0,
        live=True,
    )
    max_distance: float = parameter(
        2.0,
        "Greatest Euclidean distance between matching descriptors; 2 lets all pass.",
        minimum=0.0,
        maximum=2.0,
        live=True,
    )
    search_radius: float = parameter(
        0.0,
        "Keypoints are sought within so many pixels of where they were, or of where the last homography predicts them "
        "if one is estimated; 0 searches the whole image.",
        minimum=0.0,
        maximum=10000.0,
        live=True,
    )
    epipolar_distance: float = parameter(
        0.0,
        "For rectified stereo images: rows by which partners may differ, in pixels; 0 searches the whole image.",
        minimum=0.0,
        maximum=1000.0,
        live=True,
    )
    max_error: float = parameter(
        3.0, "Greatest distance of an inlier from the estimate, in pixels.", minimum=0.01, maximum=100.0, live=True
    )
    keyframe_overlap: float = parameter(
        0.3,
        "A frame becomes the next key frame when fewer than this share of the key frame's keypoints are found in it: "
        "inliers of what is estimated, or, if nothing is, matches nearer than 0.9.",
        minimum=0.0,
        maximum=1.0,
        live=True,
    )
    trail_length: int = parameter(
        10, "Frames over which the overlay shows where keypoints were.", minimum=2, maximum=100, live=True
    )
    overlay_images: bool = parameter(
        True, "Whether overlays are drawn on the camera's images, which are received for that only, or on black."
    )
    image_transport: Literal["raw", "compressed"] = parameter(
        "raw",
        "Where these images come from: <name>/image_raw or <name>/image_raw/compressed.",
        choices=("raw", "compressed"),
    )

    stale_after: float = stale_after_parameter("keypoints")

    def check_cameras(self) -> None:
        """Raise ``ValueError`` unless the number of cameras suits the mode."""
        if self.mode == "stereo" and len(self.cameras) != 2:
            raise ValueError(f"mode stereo needs two cameras, left and right, but cameras has {len(self.cameras)}")

    def match_options(self) -> MatchOptions:
        """Return the part that concerns the matching of two frames."""
        return MatchOptions(
            max_ratio=self.max_ratio,
            max_distance=self.max_distance,
            search_radius=self.search_radius,
            epipolar_distance=self.epipolar_distance if self.mode == "stereo" else 0.0,
            estimate=self.estimate,
            max_error=self.max_error,
            array_backend="numpy" if self.backend == "numpy" else "auto",
        )

"""The parameters of the detector node; every other mention of them is made from here."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..parameters.common import NodeParameters, cameras_parameter, stale_after_parameter
from ..parameters.declaration import parameter

if TYPE_CHECKING:  # so that parameters can be read and set where PyTorch is missing
    from superpoint_ros.superpoint import DetectionOptions


def _is_value_range(values: tuple[float, ...]) -> bool:
    return len(values) == 2 and all(map(math.isfinite, values)) and (values == (0.0, 0.0) or values[0] < values[1])


@dataclass(frozen=True)
class DetectorParameters(NodeParameters):
    """Values of all parameters of the detector.

    Raises
    ------
    ValueError
        If one of them is not allowed; the message names it.
    """

    cameras: tuple[str, ...] = cameras_parameter(
        "Cameras to serve: <name>/image_raw in, <name>/keypoints and <name>/keypoints_image out."
    )
    image_transport: Literal["raw", "compressed"] = parameter(
        "raw",
        "raw subscribes to <name>/image_raw, compressed to <name>/image_raw/compressed (JPEG, PNG).",
        choices=("raw", "compressed"),
    )
    weights: str = parameter(
        "default",
        "default or small (the bundled weights; small has a quarter of the arithmetic), a checkpoint file, a Hugging "
        "Face model folder or id, or random (for tests).",
    )
    device: str = parameter(
        "auto",
        "Where the network runs; auto takes the first GPU where there is one.",
        accepts=lambda device: re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", device) is not None,
        constraint="auto, cpu, cuda or cuda:N",
    )
    backend: Literal["auto", "torch", "openvino"] = parameter(
        "auto",
        "What runs the network; auto is openvino on a CPU where it is installed, else torch.",
        choices=("auto", "torch", "openvino"),
    )
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] = parameter(
        "auto",
        "Arithmetic of the network; auto is fp16 on a GPU and fp32 on a CPU. int8 needs openvino and, for other "
        "weights than the bundled ones, a model made by `python -m superpoint_ros quantize`. Decoding is always fp32.",
        choices=("auto", "fp32", "bf16", "fp16", "int8"),
    )
    threads: int = parameter(
        0,
        "CPU threads that compute the network; 0: as many as PyTorch takes, normally all cores. Fewer leave the others "
        "to the rest of the robot.",
        minimum=0,
        maximum=1024,
    )
    frame_policy: Literal["latest", "all"] = parameter(
        "latest",
        "latest processes the newest image of each camera and drops older ones; all processes every image that arrives "
        "alone and in order, for bags and evaluation: those that wait take memory.",
        choices=("latest", "all"),
    )
    max_batch_size: int = parameter(
        0,
        "Images of equal size, of different cameras, that go through the network together at most; 0: 8 with torch and "
        "1 with openvino, where batches are hardly faster and take as many times the memory. frame_policy all takes "
        "1.",
        minimum=0,
        maximum=8,
    )
    max_rate: float = parameter(
        0.0,
        "Images per second that the node processes at most, of all cameras together; 0.0 for all. Cameras get equal "
        "shares, and what a slow one does not use goes to the others.",
        minimum=0.0,
        maximum=1000.0,
        live=True,
    )
    process_without_subscribers: bool = parameter(
        False, "Whether images are processed even while nobody subscribes to keypoints or overlay.", live=True
    )
    threshold: float = parameter(
        0.01, "Only pixels that score above this value become keypoints.", minimum=0.0, maximum=0.99, live=True
    )
    nms_radius: int = parameter(
        4, "Radius of non-maximum suppression in pixels; 0 switches it off.", minimum=0, maximum=64, live=True
    )
    max_keypoints: int = parameter(
        1024, "Keypoints kept per image, best first; -1 keeps all.", minimum=-1, maximum=1_000_000, live=True
    )
    border: int = parameter(
        4,
        "Keypoints closer than this many pixels to the image border are dropped.",
        minimum=0,
        maximum=4096,
        live=True,
    )
    resize: int = parameter(
        0,
        "Length in pixels that the longer image side is resized to before detection; 0 keeps the native size. "
        "Keypoints are always in pixels of the received image.",
        minimum=0,
        maximum=4096,
        accepts=lambda length: length == 0 or length >= 16,
        constraint="0, or an integer in [16, 4096]",
        live=True,
    )
    max_pixels: int = parameter(
        2**23,
        "Pixels that an image may have; larger ones are dropped as malformed, before anything is decoded. The network "
        "takes hundreds of bytes of memory for each pixel.",
        minimum=1024,
        maximum=2**25,
        live=True,
    )
    subpixel: Literal["none", "quadratic", "soft_argmax"] = parameter(
        "soft_argmax",
        "Refinement of keypoint positions: none, the vertex of a parabola, or the mean weighted by score. The default "
        "is what the bundled weights measure best with.",
        choices=("none", "quadratic", "soft_argmax"),
        live=True,
    )
    value_range: tuple[float, ...] = parameter(
        (0.0, 0.0),
        "Pixel values that become black and white, for images of more than 8 bits: [0.0, 4095.0] for a 12-bit camera. "
        "[0.0, 0.0] takes the full range of mono16 and 16-bit colour, and from the 1st to the 99th percentile of each "
        "image of another encoding (16UC1, 32FC1 ...).",
        accepts=_is_value_range,
        constraint="two floating-point numbers, the second one greater, or [0.0, 0.0]",
        live=True,
    )
    mask: str = parameter(
        "",
        "Path of an image as large as the camera's: keypoints lie only where it is not 0. {camera} in it stands for "
        "the camera's name, / replaced by _; without, all cameras share it. Empty allows keypoints everywhere.",
        live=True,
    )
    publish_descriptors: bool = parameter(
        True, "Whether messages carry descriptors; they are computed anyway.", live=True
    )
    descriptor_type: Literal["float32", "int8"] = parameter(
        "float32",
        "Type of published descriptors; int8 is a quarter of the size: 127 times the value, rounded.",
        choices=("float32", "int8"),
        live=True,
    )

    publish_bearings: bool = parameter(
        False,
        "Whether messages carry the direction of each keypoint, from the camera_info beside the image topic.",
        live=True,
    )
    stale_after: float = stale_after_parameter("an image")
    warn_below_rate: float = parameter(
        0.0,
        "Published results per second of a camera below which /diagnostics warns; 0.0 never.",
        minimum=0.0,
        maximum=1000.0,
        live=True,
    )
    error_below_rate: float = parameter(0.0, "The same for an error.", minimum=0.0, maximum=1000.0, live=True)
    warn_above_latency: float = parameter(
        0.0,
        "Seconds from reception to publication, as 95th percentile, above which /diagnostics warns; 0.0 never.",
        minimum=0.0,
        maximum=3600.0,
        live=True,
    )
    error_above_latency: float = parameter(0.0, "The same for an error.", minimum=0.0, maximum=3600.0, live=True)
    warn_above_age: float = parameter(
        0.0,
        "Seconds from an image's stamp to its reception, as 95th percentile, above which /diagnostics warns; 0.0 "
        "never.",
        minimum=0.0,
        maximum=3600.0,
        live=True,
    )
    error_above_age: float = parameter(0.0, "The same for an error.", minimum=0.0, maximum=3600.0, live=True)

    def detection_options(self) -> DetectionOptions:
        """Return the part that the extractor takes between two images."""
        from superpoint_ros.superpoint import DetectionOptions

        return DetectionOptions(
            threshold=self.threshold,
            nms_radius=self.nms_radius,
            max_keypoints=self.max_keypoints,
            border=self.border,
            resize=self.resize,
            subpixel=self.subpixel,
        )

    def fixed_value_range(self) -> tuple[float, float] | None:
        """Return the range of pixel values, None if the conversion's own rules apply."""
        low, high = self.value_range
        return (low, high) if high > low else None

"""What the command lines have in common: the options of every command that runs the extractor, and bounded numbers."""

from __future__ import annotations

import argparse
import math
from dataclasses import fields
from typing import Any, get_args

from .backends import BACKENDS, PRECISIONS
from .config import Subpixel
from .extractor import SuperPointExtractor
from .options import DetectionOptions

_RUNTIME_OPTIONS = ("device", "backend", "precision", "threads")


def add_extractor_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare weights, where they run, and the fields of `DetectionOptions`; those not given are the weights' own."""
    group = parser.add_argument_group("detector")
    group.add_argument("--weights", default="default", help="'default', 'small', 'random', a file, folder or model id")
    group.add_argument("--device", default="auto", help="auto, cpu or cuda:N")
    group.add_argument("--backend", default="auto", choices=BACKENDS, help="what runs the network")
    group.add_argument("--precision", default="auto", choices=PRECISIONS, help="of the network")
    group.add_argument("--threads", type=int, default=0, help="CPU threads (default 0: as many as PyTorch uses)")
    group.add_argument("--threshold", type=float, help="score above which a pixel becomes a keypoint")
    group.add_argument("--nms-radius", type=int, help="radius of non-maximum suppression in pixels")
    group.add_argument("--max-keypoints", type=int, help="keypoints kept per image; -1 keeps all")
    group.add_argument("--border", type=int, help="width in pixels of the border without keypoints")
    group.add_argument("--resize", type=int, help="longer image side in pixels for detection; 0 keeps the size")
    group.add_argument("--subpixel", choices=get_args(Subpixel), help="sub-pixel method")


def positive_int(text: str) -> int:
    """Parse a whole number of at least 1, for argparse."""
    return _whole_number(text, 1)


def non_negative_int(text: str) -> int:
    """Parse a whole number of at least 0, for argparse."""
    return _whole_number(text, 0)


def positive_float(text: str) -> float:
    """Parse a finite number above 0, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def _whole_number(text: str, minimum: int) -> int:
    if not text.isdecimal() or int(text) < minimum:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least {minimum}, got {text!r}")
    return int(text)


def extractor_from(arguments: argparse.Namespace, max_batch_size: int = 0) -> SuperPointExtractor:
    """Return the extractor that the parsed arguments describe.

    Raises
    ------
    ValueError
        If weights, device or an option cannot be used.
    """
    names = (*_RUNTIME_OPTIONS, *(field.name for field in fields(DetectionOptions)))
    options: dict[str, Any] = {name: getattr(arguments, name) for name in names}
    return SuperPointExtractor.from_pretrained(arguments.weights, max_batch_size=max_batch_size, **options)

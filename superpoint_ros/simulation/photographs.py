"""Free photographs that come with the scikit-image package."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "coffee.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "rocket.jpg",
)
"""In the public domain or dedicated to it by their authors; docs/odometry.md lists them with their sources."""


class PhotographError(ValueError):
    """A photograph is missing or cannot be read; the message says which and what to install."""


def load_photograph(name: str) -> NDArray[np.uint8]:
    """Read one of scikit-image's photographs as BGR (H, W, 3).

    Raises
    ------
    PhotographError
        If scikit-image is not installed, is too old to have it, or the file cannot be read.
    """
    spec = importlib.util.find_spec("skimage")  # its images are plain files: the package need not be imported
    if spec is None or spec.origin is None:
        raise PhotographError("the photographs come with scikit-image, which is not installed")
    path = Path(spec.origin).parent / "data" / name
    if not path.is_file():
        raise PhotographError(f"this scikit-image has no {path}; install version 0.18 or later")
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise PhotographError(f"{path}: not an image that OpenCV can read")
    return np.asarray(image, np.uint8)

"""Image files that commands are given: refused before anything is computed, read, and written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .files import replacing


def require_images(paths: Sequence[Path]) -> None:
    """Raise ``ValueError`` for the first path that is no file."""
    for path in paths:
        if path.is_dir():
            raise ValueError(f"{path}: is a folder; give the image files, such as {path / '*.jpg'}")
        if not path.is_file():
            raise ValueError(f"{path}: no such file")


def require_picture_name(path: Path) -> None:
    """Raise ``ValueError`` unless a picture can be written to a file of that name."""
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; it must be a file, such as {path / 'overlay.png'}")
    if not cv2.haveImageWriter(str(path)):
        raise ValueError(f"{path}: the suffix must be that of an image format, such as .png")


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as (H, W, 3) uint8 RGB.

    Raises
    ------
    ValueError
        If it is not an image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: not an image that OpenCV reads, or a damaged one")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an (H, W, 3) RGB image in the format of the file's suffix.

    Raises
    ------
    ValueError
        If the image cannot be written in that format.
    """
    succeeded, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not succeeded:
        raise ValueError(f"{path}: the image cannot be written in this format")
    with replacing(path) as partial:
        partial.write_bytes(encoded.tobytes())

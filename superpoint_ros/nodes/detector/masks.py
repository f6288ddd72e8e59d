"""Mask images: where keypoints may lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image as pillow

from superpoint_ros.images import MAX_PIXELS

Mask: TypeAlias = npt.NDArray[np.uint8]
"""(H, W); keypoints are allowed where it is not zero."""


_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "PPM", "GIF", "WEBP")  # not EPS, for which Pillow runs a program


class MaskError(ValueError):
    """A mask that cannot be used; the text names the file and says why."""


def load_masks(path: str, cameras: Sequence[str]) -> dict[str, Mask]:
    """Read the masks of all cameras.

    Parameters
    ----------
    path : str
        Of one image for all cameras, or with ``{camera}`` in the place of their names, in which ``/`` becomes ``_``;
        empty for no masks.
    cameras : sequence of str
        Names.

    Returns
    -------
    dict
        Mask by camera; empty if there are none.

    Raises
    ------
    MaskError
        If a file is no image, or not of a usual format.
    """
    if not path:
        return {}
    paths = {camera: path.replace("{camera}", camera.strip("/").replace("/", "_")) for camera in cameras}
    masks = {file: _load(file) for file in sorted(set(paths.values()))}
    return {camera: masks[file] for camera, file in paths.items()}


def check_size(mask: Mask, image_size: tuple[int, int], camera: str) -> None:
    """Raise `MaskError` unless `mask` is as large as the images, of (width, height) pixels."""
    height, width = mask.shape
    if (width, height) != image_size:
        raise MaskError(
            f"the mask of {camera} has {width} x {height} pixels, its images have {image_size[0]} x {image_size[1]}"
        )


def _load(path: str) -> Mask:
    try:
        file = Path(path).expanduser()
        if file.exists() and not file.is_file():  # who opens a pipe may wait for ever
            raise MaskError(f"mask {path} is not a regular file")
        with pillow.open(file, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise MaskError(f"mask {path} has {image.width} x {image.height} pixels; expected at most {MAX_PIXELS}")
            pixels = np.asarray(image.convert("RGB") if image.mode == "P" else image)
            has_alpha = "A" in image.getbands()
    except MaskError:
        raise
    except Exception as error:  # decoders of hostile data raise anything
        raise MaskError(f"mask {path} cannot be read as an image: {error}") from error
    if pixels.ndim == 3:
        pixels = (pixels[..., :-1] if has_alpha else pixels).max(axis=2)
    return np.asarray(pixels != 0, np.uint8)

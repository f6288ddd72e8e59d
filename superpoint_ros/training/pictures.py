"""Which pictures are of use, which are the same, and how they are cut into crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]


@dataclass(frozen=True)
class CropOptions:
    """How pictures are cut: sizes in pixels, `scales` relative to the picture just covering one crop."""

    height: int
    width: int
    per_image: int
    scales: tuple[float, ...] = (1.0,)
    min_corners: int = 60


def image_hash(gray: Gray) -> int:
    """Return the 64-bit difference hash: the signs of horizontal differences in a 9 x 8 thumbnail."""
    thumbnail = cv2.resize(gray, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    return int.from_bytes(np.packbits(np.diff(thumbnail, axis=1) > 0).tobytes(), "big")


def unsuitable(image: NDArray[Any], options: CropOptions) -> str | None:
    """Return why a decoded picture is of no use (small, transparent, flat, drawing or text), or None."""
    height, width = image.shape[:2]
    if height < options.height / 1.2 or width < options.width / 1.2:
        return "too small"
    if image.ndim == 3 and image.shape[2] == 4 and np.mean(image[..., 3] < 250) > 0.01:
        return "transparent"
    gray = to_gray(image)
    histogram = np.bincount(gray.ravel(), minlength=256) / gray.size
    if gray.std() < 12:
        return "too flat"
    if histogram.max() > 0.3 or np.count_nonzero(histogram > 1e-4) < 64:
        return "drawing, text or logo"
    return None


def to_gray(image: NDArray[Any]) -> Gray:
    """Convert a decoded picture of any depth and channel count to 8-bit luminance."""
    if image.dtype == np.uint16:
        image = (image // 257).astype(np.uint8)
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2GRAY if image.shape[2] == 4 else cv2.COLOR_BGR2GRAY)
    return image.astype(np.uint8, copy=False)


def cut_crops(gray: Gray, options: CropOptions, rng: np.random.Generator) -> list[Gray]:
    """Cut a picture into textured tiles at several scales, at most ``options.per_image`` of them."""
    height, width = gray.shape
    cover = max(options.height / height, options.width / width)
    crops = []
    for scale in options.scales:
        factor = cover * scale
        if factor > max(1.0, cover):
            break
        resized = cv2.resize(
            gray,
            (max(options.width, round(width * factor)), max(options.height, round(height * factor))),
            interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC,
        )
        for top in _tile_starts(resized.shape[0], options.height):
            for left in _tile_starts(resized.shape[1], options.width):
                tile = np.asarray(resized[top : top + options.height, left : left + options.width], np.uint8)
                if _corner_count(tile) >= options.min_corners:
                    crops.append(np.ascontiguousarray(tile))
    keep = rng.permutation(len(crops))[: options.per_image]
    return [crops[index] for index in sorted(keep)]


def _tile_starts(length: int, tile: int) -> list[int]:
    count = length // tile
    return [round(start) for start in np.linspace(0, length - tile, count)]


def _corner_count(tile: Gray) -> int:
    blurred = cv2.GaussianBlur(tile, (0, 0), 1.0)
    response = cv2.cornerMinEigenVal(blurred, 5)
    maxima = (response == cv2.dilate(response, np.ones((9, 9)))) & (response > 1e-4)
    return int(maxima.sum())

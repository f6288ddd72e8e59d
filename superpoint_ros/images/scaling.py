"""Numbers of any type as 8-bit numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .encodings import Scaling

UInt8Image = npt.NDArray[np.uint8]
ValueRange = tuple[float, float]

_SAMPLED_VALUES = 50_000  # enough to estimate two percentiles, cheap enough for every frame


@np.errstate(invalid="ignore")  # signalling NaNs among the pixels, which become black like others
def to_8_bit(pixels: npt.NDArray[Any], scaling: Scaling, value_range: ValueRange | None) -> UInt8Image:
    """Scale pixels to 0 to 255 by the rules in `conversion`.

    Parameters
    ----------
    pixels : numpy.ndarray, (H, W) or (H, W, C)
    scaling : {"none", "full_range", "percentiles"}
        The rule of their encoding.
    value_range : (float, float), optional
        The values that become black and white, instead of that rule unless it is "none".
    """
    if scaling == "none":
        return np.ascontiguousarray(pixels)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="))  # a copy: in native order, aligned and contiguous
    if value_range is None:
        value_range = (0.0, 65535.0) if scaling == "full_range" else _percentile_range(pixels)
    low, high = value_range
    if not 0.0 < high - low < np.inf:
        return np.zeros(pixels.shape, np.uint8)
    is_ordinary = pixels.dtype.itemsize <= 2 and 1e-30 < high - low < 1e30 and max(-low, high) < 1e30
    scaled = pixels.astype(np.float32 if is_ordinary else np.float64)
    if pixels.dtype.kind == "f":
        np.nan_to_num(scaled, copy=False, nan=low, posinf=high, neginf=low)
    np.clip(scaled, low, high, out=scaled)  # first, so that nothing below can overflow
    scaled -= low
    scaled /= high - low
    scaled *= 255.0
    return np.rint(scaled, out=scaled).astype(np.uint8)


def _percentile_range(pixels: npt.NDArray[Any]) -> ValueRange:
    """Return the 1st and 99th percentile of the finite values of an evenly spaced sample, alpha excluded."""
    values = pixels[..., :3] if pixels.ndim == 3 else pixels
    every = max(1, int(np.sqrt(values.size / _SAMPLED_VALUES)))
    sample = values[::every, ::every].astype(np.float64)
    finite = sample[np.isfinite(sample)]
    if finite.size == 0:
        return 0.0, 0.0
    low, high = np.percentile(finite, (1.0, 99.0))
    return float(low), float(high)

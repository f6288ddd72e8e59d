"""The picture that people look at: keypoints on the image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .features import Features

_SUBPIXEL_BITS = 4  # cv2 draws at 1/16 pixel
_SMALLEST_RADIUS, _RADIUS_RANGE = 1.0, 2.5  # in pixels, at 640 pixels of image width


def draw_overlay(image: NDArray[np.uint8], features: Features, milliseconds: float | None = None) -> NDArray[np.uint8]:
    """Draw keypoints, sized and coloured by score, and their number.

    Parameters
    ----------
    image : numpy.ndarray, (H, W) or (H, W, 3), uint8
        Luminance or RGB; left as it is.
    features : Features
        Of that image.
    milliseconds : float, optional
        Time to write beside the number of keypoints.

    Returns
    -------
    numpy.ndarray, (H, W, 3), uint8
        RGB. Circles grow from small and blue to large and red with the score, on a logarithmic scale between the
        lowest and the highest of the image; the best lie on top.
    """
    canvas = np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image.copy()
    size = max(1, round(max(image.shape[:2]) / 640))
    centers = np.rint(features.keypoints * 2**_SUBPIXEL_BITS).astype(int)
    levels = _score_levels(features.scores)
    radii = np.rint((_SMALLEST_RADIUS + _RADIUS_RANGE * levels) * size * 2**_SUBPIXEL_BITS).astype(int)
    colors = _colors(levels)
    worst_first = np.argsort(levels, kind="stable")
    for (x, y), radius, color in zip(*(values[worst_first].tolist() for values in (centers, radii, colors))):
        cv2.circle(canvas, (x, y), radius, color, thickness=size, lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS)
    text = f"{len(features)} keypoints" + (f", {milliseconds:.1f} ms" if milliseconds is not None else "")
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, max(0.3, max(image.shape[:2]) / 1280)
    corner = (round(16 * scale), round(36 * scale))
    for color, thickness in (((0, 0, 0), 3 * size), ((255, 255, 255), size)):  # white with a black rim
        cv2.putText(canvas, text, corner, font, scale, color, thickness, cv2.LINE_AA)
    return canvas


def _score_levels(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return where scores lie between the lowest, 0, and the highest, 1, on a logarithmic scale."""
    if len(scores) == 0:
        return scores
    logarithms = np.log(np.maximum(scores, np.finfo(np.float32).tiny))
    spread = max(float(np.ptp(logarithms)), 1e-6)
    return np.asarray((logarithms - logarithms.min()) / spread, np.float32)


def _colors(levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return RGB colours, (N, 3)."""
    if len(levels) == 0:
        return np.empty((0, 3), np.uint8)
    ramp = np.rint(255 * levels).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(ramp[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1], np.uint8)

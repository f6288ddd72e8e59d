"""The pictures that people look at: matches between two images, tracks over several."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from .trails import Trails

Image = NDArray[np.uint8]

_SUBPIXEL_BITS = 4  # cv2 draws at 1/16 pixel
_OUTLIER = (150, 150, 150)
_FAINTEST = 0.25  # opacity of the oldest part of a trail, and of many lines between two images
_FEW_LINES = 60  # so many hide nothing of the images


def draw_matches(
    images: tuple[Image, Image],
    points: tuple[NDArray[np.float32], NDArray[np.float32]],
    distances: NDArray[np.float32],
    inliers: NDArray[np.bool_],
    text: str,
) -> Image:
    """Draw two images side by side and lines between matched points.

    Parameters
    ----------
    images : two ndarrays, (H, W) or (H, W, 3), uint8
        Luminance or RGB.
    points : two ndarrays, (M, 2)
        Matched points, in pixels of their images.
    distances : ndarray, (M,)
        Of the descriptors.
    inliers : ndarray, (M,), bool
    text : str
        Written into the corner.

    Returns
    -------
    ndarray, (H, W, 3), uint8
        RGB. Inliers run from red for the most alike to blue, in the order of their distances, the most alike on top;
        outliers lie below them, grey. The more lines there are, the more the images shine through.
    """
    first, second = (_rgb(image) for image in images)
    height, offset = max(len(first), len(second)), first.shape[1]
    canvas = np.zeros((height, offset + second.shape[1], 3), np.uint8)
    canvas[: len(first), :offset], canvas[: len(second), offset:] = first, second
    size = _line_width(canvas.shape[1] // 2)
    ends = np.stack([points[0], points[1] + np.array([offset, 0])], axis=1)
    worst_first = np.flatnonzero(inliers)[np.argsort(-distances[inliers], kind="stable")]
    lines = _fixed_point(ends[np.concatenate([np.flatnonzero(~inliers), worst_first])]).tolist()
    colors = [_OUTLIER] * int((~inliers).sum()) + _colors(np.linspace(0, 1, len(worst_first))).tolist()
    layer = canvas.copy()
    for line, color in zip(lines, colors):
        _draw_line(layer, line, color, size)
    opacity = float(np.clip(_FEW_LINES / max(len(lines), 1), _FAINTEST, 1))
    cv2.addWeighted(layer, opacity, canvas, 1 - opacity, 0, canvas)
    for line, color in zip(lines, colors):
        for end in line:
            _draw_dot(canvas, end, color, size)
    write_caption(canvas, text, size)
    return canvas


def draw_trails(image: Image, trails: Trails, text: str) -> Image:
    """Draw where keypoints were in the last frames: trails that fade with time, and dots where they are now.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, 3), uint8
        Luminance or RGB; left as it is.
    trails : Trails
        Of its keypoints. Those seen nowhere else are not drawn, nor those that are not seen now.
    text : str
        Written into the corner.

    Returns
    -------
    ndarray, (H, W, 3), uint8
        RGB. Colours run from blue for keypoints followed for a moment to red for those seen in all frames of the trail.
    """
    canvas: Image = _rgb(image).copy()
    size = _line_width(image.shape[1])
    lengths = trails.lengths
    shown = (lengths > 1) & np.isfinite(trails.positions[:, -1, 0])
    positions, frames = trails.positions[shown], trails.positions.shape[1]
    colors = _colors((lengths[shown] - 1) / (frames - 1))
    for step in range(frames - 1):
        segments = positions[:, step : step + 2]
        drawn = np.isfinite(segments).all(axis=(1, 2))
        if not drawn.any():
            continue
        layer = canvas.copy()
        for line, color in zip(_fixed_point(segments[drawn]).tolist(), colors[drawn].tolist()):
            _draw_line(layer, line, color, size)
        opacity = _FAINTEST + (1 - _FAINTEST) * (step + 1) / (frames - 1)
        cv2.addWeighted(layer, opacity, canvas, 1 - opacity, 0, canvas)
    for place, color in zip(_fixed_point(positions[:, -1]).tolist(), colors.tolist()):
        _draw_dot(canvas, place, color, size)
    write_caption(canvas, text, size)
    return canvas


def write_caption(canvas: Image, text: str, size: int) -> None:
    """Write into the top left corner of an RGB image, white with a black rim; `size` is the thickness of lines."""
    scale = max(0.3, size / 2)
    corner = (round(16 * scale), round(36 * scale))
    for color, thickness in (((0, 0, 0), 3 * size), ((255, 255, 255), size)):
        cv2.putText(canvas, text, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, color, thickness, cv2.LINE_AA)


def _draw_line(canvas: Image, ends: list[list[int]], color: tuple[int, ...], thickness: int) -> None:
    cv2.line(canvas, ends[0], ends[1], color, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _draw_dot(canvas: Image, place: list[int], color: tuple[int, ...], size: int) -> None:
    cv2.circle(canvas, place, 2 * size << _SUBPIXEL_BITS, color, -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _rgb(image: Image) -> Image:
    return np.asarray(np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image)


def _line_width(width: int) -> int:
    return max(1, round(width / 640))


def _fixed_point(points: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.asarray(np.rint(points * 2**_SUBPIXEL_BITS), np.int64)


def _colors(levels: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return RGB colours, (N, 3), from blue at 0 to red at 1."""
    if len(levels) == 0:
        return np.empty((0, 3), np.uint8)
    ramp = np.rint(255 * (0.1 + 0.8 * levels)).astype(np.uint8)  # the ends of the colour map are too dark
    return np.asarray(cv2.applyColorMap(ramp[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1], np.uint8)

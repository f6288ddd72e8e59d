"""Where a keypoint lies between the pixels: positions refined from the scores around them.

Nothing here waits for or copies from the host, so that it can be part of a CUDA graph.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .config import Subpixel

_SOFT_ARGMAX_RADIUS = 2


def refine(scores: Tensor, image: Tensor, row: Tensor, column: Tensor, subpixel: Subpixel) -> Tensor:
    """Return pixels as (M, 2) keypoints x, y, refined by the method `subpixel`."""
    keypoints = torch.stack((column, row), dim=1).float()
    if subpixel != "none":
        keypoints += _SUBPIXEL_OFFSETS[subpixel](scores, image, row, column)
    return keypoints


def _quadratic_offset(scores: Tensor, image: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Offset (x, y) in [-0.5, 0.5] of the vertex of parabolas through log scores, along each axis."""
    window = windows(scores, image, row, column, radius=1).clamp(min=torch.finfo(torch.float32).tiny).log()
    center = window[:, 1, 1]
    offset_x = parabola_vertex(window[:, 1, 0], center, window[:, 1, 2])
    return torch.stack((offset_x, parabola_vertex(window[:, 0, 1], center, window[:, 2, 1])), dim=1)


def parabola_vertex(before: Tensor, center: Tensor, after: Tensor) -> Tensor:
    """Return the abscissa, in [-0.5, 0.5], of the maximum of parabolas through values at -1, 0 and 1."""
    curvature = before - 2 * center + after
    offset = 0.5 * (before - after) / curvature.masked_fill(curvature >= 0, -torch.inf)
    return offset.clamp(-0.5, 0.5)


def _soft_argmax_offset(scores: Tensor, image: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Offset (x, y) in [-2, 2] of the centre of mass of the scores in a 5 x 5 window."""
    window = windows(scores, image, row, column, _SOFT_ARGMAX_RADIUS)
    steps = torch.arange(-_SOFT_ARGMAX_RADIUS, _SOFT_ARGMAX_RADIUS + 1, device=scores.device).float()
    mass = window.sum((1, 2))
    # Not as a matrix product, for which cuBLAS would keep 32 MiB on each stream.
    return torch.stack(((window.sum(1) * steps).sum(1) / mass, (window.sum(2) * steps).sum(1) / mass), dim=1)


_SUBPIXEL_OFFSETS = {"quadratic": _quadratic_offset, "soft_argmax": _soft_argmax_offset}


def windows(scores: Tensor, image: Tensor, row: Tensor, column: Tensor, radius: int) -> Tensor:
    """Return the (M, 2 * radius + 1, 2 * radius + 1) scores around M pixels of the maps; outside they are zero."""
    padded = functional.pad(scores, (radius, radius, radius, radius))
    steps = torch.arange(2 * radius + 1, device=scores.device)
    return padded[image[:, None, None], row[:, None, None] + steps[:, None], column[:, None, None] + steps]

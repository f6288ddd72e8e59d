"""Points of a batch, one behind the other: how losses get at what depends on how many there are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PointList:
    """M points in the images of a batch.

    Attributes
    ----------
    image : Tensor, (M,), int64
        Which image of the batch.
    points : Tensor, (M, 2)
        x, y in pixels.
    """

    image: Tensor
    points: Tensor


def list_points(points: Tensor) -> PointList:
    """List the finite ones of `points` (B, N, 2); waits for a GPU, which alone knows how many there are."""
    image, index = torch.isfinite(points).all(-1).nonzero().unbind(1)
    return PointList(image, points[image, index])

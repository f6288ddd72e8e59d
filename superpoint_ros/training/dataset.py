"""Training pairs made on the fly: two views of a crop under random homographies, with labels and correspondences."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .homographies import (
    HomographyRange,
    centred,
    compose,
    invert,
    keep_inside,
    sample_homographies,
    warp_antialiased,
    warp_points,
)
from .labels import corner_response, snap_to_maxima
from .losses import LOCALISATION_MARGIN, Correspondences
from .photometric import PhotometricRange, augment
from .points import PointList, list_points

FIRST_VIEW = HomographyRange(scale=(0.55, 1.25), rotation=10.0, perspective=0.05, translation=0.2)
BETWEEN_VIEWS = HomographyRange(scale=(0.6, 1.5), rotation=45.0, perspective=0.2, translation=0.1)


@dataclass(frozen=True)
class PairOptions:
    """How pairs are made: the first view against the crop, the second against the first.

    Labels closer to each other than `label_distance` or to the border than `label_border` pixels
    are dropped; labels move to the peak of the view's own corner response, with derivatives of
    `snap_sigma`, within `snap_radius` pixels (0: not at all).
    """

    first: HomographyRange = field(default_factory=lambda: FIRST_VIEW)
    between: HomographyRange = field(default_factory=lambda: BETWEEN_VIEWS)
    photometric: PhotometricRange = field(default_factory=PhotometricRange)
    label_distance: float = 4.0
    label_border: float = 4.0
    correspondences: int = 192
    snap_radius: int = 2
    snap_sigma: float = 0.7


@dataclass(frozen=True)
class PairBatch:
    """B pairs of views, with all lists that losses need, so that these never wait for a GPU to count.

    Attributes
    ----------
    images : Tensor, (2B, 1, H, W)
        All first views, then all second views, in [0, 1].
    labels : Tensor, (2B, N, 2)
        Keypoints in pixels of the views; infinite where unused.
    first_labels, second_labels : PointList
        Those of the first and of the second views; the image is the number of the pair.
    inner_labels : PointList
        Those of all images that are far enough from the border for `localisation_loss`.
    homographies : Tensor, (B, 3, 3)
        From first to second views, in pixels.
    correspondences : Correspondences
    """

    images: Tensor
    labels: Tensor
    first_labels: PointList
    second_labels: PointList
    inner_labels: PointList
    homographies: Tensor
    correspondences: Correspondences

    def tensors(self) -> list[Tensor]:
        """Return all tensors of the batch."""
        lists = (self.first_labels, self.second_labels, self.inner_labels)
        points = [tensor for part in lists for tensor in (part.image, part.points)]
        pairs = self.correspondences
        return [self.images, self.labels, *points, self.homographies, pairs.pair, pairs.first, pairs.second]


def load_prepared(path: Path) -> NDArray[Any]:
    """Return an array that ``prepare-data`` has written.

    Raises
    ------
    ValueError
        If there is none; the message says how to get one.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; 'python -m superpoint_ros prepare-data' makes it")
    array: NDArray[Any] = np.load(path, allow_pickle=False)
    return array


class CropStore:
    """All crops and their labels, on the training device."""

    def __init__(self, crops: Path, labels: Path, device: torch.device) -> None:
        self.crops = torch.from_numpy(load_prepared(crops)).to(device)
        self.labels = torch.from_numpy(load_prepared(labels)).to(device)
        if len(self.crops) != len(self.labels):
            raise ValueError(f"{labels}: labels of {len(self.labels)} crops, but {crops} holds {len(self.crops)}")

    def sample(self, count: int, size: tuple[int, int], options: PairOptions, generator: torch.Generator) -> PairBatch:
        """Make a batch of `count` random pairs of (height, width) `size`."""
        index = torch.randint(len(self.crops), (count,), generator=generator, device=generator.device)
        return make_pairs(self.crops[index], self.labels[index], size, options, generator)


def make_pairs(
    crops: Tensor, labels: Tensor, size: tuple[int, int], options: PairOptions, generator: torch.Generator
) -> PairBatch:
    """Make a pair of views of each crop.

    Parameters
    ----------
    crops : Tensor, (B, H, W), uint8
    labels : Tensor, (B, N, 3)
        x, y and strength, strongest first.
    size : (int, int)
        (height, width) of the views.
    """
    crop_size = (crops.shape[1], crops.shape[2])
    to_crop_first = sample_homographies(len(crops), size, options.first, generator)
    between = sample_homographies(len(crops), size, options.between, generator)
    to_crop = torch.cat([to_crop_first, compose(to_crop_first, between)])
    to_crop = centred(to_crop, size, crop_size)
    images = crops[:, None].float() / 255
    views = warp_antialiased(torch.cat([images, images]), to_crop, size)
    from_crop = invert(to_crop)
    points = warp_points(torch.cat([labels, labels])[..., :2], from_crop)
    points = keep_inside(points, size, options.label_border)
    if options.snap_radius:
        points = snap_to_maxima(points, corner_response(views, options.snap_sigma), options.snap_radius)
    view_labels = thin_out(points, options.label_distance)
    first_labels, second_labels = view_labels.chunk(2)
    homographies = compose(from_crop[len(crops) :], to_crop[: len(crops)])
    correspondences = _correspondences(
        first_labels, to_crop[: len(crops)], from_crop[len(crops) :], size, crop_size, options, generator
    )
    return PairBatch(
        augment(views, options.photometric, generator),
        view_labels,
        list_points(first_labels),
        list_points(second_labels),
        list_points(keep_inside(view_labels, size, LOCALISATION_MARGIN)),
        homographies,
        correspondences,
    )


def thin_out(points: Tensor, distance: float) -> Tensor:
    """Replace points (B, N, 2) that have an earlier one within a window of `distance` pixels by infinity."""
    finite = torch.isfinite(points).all(-1)
    plain = torch.where(finite[..., None], points, torch.full_like(points, -1e6))
    # Not torch.cdist, which on a GPU starts a block of threads for every pair of points.
    near_x, near_y = ((one[:, :, None] - one[:, None]).abs() <= distance for one in plain.unbind(-1))
    earlier = torch.ones(points.shape[1], points.shape[1], dtype=torch.bool, device=points.device).tril(-1)
    beaten = (near_x & near_y & earlier & finite[:, None, :]).any(-1)
    return points.masked_fill((beaten | ~finite)[..., None], torch.inf)


def _correspondences(
    labels: Tensor,
    first_to_crop: Tensor,
    crop_to_second: Tensor,
    size: tuple[int, int],
    crop_size: tuple[int, int],
    options: PairOptions,
    generator: torch.Generator,
) -> Correspondences:
    """Points in both views: labels of the first, filled up with random points."""
    count, wanted = len(labels), options.correspondences
    x, y = torch.rand(count, wanted, 2, generator=generator, device=labels.device).unbind(2)
    candidates = torch.cat([labels, torch.stack([x * (size[1] - 1), y * (size[0] - 1)], 2)], 1)
    on_crop = warp_points(torch.where(torch.isfinite(candidates), candidates, -1e6), first_to_crop)
    in_second = warp_points(on_crop, crop_to_second)
    visible = torch.isfinite(candidates).all(-1)
    for points, bounds in ((on_crop, crop_size), (in_second, size), (candidates, size)):
        visible &= torch.isfinite(keep_inside(points, bounds, 0.0)).all(-1)
    visible &= visible.cumsum(1) <= wanted
    pair, index = visible.nonzero().unbind(1)
    return Correspondences(pair, candidates[pair, index], in_second[pair, index])

"""Losses of the joint training: of the detector (labels, and agreement of both views) and of the descriptors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..superpoint.config import CELL_SIZE
from ..superpoint.subpixel import windows
from .homographies import invert, warp_points
from .points import PointList

LOCALISATION_MARGIN = 3.0  # pixels from the border that a shifted window of `localisation_loss` takes
_WINDOW_RADIUS = 2  # pixels, of the soft-argmax that decoding computes
_PEAK_RADIUS = 2  # pixels around a corresponding point in which a keypoint counts as its detection
_MAX_REPROJECTION_ERROR = 3.0  # pixels; beyond that both views have found different things


@dataclass(frozen=True)
class Correspondences:
    """M corresponding points of a batch of pairs: which pair, and x, y in pixels in either view."""

    pair: Tensor
    first: Tensor
    second: Tensor


def soft_targets(points: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """Spread labels over the pixels around them and return the target distribution of every cell.

    A label adds a Gaussian of total mass one, sampled on the 5 x 5 pixels around it, across cell
    borders; what a cell lacks to one goes to its "no keypoint" bin.

    Parameters
    ----------
    points : Tensor, (B, N, 2)
        x, y in pixels; infinite entries are ignored.
    size : (int, int)
        (height, width) of the images, multiples of 8.
    sigma : float
        Standard deviation in pixels.

    Returns
    -------
    Tensor, (B, 65, h, w)
    """
    height, width = size
    batch = len(points)
    finite = torch.isfinite(points).all(-1)
    points = torch.where(finite[..., None], points, torch.full_like(points, -99.0))
    nearest = points.round()
    steps = torch.arange(-2, 3, device=points.device)
    weight_x = torch.exp(-0.5 * ((steps - (points - nearest)[..., :1]) / sigma) ** 2)
    weight_y = torch.exp(-0.5 * ((steps - (points - nearest)[..., 1:]) / sigma) ** 2)
    weight_x = weight_x / weight_x.sum(-1, keepdim=True)
    weight_y = weight_y / weight_y.sum(-1, keepdim=True)
    x = nearest[..., 0].long()[..., None, None] + steps[None, None, None, :]
    y = nearest[..., 1].long()[..., None, None] + steps[None, None, :, None]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
    mass = weight_y[..., :, None] * weight_x[..., None, :] * inside
    target = torch.zeros(batch, height * width, device=points.device)
    target.scatter_add_(1, index.flatten(1), mass.flatten(1))
    cells = functional.pixel_unshuffle(target.view(batch, 1, height, width), CELL_SIZE)
    total = cells.sum(1, keepdim=True)
    return torch.cat([cells / total.clamp(min=1), 1 - total.clamp(max=1)], 1)


def detector_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over all cells, less the targets' own entropy, so that zero is perfect."""
    cross_entropy = -(targets * logits.float().log_softmax(1)).sum(1)
    entropy = -(targets * targets.clamp(min=1e-9).log()).sum(1)
    return (cross_entropy - entropy).mean()


def localisation_loss(scores: Tensor, labels: PointList, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Distance between labels and the centre of mass of the scores around them, as decoding computes it.

    The 5 x 5 window is centred on the label's pixel, shifted by up to one pixel at random, because
    decoding centres it on the highest score, which may be a neighbour. Labels count by the scores
    around them: what is not detected needs no position.

    Parameters
    ----------
    scores : Tensor, (B, H, W)
    labels : PointList
        At least `LOCALISATION_MARGIN` pixels from the border.

    Returns
    -------
    loss : Tensor, ()
        Weighted mean of the Huber loss in pixels.
    distance : Tensor, ()
        Root weighted mean square distance in pixels, without gradient.
    """
    points = labels.points
    if len(points) == 0:
        return scores.sum() * 0, scores.new_zeros(())
    jitter = torch.randint(-1, 2, points.shape, generator=generator, device=points.device)
    found, mass = _centres_of_mass(scores, labels.image, points.round().long() + jitter)
    share = (mass / mass.sum()).detach()
    loss = (functional.huber_loss(found, points, delta=1.0, reduction="none").mean(1) * share).sum()
    return loss, ((found - points).square().sum(1) * share).sum().sqrt().detach()


@dataclass(frozen=True)
class DetectedPairs:
    """What both views of each pair detect at M corresponding points.

    The detection is the highest score within two pixels of the point, refined as decoding does.

    Attributes
    ----------
    errors : Tensor, (M, 4)
        From where the homography takes the one detection to the other, x and y, in pixels of the second view;
        and likewise in pixels of the first.
    mass : Tensor, (M,)
        Geometric mean of the scores around both detections.
    """

    errors: Tensor
    mass: Tensor

    def distances(self) -> Tensor:
        """Lengths (M, 2) of the errors in the second and in the first view, without gradient."""
        lengths: Tensor = torch.linalg.vector_norm(self.errors.detach().view(-1, 2, 2), dim=2)
        return lengths


def detect_in_both(scores: Tensor, points: Correspondences, homographies: Tensor) -> DetectedPairs:
    """Look in the scores (2B, H, W) of all first and all second views for what corresponds.

    Parameters
    ----------
    scores : Tensor, (2B, H, W)
        Of all first views, then of all second views.
    points : Correspondences
    homographies : Tensor, (B, 3, 3)
        From first to second views, in pixels.
    """
    image = torch.cat([points.pair, points.pair + len(homographies)])
    near = torch.cat([points.first, points.second])
    found, mass = _centres_of_mass(scores, image, _peaks(scores.detach(), image, near))
    (first, second), (mass_first, mass_second) = found.chunk(2), mass.chunk(2)
    forward = warp_points(first[:, None], homographies[points.pair])[:, 0] - second
    backward = warp_points(second[:, None], invert(homographies)[points.pair])[:, 0] - first
    return DetectedPairs(torch.cat([forward, backward], 1), (mass_first * mass_second).sqrt())


def reprojection_loss(found: DetectedPairs) -> tuple[Tensor, Tensor]:
    """Distance between what both views detect at corresponding points (as in ALIKE, Zhao et al. 2022).

    Labels play no part. Pairs of detections count by their scores; those more than three pixels apart do not.

    Returns
    -------
    loss : Tensor, ()
        Weighted mean of the Huber loss in pixels, over both directions.
    distance : Tensor, ()
        Root weighted mean square distance in pixels of the second views, without gradient.
    """
    distances = found.distances()[:, 0]
    share = found.mass.detach() * (distances < _MAX_REPROJECTION_ERROR)
    share = share / share.sum().clamp(min=1e-9)
    errors = found.errors
    loss = functional.huber_loss(errors, torch.zeros_like(errors), delta=1.0, reduction="none").mean(1)
    return (loss * share).sum(), (distances.square() * share).sum().sqrt()


def reliability_loss(found: DetectedPairs, pair: Tensor, pairs: int) -> Tensor:
    """Mean over pairs of views of the distance in pixels between corresponding detections, weighted by their scores.

    Its gradient leads to the scores, not to the positions: what is found elsewhere in the other view scores less, what
    is found again exactly scores more. Keypoints compete within their pair of views only: where there is little to see
    and all are imprecise, the best of them keep their scores. Distances count up to three pixels.

    Parameters
    ----------
    found : DetectedPairs
    pair : Tensor, (M,)
        The pair of views that each belongs to, less than `pairs`.
    pairs : int
    """
    distances = found.distances().mean(1).clamp(max=_MAX_REPROJECTION_ERROR)
    total = found.mass.new_zeros(pairs).index_add(0, pair, found.mass)
    share = found.mass / total.clamp(min=1e-9)[pair]
    return (share * distances).sum() / (total > 0).sum().clamp(min=1)


def _peaks(scores: Tensor, image: Tensor, points: Tensor) -> Tensor:
    """Return the pixels, (M, 2) x and y, of the highest of the (B, H, W) scores around each of `points` (M, 2)."""
    centre = points.round().long()
    best = windows(scores, image, centre[:, 1], centre[:, 0], _PEAK_RADIUS).flatten(1).argmax(1)
    side = 2 * _PEAK_RADIUS + 1
    x, y = centre[:, 0] + best % side - _PEAK_RADIUS, centre[:, 1] + best // side - _PEAK_RADIUS
    # Where all scores are zero, the first counts, which may lie outside.
    return torch.stack([x.clamp(0, scores.shape[2] - 1), y.clamp(0, scores.shape[1] - 1)], 1)


def _centres_of_mass(scores: Tensor, image: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the centres of mass (M, 2) of the scores around `pixels` (M, 2), and the mass (M,)."""
    window = windows(scores, image, pixels[:, 1], pixels[:, 0], _WINDOW_RADIUS) + 1e-6
    steps = torch.arange(-_WINDOW_RADIUS, _WINDOW_RADIUS + 1, device=scores.device)
    mass = window.sum((1, 2))
    offset = torch.stack([(window * steps).sum((1, 2)), (window * steps[:, None]).sum((1, 2))], 1)
    return pixels + offset / mass[:, None], mass


@dataclass(frozen=True)
class Distractors:
    """K further points of one view of each pair, which nothing in the other view should match.

    Attributes
    ----------
    pair, points : Tensor, (K,), (K, 2)
        Which pair, and x, y in pixels.
    descriptors : Tensor, (K, D)
    """

    pair: Tensor
    points: Tensor
    descriptors: Tensor


def descriptor_loss(
    first: Tensor,
    second: Tensor,
    points: Correspondences,
    distractors: tuple[Distractors, Distractors],
    inverse_temperature: Tensor,
    radius: float,
) -> tuple[Tensor, Tensor]:
    """InfoNCE (van den Oord et al. 2018) in both directions, negatives from all pairs of the batch.

    Parameters
    ----------
    first, second : Tensor, (M, D)
        Unit descriptors of corresponding points.
    points : Correspondences
    distractors : (Distractors, Distractors)
        Of the first and of the second views: more negatives, such as keypoints without a partner.
    inverse_temperature : Tensor, ()
    radius : float
        Points of the same pair closer than this many pixels to the right one are no negatives.

    Returns
    -------
    loss : Tensor, ()
    accuracy : Tensor, ()
        Share of points whose nearest descriptor is the right one, without gradient.
    """
    if len(first) == 0:
        return first.sum() * 0, first.new_zeros(())
    near = (_distances(points.first, points.first) < radius) | (_distances(points.second, points.second) < radius)
    near &= points.pair[:, None] == points.pair[None, :]
    near.fill_diagonal_(False)
    target = torch.arange(len(first), device=first.device)
    losses, rights = [], []
    for queries, keys, places, is_near, others in (
        (first, second, points.second, near, distractors[1]),
        (second, first, points.first, near.T, distractors[0]),
    ):
        is_right = (_distances(places, others.points) < radius) & (points.pair[:, None] == others.pair[None, :])
        every = torch.cat([keys, others.descriptors]).float()
        similarity = queries.float() @ every.T * inverse_temperature
        similarity = similarity.masked_fill(torch.cat([is_near, is_right], 1), -1e4)
        losses.append(functional.cross_entropy(similarity, target))
        rights.append((similarity.detach().argmax(1) == target).float().mean())
    return (losses[0] + losses[1]) / 2, (rights[0] + rights[1]) / 2


def _distances(points: Tensor, others: Tensor) -> Tensor:
    distances: Tensor = torch.linalg.vector_norm(points[:, None] - others[None, :], dim=-1)
    return distances

"""Losses of the joint training: detector cross-entropy, its localisation, descriptor InfoNCE."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..superpoint.config import CELL_SIZE
from ..superpoint.decoding import score_map


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


def localisation_loss(logits: Tensor, points: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Distance between labels and the centre of mass of the scores around them, as decoding computes it.

    The 5 x 5 window is centred on the label's pixel, shifted by up to one pixel at random, because
    decoding centres it on the highest score, which may be a neighbour.

    Parameters
    ----------
    logits : Tensor, (B, 65, h, w)
    points : Tensor, (B, N, 2)
        Labels in pixels; infinite entries are ignored.

    Returns
    -------
    loss : Tensor, ()
        Mean Huber loss in pixels.
    distance : Tensor, ()
        Root mean square distance in pixels, without gradient.
    """
    scores = score_map(logits)
    _, height, width = scores.shape
    margin = 3
    upper = torch.tensor([width - 1 - margin, height - 1 - margin], device=points.device)
    image, index = (torch.isfinite(points) & (points >= margin) & (points <= upper)).all(-1).nonzero().unbind(1)
    chosen = points[image, index]
    if len(chosen) == 0:
        return logits.sum() * 0, logits.new_zeros(())
    jitter = torch.randint(-1, 2, chosen.shape, generator=generator, device=points.device)
    centre = chosen.round().long() + jitter
    steps = torch.arange(-2, 3, device=points.device)
    x, y = centre[:, 0, None, None] + steps[None, None, :], centre[:, 1, None, None] + steps[None, :, None]
    window = functional.pad(scores, (3, 3, 3, 3))[image[:, None, None], y + 3, x + 3] + 1e-6
    mass = window.sum((1, 2))
    found = torch.stack([(window * x).sum((1, 2)) / mass, (window * y).sum((1, 2)) / mass], 1)
    loss = functional.huber_loss(found, chosen, delta=1.0)
    return loss, (found - chosen).detach().square().sum(1).mean().sqrt()


@dataclass(frozen=True)
class Correspondences:
    """M corresponding points of a batch of pairs: which pair, and x, y in pixels in either view."""

    pair: Tensor
    first: Tensor
    second: Tensor


def descriptor_loss(
    first: Tensor, second: Tensor, points: Correspondences, inverse_temperature: Tensor, radius: float = 8.0
) -> tuple[Tensor, Tensor]:
    """InfoNCE (van den Oord et al. 2018) in both directions, negatives from all pairs of the batch.

    Parameters
    ----------
    first, second : Tensor, (M, D)
        Unit descriptors of corresponding points.
    inverse_temperature : Tensor, ()
    radius : float
        Other points of the same pair closer than this many pixels, in either view, are no negatives.

    Returns
    -------
    loss : Tensor, ()
    accuracy : Tensor, ()
        Share of points whose nearest descriptor is the right one, without gradient.
    """
    if len(first) == 0:
        return first.sum() * 0, first.new_zeros(())
    near = torch.cdist(points.first, points.first) < radius
    near |= torch.cdist(points.second, points.second) < radius
    near &= points.pair[:, None] == points.pair[None, :]
    near.fill_diagonal_(False)
    similarity = (first.float() @ second.float().T * inverse_temperature).masked_fill(near, -1e4)
    target = torch.arange(len(first), device=first.device)
    loss = functional.cross_entropy(similarity, target) + functional.cross_entropy(similarity.T, target)
    accuracy = (similarity.detach().argmax(1) == target).float().mean()
    return loss / 2, accuracy

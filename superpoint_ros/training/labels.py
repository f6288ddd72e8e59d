"""Keypoint labels by homographic adaptation (DeTone et al. 2018, section 5) of any detector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from ..superpoint.backends import Backend
from ..superpoint.decoding import score_map
from ..superpoint.subpixel import parabola_vertex
from .homographies import (
    HomographyRange,
    centred,
    gaussian_blur,
    invert,
    keep_inside,
    pixel_grid,
    sample_homographies,
    warp_antialiased,
    warp_points,
)

ScoreMap = Callable[[Tensor], Tensor]
"""From images (B, 1, H, W) in [0, 1] to scores (B, H, W), high at keypoints."""

_AT_ONCE = 8
"""Images that go through a network together: more would take gigabytes on a CPU."""
ADAPTATION_VIEWS = HomographyRange(scale=(0.7, 1.4), rotation=60.0, perspective=0.2, translation=0.1)


@dataclass(frozen=True)
class AdaptationOptions:
    """Options of homographic adaptation; lengths in pixels.

    Parameters
    ----------
    views : int
        Homographies per image, the first being the identity.
    max_points : int
        Labels kept per image.
    radius, smoothing, border : int, float, float
        Of non-maximum suppression, of the Gaussian over the votes, and of the margin without labels.
    floor : float
        Detector scores at or below it never become labels; 2e-5 is about one gray level per pixel
        for the corner response.
    min_share : float
        Least vote density; a point found at the same place in all views reaches
        1 / (2 pi smoothing^2) = 0.11.
    """

    views: int = 20
    max_points: int = 400
    radius: int = 4
    smoothing: float = 1.2
    border: float = 6.0
    floor: float = 2e-5
    min_share: float = 0.025
    points_per_view: int = 600
    ranges: HomographyRange = field(default_factory=lambda: ADAPTATION_VIEWS)


def corner_response(images: Tensor, derivative_sigma: float = 1.0, integration_sigma: float = 1.6) -> Tensor:
    """Return the smaller eigenvalue of the structure tensor (Shi and Tomasi 1994), (B, H, W)."""
    count = len(images)
    smooth = gaussian_blur(images, images.new_full((count,), derivative_sigma), derivative_sigma)
    padded = functional.pad(smooth, (1, 1, 1, 1), mode="replicate")
    dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    products = torch.cat([dx * dx, dx * dy, dy * dy], 1)
    integration = images.new_full((count,), integration_sigma)
    xx, xy, yy = gaussian_blur(products, integration, integration_sigma).unbind(1)
    return (xx + yy) / 2 - (((xx - yy) / 2) ** 2 + xy**2).sqrt()


def network_score_map(network: Backend) -> ScoreMap:
    """Return the keypoint probabilities of a network, for adaptation of itself."""

    @torch.inference_mode()
    def scores(images: Tensor) -> Tensor:
        return torch.cat([score_map(network(part).keypoint_logits.float()) for part in images.split(_AT_ONCE)])

    return scores


def local_maxima(scores: Tensor, radius: int) -> Tensor:
    """Return a mask of the pixels that are the largest within `radius` pixels, for maps (B, H, W)."""
    pooled = functional.max_pool2d(scores[:, None], (2 * radius + 1, 1), stride=1, padding=(radius, 0))
    pooled = functional.max_pool2d(pooled, (1, 2 * radius + 1), stride=1, padding=(0, radius))[:, 0]
    return (scores == pooled) & (scores > 0)


def strongest_points(scores: Tensor, radius: int, count: int, border: int = 2) -> tuple[Tensor, Tensor]:
    """Return the best local maxima, refined to fractions of a pixel by a quadratic fit.

    Returns
    -------
    points : Tensor, (B, count, 2)
        x, y in pixels; unused places hold infinity.
    values : Tensor, (B, count)
        Their scores, descending; 0 in unused places.
    """
    _, height, width = scores.shape
    mask = local_maxima(scores, radius)
    mask[:, :border], mask[:, height - border :], mask[:, :, :border], mask[:, :, width - border :] = (False,) * 4
    values, index = (scores * mask).flatten(1).topk(count)
    rows, columns = index // width, index % width

    def at(row_step: int, column_step: int) -> Tensor:
        row, column = (rows + row_step).clamp(0, height - 1), (columns + column_step).clamp(0, width - 1)
        return scores.flatten(1).gather(1, row * width + column)

    points = torch.stack(
        [columns + parabola_vertex(at(0, -1), values, at(0, 1)), rows + parabola_vertex(at(-1, 0), values, at(1, 0))],
        -1,
    )
    return points.masked_fill((values <= 0)[..., None], torch.inf), values


def snap_to_maxima(points: Tensor, scores: Tensor, radius: int = 2) -> Tensor:
    """Move points to the highest score around them.

    A label that homographic adaptation found lies where the corner is on average over scales and
    angles. In one given view the response peaks up to a pixel beside it, and that peak is what a
    network can locate from the pixels it sees.

    Parameters
    ----------
    points : Tensor, (B, N, 2)
        x, y in pixels; infinite entries stay.
    scores : Tensor, (B, H, W)
    radius : int
        Points move to the best pixel of the (2 * radius + 1)^2 window, refined by a quadratic fit,
        if that pixel is a local maximum; else they stay.
    """
    height, width = scores.shape[1:]
    finite = torch.isfinite(points).all(-1)
    nearest = torch.where(finite[..., None], points, torch.zeros_like(points)).round().long()
    flat = scores.flatten(1)

    def at(x: Tensor, y: Tensor) -> Tensor:
        index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
        return flat.gather(1, index.flatten(1)).view(index.shape)

    steps = torch.arange(-radius, radius + 1, device=points.device)
    x = (nearest[..., 0, None, None] + steps).expand(-1, -1, len(steps), -1)
    y = (nearest[..., 1, None, None] + steps[:, None]).expand(-1, -1, -1, len(steps))
    best = at(x, y).flatten(2).argmax(2)
    x, y = nearest[..., 0] + best % len(steps) - radius, nearest[..., 1] + best // len(steps) - radius
    centre, left, right, above, below = at(x, y), at(x - 1, y), at(x + 1, y), at(x, y - 1), at(x, y + 1)
    is_peak = (centre > torch.stack([left, right, above, below]).amax(0)) & finite
    moved = torch.stack([x + parabola_vertex(left, centre, right), y + parabola_vertex(above, centre, below)], -1)
    return torch.where(is_peak[..., None], moved, points)


def splat(points: Tensor, weights: Tensor, size: tuple[int, int]) -> Tensor:
    """Add weights (B, N) bilinearly to the four pixels around points (B, N, 2); returns (B, H, W)."""
    height, width = size
    image = torch.zeros(len(points), height * width, device=points.device, dtype=weights.dtype)
    finite = torch.isfinite(points).all(-1)
    points = torch.where(finite[..., None], points, torch.full_like(points, -9.0))
    base = points.floor()
    fraction = points - base
    for step_x in (0, 1):
        for step_y in (0, 1):
            x, y = base[..., 0].long() + step_x, base[..., 1].long() + step_y
            share_x = fraction[..., 0] if step_x else 1 - fraction[..., 0]
            share_y = fraction[..., 1] if step_y else 1 - fraction[..., 1]
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            index = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
            image.scatter_add_(1, index, weights * share_x * share_y * inside)
    return image.view(-1, height, width)


def adapt(images: Tensor, detector: ScoreMap, options: AdaptationOptions, generator: torch.Generator) -> Tensor:
    """Detect under random homographies and return the points that persist.

    Points found in each view are mapped back and collected, smoothed and divided by how many
    views showed the place.

    Returns
    -------
    Tensor, (B, max_points, 3)
        x, y in pixels and the share of the views in which the point was found; unused places hold
        infinity, infinity, 0.
    """
    size = (images.shape[-2], images.shape[-1])
    votes = torch.zeros(len(images), *size, device=images.device)
    visible = torch.zeros_like(votes)
    for view in range(options.views):
        ranges = options.ranges if view else HomographyRange()
        to_source = centred(sample_homographies(len(images), size, ranges, generator), size, size)
        scores = detector(warp_antialiased(images, to_source, size))
        points, values = strongest_points(scores * (scores > options.floor), options.radius, options.points_per_view)
        # The edge of the picture looks like corners in the views: nothing near it counts.
        points = keep_inside(warp_points(points, to_source), size, options.border)
        votes += splat(points, (values > 0).float(), size)
        visible += _visibility(invert(to_source), size)
    sigma = votes.new_full((len(votes),), options.smoothing)
    share = gaussian_blur(votes[:, None], sigma, options.smoothing)[:, 0] / visible.clamp(min=options.views / 4)
    share = share * (share > options.min_share)
    points, values = strongest_points(share, options.radius, options.max_points, border=1)
    return torch.cat([points, values[..., None]], -1)


def _visibility(to_view: Tensor, size: tuple[int, int], step: int = 8) -> Tensor:
    """Return which pixels of the source a view of the same `size` shows, (B, H, W), on a grid of `step` pixels."""
    coarse = (-(-size[0] // step), -(-size[1] // step))
    grid = (pixel_grid(coarse, to_view.device) * step + (step - 1) / 2).expand(len(to_view), -1, -1)
    shown = torch.isfinite(keep_inside(warp_points(grid, to_view), size, 2.0)).all(-1)
    fine = functional.interpolate(shown.float().view(-1, 1, *coarse), scale_factor=step)
    return fine[:, 0, : size[0], : size[1]]


def label_crops(
    crops: Tensor, detector: ScoreMap, options: AdaptationOptions, seed: int, device: torch.device, batch: int = 32
) -> Tensor:
    """Label crops (B, H, W), uint8; returns what `adapt` does, on the CPU."""
    generator = torch.Generator(device).manual_seed(seed)
    labels = []
    for part in tqdm(crops.split(batch), desc="labels"):
        images = part.to(device)[:, None].float() / 255
        labels.append(adapt(images, detector, options, generator).cpu())
    return torch.cat(labels)

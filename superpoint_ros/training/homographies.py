"""Random homographies and image warps, batched, on any device; on a GPU nothing here waits for it.

Points are (x, y) in pixels; the centre of the top-left pixel is (0, 0). There are no matrix products: where a GPU may
compute these in TF32, as it does in training, a coordinate of 300 pixels would be rounded to a quarter of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_MAX_PREFILTER = 4.0  # standard deviation in pixels


@dataclass(frozen=True)
class HomographyRange:
    """Ranges of a random homography.

    Parameters
    ----------
    scale : (float, float)
        Magnification, drawn log-uniformly.
    rotation : float
        Largest rotation in degrees, either way.
    perspective : float
        Largest relative change of scale between the view's centre and its border.
    translation : float
        Largest shift as a fraction of the view's size.
    """

    scale: tuple[float, float] = (1.0, 1.0)
    rotation: float = 0.0
    perspective: float = 0.0
    translation: float = 0.0


def sample_homographies(
    count: int, size: tuple[int, int], ranges: HomographyRange, generator: torch.Generator
) -> Tensor:
    """Draw homographies about the origin of centred coordinates.

    Parameters
    ----------
    count : int
        Number of homographies B.
    size : (int, int)
        (height, width) of the view in pixels, the unit of perspective and translation.
    ranges : HomographyRange
        What to draw from.
    generator : torch.Generator
        Its device is the result's.

    Returns
    -------
    Tensor, (B, 3, 3)
        Each maps centred view coordinates to centred source coordinates: a view of scale 2 shows
        its source twice as large, so the homography shrinks by 2.
    """

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator, device=generator.device)

    height, width = size
    shrink = torch.exp(-uniform(math.log(ranges.scale[0]), math.log(ranges.scale[1])))
    angle = uniform(-math.radians(ranges.rotation), math.radians(ranges.rotation))
    cos, sin = shrink * torch.cos(angle), shrink * torch.sin(angle)
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    shift_x = uniform(-1, 1) * ranges.translation * width * shrink
    shift_y = uniform(-1, 1) * ranges.translation * height * shrink
    similarity = torch.stack([cos, -sin, shift_x, sin, cos, shift_y, zero, zero, one], 1).view(-1, 3, 3)
    tilt_x = uniform(-1, 1) * ranges.perspective / (width / 2)
    tilt_y = uniform(-1, 1) * ranges.perspective / (height / 2)
    perspective = torch.stack([one, zero, zero, zero, one, zero, tilt_x, tilt_y, one], 1).view(-1, 3, 3)
    return compose(similarity, perspective)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Return the homographies (B, 3, 3) that apply `inner` and then `outer`; either may be one for all, (3, 3)."""
    return (outer[..., :, :, None] * inner[..., None, :, :]).sum(-2)


def centred(homographies: Tensor, source_size: tuple[int, int], target_size: tuple[int, int]) -> Tensor:
    """Turn homographies between centred coordinates into ones between pixel coordinates.

    Sizes are (height, width); the homographies map `source_size` images to `target_size` images.
    """
    return compose(_shift(target_size, 1, homographies), compose(homographies, _shift(source_size, -1, homographies)))


def _shift(size: tuple[int, int], sign: int, like: Tensor) -> Tensor:
    matrix = torch.eye(3, device=like.device, dtype=like.dtype)
    matrix[0, 2].fill_(sign * (size[1] - 1) / 2)  # assigned, a number would be uploaded, and waited for
    matrix[1, 2].fill_(sign * (size[0] - 1) / 2)
    return matrix


def warp_points(points: Tensor, homographies: Tensor) -> Tensor:
    """Map points (B, N, 2) by homographies (B, 3, 3); points at or behind the horizon become infinite."""
    of_x, of_y, constant = homographies[:, None].unbind(-1)
    mapped = points[..., :1] * of_x + points[..., 1:] * of_y + constant
    depth = mapped[..., 2:]
    return torch.where(depth > 1e-6, mapped[..., :2] / depth, torch.full_like(mapped[..., :2], math.inf))


def keep_inside(points: Tensor, size: tuple[int, int], border: float) -> Tensor:
    """Replace points (..., 2) closer than `border` pixels to the image border by infinity."""
    x, y = points.unbind(-1)
    inside = (x >= border) & (x <= size[1] - 1 - border) & (y >= border) & (y <= size[0] - 1 - border)
    return points.masked_fill(~inside[..., None], torch.inf)


def invert(homographies: Tensor) -> Tensor:
    """Return the inverses of homographies (B, 3, 3), which have one."""
    inverse: Tensor = torch.linalg.inv_ex(
        homographies
    ).inverse  # unlike `inv` it does not wait to tell whether they have
    return inverse


def pixel_grid(size: tuple[int, int], device: torch.device) -> Tensor:
    """Return the pixel centres of a (height, width) image as (H * W, 2)."""
    rows, columns = torch.meshgrid(
        torch.arange(size[0], device=device), torch.arange(size[1], device=device), indexing="ij"
    )
    return torch.stack([columns, rows], -1).reshape(-1, 2).float()


def warp_images(images: Tensor, view_to_source: Tensor, size: tuple[int, int]) -> Tensor:
    """Look up a view of each image bilinearly; zero outside.

    Parameters
    ----------
    images : Tensor, (B, C, H, W)
    view_to_source : Tensor, (B, 3, 3)
        From pixels of the view to pixels of the image.
    size : (int, int)
        (height, width) of the views.
    """
    height, width = images.shape[-2:]
    grid = pixel_grid(size, images.device).expand(len(images), -1, -1)
    x, y = warp_points(grid, view_to_source).clamp(-1e4, 1e4).unbind(-1)
    lookup = torch.stack([x * (2 / (width - 1)) - 1, y * (2 / (height - 1)) - 1], -1).view(len(images), *size, 2)
    return functional.grid_sample(images, lookup, mode="bilinear", padding_mode="zeros", align_corners=True)


def largest(values: Tensor, bound: float) -> float:
    """Return the largest of `values`, or on a GPU, which would have to be waited for, the `bound` that they keep to."""
    return float(values.max()) if values.device.type == "cpu" else bound


def gaussian_blur(images: Tensor, sigmas: Tensor, bound: float) -> Tensor:
    """Blur each image of (B, C, H, W) with its own standard deviation in pixels, 0 (no blur) to `bound`."""
    widest = largest(sigmas, bound)
    if widest < 0.05:
        return images
    radius = max(1, math.ceil(3 * widest))
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernels = torch.exp(-0.5 * (offsets / sigmas.clamp(min=0.05)[:, None]) ** 2)
    kernels = kernels / kernels.sum(1, keepdim=True)
    count, channels, height, width = images.shape
    stacked = images.reshape(1, count * channels, height, width)
    kernels = kernels.repeat_interleave(channels, 0)
    mode = "reflect" if radius < min(height, width) else "replicate"
    for padding, shape in (((radius, radius, 0, 0), (1, -1)), ((0, 0, radius, radius), (-1, 1))):
        weights = kernels.view(count * channels, 1, *shape)
        stacked = functional.conv2d(functional.pad(stacked, padding, mode=mode), weights, groups=count * channels)
    return stacked.view(count, channels, height, width)


def magnification(view_to_source: Tensor, size: tuple[int, int]) -> Tensor:
    """Return how many source pixels one view pixel spans, (B,), measured along the sides at the view's centre."""
    x, y = functional.pad(torch.eye(2, device=view_to_source.device), (0, 0, 1, 0)).unbind(1)  # here, right, down
    probes = torch.stack([x + (size[1] - 1) / 2, y + (size[0] - 1) / 2], 1)
    origin, right, down = warp_points(probes.expand(len(view_to_source), -1, -1), view_to_source).unbind(1)
    right, down = right - origin, down - origin
    return (right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0]).abs().sqrt()


def warp_antialiased(images: Tensor, view_to_source: Tensor, size: tuple[int, int]) -> Tensor:
    """`warp_images` with a Gaussian prefilter where the view shrinks its image."""
    span = magnification(view_to_source, size)
    sigmas = 0.5 * (span**2 - 1).clamp(min=0).sqrt()
    return warp_images(gaussian_blur(images, sigmas.clamp(max=_MAX_PREFILTER), _MAX_PREFILTER), view_to_source, size)

"""Random photometric changes: blur, motion blur, gamma, gain, bias, shading and noise, batched on any device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .homographies import gaussian_blur, largest


@dataclass(frozen=True)
class PhotometricRange:
    """Largest strengths; every image draws its own values.

    Parameters
    ----------
    blur : float
        Standard deviation of Gaussian blur in pixels.
    motion_blur : float
        Length of linear motion in pixels.
    gamma, gain, shading : float
        Largest logarithm of the factor (for shading: at the image border).
    bias, noise : float
        Offset and standard deviation of Gaussian noise, as fractions of full scale.
    """

    blur: float = 1.0
    motion_blur: float = 3.0
    gamma: float = 0.6
    gain: float = 0.4
    bias: float = 0.15
    shading: float = 0.5
    noise: float = 0.03


def augment(images: Tensor, ranges: PhotometricRange, generator: torch.Generator) -> Tensor:
    """Change images (B, 1, H, W) in [0, 1] at random; the result stays in [0, 1]."""
    count, _, height, width = images.shape
    device = images.device

    def rand(*shape: int) -> Tensor:
        return torch.rand(count, *shape, generator=generator, device=device)

    def symmetric(limit: float) -> Tensor:
        return limit * (2 * rand(1, 1, 1) - 1)

    blurred = (rand() < 0.4).float() * rand() * ranges.blur
    images = gaussian_blur(images, blurred, ranges.blur)
    lengths = ranges.motion_blur * rand() * (rand() < 0.25).float()
    images = motion_blur(images, lengths, math.pi * rand(), ranges.motion_blur)
    images = images.clamp(0, 1).pow(torch.exp(symmetric(ranges.gamma)))
    images = images * torch.exp(symmetric(ranges.gain)) + symmetric(ranges.bias)
    coarse = ranges.shading * (2 * rand(1, 3, 3) - 1)
    images = images * torch.exp(functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True))
    noise = torch.randn(images.shape, generator=generator, device=device)
    return (images + ranges.noise * rand(1, 1, 1) ** 2 * noise).clamp(0, 1)


def motion_blur(images: Tensor, lengths: Tensor, angles: Tensor, bound: float) -> Tensor:
    """Average each image (B, 1, H, W) along a centred line of `lengths` pixels at `angles` radians, (B,) each.

    No line is longer than `bound` pixels.
    """
    longest = largest(lengths, bound)
    if longest < 0.5:
        return images
    radius = math.ceil(longest / 2) + 1
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    rows, columns = torch.meshgrid(offsets, offsets, indexing="ij")
    cos, sin = torch.cos(angles)[:, None, None], torch.sin(angles)[:, None, None]
    along, across = columns * cos + rows * sin, rows * cos - columns * sin
    inside = (lengths[:, None, None] / 2 + 0.5 - along.abs()).clamp(0, 1)
    kernels = inside * (1 - across.abs()).clamp(min=0)
    kernels = kernels / kernels.sum((1, 2), keepdim=True)
    padded = functional.pad(images.transpose(0, 1), (radius,) * 4, mode="reflect")
    return functional.conv2d(padded, kernels[:, None], groups=len(images)).transpose(0, 1)

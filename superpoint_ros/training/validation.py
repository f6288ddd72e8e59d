"""Quick check during training: homography accuracy and matching accuracy on warped validation pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import geometry
from ..superpoint.config import DescriptorGrid
from ..superpoint.decoding import Detections, decode
from ..superpoint.network import SuperPointNetwork
from ..superpoint.options import DetectionOptions
from .homographies import HomographyRange, centred, compose, sample_homographies, warp_antialiased
from .photometric import PhotometricRange, augment


@dataclass(frozen=True)
class ValidationPairs:
    """Fixed pairs of views (P, 2, 1, H, W) and the homographies (P, 3, 3) from first to second view."""

    images: Tensor
    homographies: Tensor


def validation_pairs(pictures: NDArray[np.uint8], count: int, size: tuple[int, int], seed: int) -> ValidationPairs:
    """Warp pictures (N, H, W) into `count` fixed pairs of (height, width) `size`."""
    generator = torch.Generator().manual_seed(seed)
    crops = torch.from_numpy(pictures)[torch.arange(count) % len(pictures)][:, None].float() / 255
    source_size = (crops.shape[2], crops.shape[3])
    cover = size[0] / source_size[0]
    first = sample_homographies(count, size, HomographyRange(scale=(1.1 * cover, 1.5 * cover), rotation=10), generator)
    between = HomographyRange(scale=(0.8, 1.3), rotation=30, perspective=0.15, translation=0.1)
    relative = sample_homographies(count, size, between, generator)
    views = [
        warp_antialiased(crops, centred(homography, size, source_size), size)
        for homography in (first, compose(first, relative))
    ]
    strength = PhotometricRange(blur=0.7, motion_blur=0, gamma=0.3, gain=0.3, bias=0.1, shading=0.3, noise=0.02)
    images = torch.stack([views[0], augment(views[1], strength, generator)], 1)
    return ValidationPairs(images, centred(torch.linalg.inv(relative), size, size))


def validate(
    network: SuperPointNetwork, pairs: ValidationPairs, options: DetectionOptions, grid: DescriptorGrid
) -> dict[str, float]:
    """Return homography accuracy and matching accuracy at 1, 3, 5 px, localisation error and keypoints per view."""
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    size = (pairs.images.shape[-2], pairs.images.shape[-1])
    records = []
    for images, homography in zip(pairs.images, pairs.homographies):
        with torch.inference_mode():
            found = decode(network(images.to(device)), options, grid, size)
        records.append(_compare(found, homography.numpy(), size))
    network.train(was_training)
    table = np.array(records)
    corner_error, keypoints, localisation = table[:, 0], table[:, 1], table[:, 2]
    metrics = {f"homography_{limit}px": float((corner_error <= limit).mean()) for limit in (1, 3, 5)}
    metrics |= {f"matching_{limit}px": float(table[:, 3 + k].mean()) for k, limit in enumerate((1, 3, 5))}
    located = localisation[np.isfinite(localisation)]
    metrics["localisation"] = float(located.mean()) if len(located) else float("nan")
    return metrics | {"keypoints": float(keypoints.mean())}


def _compare(found: Detections, homography: NDArray[np.float32], size: tuple[int, int]) -> list[float]:
    """Corner error, keypoints, mean error of matches within 3 px, share of matches within 1, 3 and 5 px."""
    split = int(found.counts[0])
    points, descriptors = found.keypoints.float().cpu().numpy(), found.descriptors.float().cpu().numpy()
    matches = geometry.match_descriptors(descriptors[:split], descriptors[split:]).indices
    if len(matches) < 4:
        return [np.inf, len(points) / 2, np.nan, 0.0, 0.0, 0.0]
    first, second = points[:split][matches[:, 0]], points[split:][matches[:, 1]]
    errors = np.linalg.norm(geometry.warp_points(first, homography) - second, axis=1)
    close = errors[errors < 3]
    shares = [float((errors <= limit).mean()) for limit in (1, 3, 5)]
    estimate = geometry.estimate_homography(first, second)
    error = geometry.corner_error(estimate.matrix, homography, size[1], size[0]) if estimate else np.inf
    return [error, len(points) / 2, float(close.mean()) if len(close) else np.nan, *shares]

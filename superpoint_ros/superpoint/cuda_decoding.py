"""What `decoding` does, in tensors of fixed shape and without a word to the host, as a CUDA graph needs it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .config import DescriptorGrid
from .decoding import rescale, sample_descriptors, score_map
from .network import NetworkOutput
from .options import DetectionOptions
from .subpixel import refine

_SUPPRESSION_ROUNDS = 2


class FixedDetections(NamedTuple):
    """Keypoints of a batch of B images, K for each, best first.

    Attributes
    ----------
    keypoints : Tensor, (B, K, 2), float32
        x, y in pixels of the given image.
    scores : Tensor, (B, K), float32
        Zero in the rows behind the last keypoint, which mean nothing.
    descriptors : Tensor, (B, K, D), float32
    """

    keypoints: Tensor
    scores: Tensor
    descriptors: Tensor


def keypoint_capacity(options: DetectionOptions, map_size: tuple[int, int]) -> int:
    """Return K, the rows that a (height, width) score map can need."""
    return min(options.max_keypoints, map_size[0] * map_size[1])


def decode_fixed(
    output: NetworkOutput,
    options: DetectionOptions,
    threshold: Tensor,
    border: Tensor,
    descriptor_grid: DescriptorGrid,
    detected_size: tuple[int, int],
    image_size: tuple[int, int],
    masks: Tensor | None = None,
) -> FixedDetections:
    """Find what `decode` finds, save for which of equal scores comes first.

    Parameters
    ----------
    output : NetworkOutput
    options : DetectionOptions
        Only `nms_radius`, `max_keypoints` (at least 1) and `subpixel` are read: they shape the computation.
    threshold, border : Tensor, (), float32
        On the device, so that other values need no other graph.
    descriptor_grid : {"magicleap", "cell_centers"}
    detected_size : tuple of int
        (height, width) of the part of the network's input that holds image.
    image_size : tuple of int
        (height, width) of the given image, in whose pixels keypoints are returned.
    masks : Tensor, (B, *image_size), uint8, optional
        Keypoints lie only where the nearest pixel is not zero.
    """
    scores = score_map(output.keypoint_logits)
    is_peak = suppress(scores, options.nms_radius, threshold) & _inside(scores, border, detected_size)
    map_size = scores.shape[1], scores.shape[2]
    count = keypoint_capacity(options, map_size)
    considered = count if masks is None else max(count, _most_peaks(map_size, options.nms_radius))
    best, index = scores.masked_fill(~is_peak, 0.0).flatten(1).topk(considered)

    row = index // map_size[1]
    refined = refine(scores, _image_of(index), row.flatten(), (index - row * map_size[1]).flatten(), options.subpixel)
    # Without a peak there may be no score in the window either, and 0 / 0 is no place to sample at.
    keypoints = refined.masked_fill(best.view(-1, 1) == 0, 0.0)
    if masks is not None:
        column, row = rescale(keypoints, detected_size, image_size).round().long().unbind(1)
        allowed = masks[_image_of(index), row, column] != 0
        best, kept = best.masked_fill(~allowed.view_as(best), 0.0).topk(count)
        keypoints = keypoints.view(-1, considered, 2).gather(1, kept[..., None].expand(-1, -1, 2)).flatten(0, 1)
    descriptors = sample_descriptors(output.descriptor_map, _image_of(best), keypoints, descriptor_grid)
    keypoints = rescale(keypoints, detected_size, image_size)
    return FixedDetections(keypoints.view(*best.shape, 2), best, descriptors.view(*best.shape, -1))


def suppress(scores: Tensor, radius: int, threshold: Tensor) -> Tensor:
    """Do what `decoding.non_maximum_suppression` does, with a `threshold` that lies on the device."""
    is_peak = scores > threshold
    if radius == 0:
        return is_peak
    is_peak &= scores == _window_max(scores, radius)
    for _ in range(_SUPPRESSION_ROUNDS):
        remaining = scores.masked_fill(_window_max(is_peak.float(), radius) > 0, 0.0)
        is_peak |= (remaining == _window_max(remaining, radius)) & (remaining > threshold)
    return is_peak


def _window_max(maps: Tensor, radius: int) -> Tensor:
    """Return the largest value of (B, H, W) `maps` within `radius` along each axis, one axis after the other."""
    size = 2 * radius + 1
    rows = functional.max_pool2d(maps, (1, size), stride=1, padding=(0, radius))
    return functional.max_pool2d(rows, (size, 1), stride=1, padding=(radius, 0))


def _inside(scores: Tensor, border: Tensor, size: tuple[int, int]) -> Tensor:
    """Tell which pixels of (B, H, W) `scores` lie at least `border` inside an image of (height, width) `size`."""
    row, column = (torch.arange(side, device=scores.device) for side in scores.shape[1:])
    rows = (row >= border) & (row < size[0] - border)
    columns = (column >= border) & (column < size[1] - border)
    return rows[:, None] & columns


def _image_of(rows: Tensor) -> Tensor:
    """Return for each element of (B, K) `rows`, flattened, which of the B images it belongs to."""
    return torch.arange(len(rows), device=rows.device)[:, None].expand_as(rows).flatten()


def _most_peaks(map_size: tuple[int, int], radius: int) -> int:
    """Return how many peaks a (height, width) map can hold: any two are more than `radius` apart, but for ties."""
    return -(-map_size[0] // (radius + 1)) * -(-map_size[1] // (radius + 1))

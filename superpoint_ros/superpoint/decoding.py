"""From the network's raw output to keypoints with descriptors (DeTone et al. 2018, sections 3.2 and 3.3).

Everything works on a whole batch at once; keypoints of all images lie one behind the other in flat
tensors, ordered by image. `score_map`, `rescale` and `sample_descriptors` neither wait for nor copy from the
host, so that they can be part of a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .config import CELL_SIZE, DescriptorGrid
from .network import NetworkOutput
from .options import DetectionOptions
from .subpixel import refine

_SUPPRESSION_ROUNDS = 2


class Detections(NamedTuple):
    """Keypoints of a batch of B images, M in all, ordered by image.

    Attributes
    ----------
    counts : Tensor, (B,), int64
        Keypoints of each image.
    keypoints : Tensor, (M, 2), float32
        x, y in pixels of the network's input, the centre of the top-left pixel at (0, 0).
    scores : Tensor, (M,), float32
    descriptors : Tensor, (M, D), float32
        Of unit length.
    """

    counts: Tensor
    keypoints: Tensor
    scores: Tensor
    descriptors: Tensor


def decode(
    output: NetworkOutput,
    options: DetectionOptions,
    descriptor_grid: DescriptorGrid,
    image_size: tuple[int, int],
    row_major: bool = False,
    masks: Tensor | None = None,
) -> Detections:
    """Find keypoints and sample their descriptors.

    Parameters
    ----------
    output : NetworkOutput
        Of a batch; any float dtype, decoded in float32.
    options : DetectionOptions
        `resize` is not read: image sizes are the caller's business.
    descriptor_grid : {"magicleap", "cell_centers"}
        How the weights map pixels to the descriptor map.
    image_size : tuple of int
        (height, width) in pixels of the part of the input, from the top left, that holds image and
        not padding. The border is measured from it.
    row_major : bool
        Keep keypoints in row-major order unless `max_keypoints` cuts some of them off, as
        transformers does. Otherwise the best one comes first.
    masks : Tensor, (B, H', W'), bool, optional
        Keypoints lie only where it is True, in masks that show the same view at any resolution. Looked
        up at the refined position and before `max_keypoints` cuts, but after suppression: the edge of a
        mask makes no new peaks.
    """
    scores = score_map(output.keypoint_logits)
    is_peak = non_maximum_suppression(scores, options.nms_radius, options.threshold)
    image, row, column = _inside(is_peak, options.border, image_size).nonzero().unbind(1)
    row, column = row + options.border, column + options.border
    if masks is not None:
        refined = refine(scores, image, row, column, options.subpixel)
        allowed = _is_inside(masks, image, rescale(refined, image_size, masks.shape[1:]))
        image, row, column = image[allowed], row[allowed], column[allowed]
    peak_scores = scores[image, row, column]

    counts = torch.bincount(image, minlength=len(scores))
    if not row_major or 0 <= options.max_keypoints < counts.max():
        kept = _best_first(image, peak_scores, counts, options.max_keypoints, row_major)
        image, row, column, peak_scores = image[kept], row[kept], column[kept], peak_scores[kept]
        if options.max_keypoints >= 0:
            counts = counts.clamp(max=options.max_keypoints)

    keypoints = refine(scores, image, row, column, options.subpixel)
    descriptors = sample_descriptors(output.descriptor_map, image, keypoints, descriptor_grid)
    return Detections(counts, keypoints, peak_scores, descriptors)


def rescale(keypoints: Tensor, size: Sequence[int], new_size: Sequence[int]) -> Tensor:
    """Move (M, 2) `keypoints` from an image of (height, width) `size` to the same image at `new_size`, inside of it."""
    height, width = new_size
    x, y = keypoints.unbind(1)
    if tuple(size) != tuple(new_size):
        x, y = (x + 0.5) * (width / size[1]) - 0.5, (y + 0.5) * (height / size[0]) - 0.5
    # Refinement and resizing can lead past the outermost pixel centres.
    return torch.stack((x.clamp(0, width - 1), y.clamp(0, height - 1)), dim=1)


def score_map(keypoint_logits: Tensor) -> Tensor:
    """Return the keypoint probability of every pixel.

    Parameters
    ----------
    keypoint_logits : Tensor, (B, 65, h, w)

    Returns
    -------
    Tensor, (B, 8h, 8w), float32
        The 65-way softmax without its "no keypoint" channel, cells laid out as 8 x 8 pixels.
    """
    batch, _, height, width = keypoint_logits.shape
    probabilities = keypoint_logits.permute(0, 2, 3, 1).float().softmax(dim=3)[..., :-1]
    cells = probabilities.view(batch, height, width, CELL_SIZE, CELL_SIZE)
    return cells.transpose(2, 3).reshape(batch, height * CELL_SIZE, width * CELL_SIZE)


def non_maximum_suppression(scores: Tensor, radius: int, threshold: float) -> Tensor:
    """Tell which scores above `threshold` are the largest within `radius` of them.

    Two more rounds bring back what only suppressed pixels had suppressed: the max-pool approximation
    of greedy suppression that became common with SuperGlue (Sarlin et al. 2020) and that transformers
    uses. Equal scores within `radius` of each other survive together.

    Parameters
    ----------
    scores : Tensor, (B, H, W), float32, not negative
    radius : int
        In pixels, along each axis (the window is a square).
    threshold : float
        Not negative. Scores at or below it suppress nothing that is above it.

    Returns
    -------
    Tensor, (B, H, W), bool
    """
    if radius == 0:
        return scores > threshold
    if scores.device.type == "cpu":
        peaks = [_suppress_on_cpu(one.numpy(), radius, threshold) for one in scores.detach()]
        return torch.stack([torch.from_numpy(one).bool() for one in peaks])

    def window_max(maps: Tensor) -> Tensor:
        return functional.max_pool2d(maps, 2 * radius + 1, stride=1, padding=radius)

    is_peak = (scores == window_max(scores)) & (scores > threshold)
    for _ in range(_SUPPRESSION_ROUNDS):
        remaining = scores.masked_fill(window_max(is_peak.float()) > 0, 0.0)
        is_peak |= (remaining == window_max(remaining)) & (remaining > threshold)
    return is_peak


def _suppress_on_cpu(scores: NDArray[np.float32], radius: int, threshold: float) -> NDArray[np.uint8]:
    """Do the same for one (H, W) map with OpenCV's filters, dozens of times as fast as max pooling."""
    window = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    buffer = np.empty_like(scores)  # fresh memory costs more than the arithmetic
    is_above = np.empty(scores.shape, np.bool_)

    def peaks_of(values: NDArray[np.float32]) -> NDArray[np.uint8]:
        is_max = cv2.compare(values, cv2.dilate(values, window, dst=buffer), cv2.CMP_EQ)
        np.greater(values, threshold, out=is_above)
        return np.asarray(is_max & is_above.view(np.uint8))

    is_peak = peaks_of(scores)
    remaining = np.empty_like(scores)
    for _ in range(_SUPPRESSION_ROUNDS):
        is_free = np.asarray(cv2.dilate(is_peak, window)) == 0
        remaining.fill(0)
        is_peak |= peaks_of(np.asarray(cv2.copyTo(scores, is_free.view(np.uint8), remaining)))
    return is_peak


def _inside(maps: Tensor, border: int, image_size: tuple[int, int]) -> Tensor:
    """Cut (B, H, W) `maps` down to what lies at least `border` pixels inside an image of (height, width)."""
    height, width = image_size
    return maps[:, border : max(height - border, border), border : max(width - border, border)]


def _is_inside(masks: Tensor, image: Tensor, keypoints: Tensor) -> Tensor:
    """Tell which keypoints, in pixels of the (B, H, W) `masks`, lie where the mask of their image is True."""
    column, row = keypoints.round().long().unbind(1)
    return masks[image, row, column]


def _best_first(image: Tensor, scores: Tensor, counts: Tensor, limit: int, row_major: bool) -> Tensor:
    """Return the indices of each image's best `limit` candidates (-1: all), images in order.

    With `row_major`, images that have no more than `limit` candidates keep the order they came in.
    """
    by_score = scores.argsort(descending=True, stable=True)
    by_image = by_score[image[by_score].argsort(stable=True)]
    if limit < 0:
        return by_image
    starts = counts.cumsum(0) - counts
    rank = torch.arange(len(image), device=image.device) - starts[image]
    if row_major:
        by_image = torch.where((counts <= limit)[image], torch.arange(len(image), device=image.device), by_image)
    return by_image[rank < limit]


def sample_descriptors(descriptor_map: Tensor, image: Tensor, keypoints: Tensor, grid: DescriptorGrid) -> Tensor:
    """Interpolate normalised descriptors bilinearly at `keypoints`.

    Parameters
    ----------
    descriptor_map : Tensor, (B, D, h, w)
        Need not be normalised.
    image : Tensor, (M,), int64
        Which image of the batch each keypoint belongs to.
    keypoints : Tensor, (M, 2), float32
        x, y in pixels.
    grid : {"magicleap", "cell_centers"}
        See `SuperPointConfig`.

    Returns
    -------
    Tensor, (M, D), float32
        Of unit length.
    """
    _, dimension, height, width = descriptor_map.shape
    (column, right), (row, down) = (
        _place_on_grid(position, count, grid) for position, count in zip(keypoints.unbind(1), (width, height))
    )
    cells = descriptor_map.permute(0, 2, 3, 1).reshape(-1, dimension)
    origin = (image * height + row) * width + column
    step_right, step_down = int(width > 1), width * int(height > 1)
    neighbours = torch.stack((origin, origin + step_right, origin + step_down, origin + step_down + step_right), dim=1)
    weights = torch.stack(((1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down), dim=1)
    if cells.device.type == "cpu":  # several times as fast, and slower on a GPU
        cells = cells.float()
        lengths = torch.linalg.vector_norm(cells, dim=1)[neighbours]  # of all cells: gathering their values costs more
        weights = weights / lengths.clamp(min=1e-12)
        sampled = functional.embedding_bag(neighbours, cells, per_sample_weights=weights, mode="sum")
        return functional.normalize(sampled, dim=1)
    unit = functional.normalize(cells[neighbours].float(), dim=2)
    # Not as a matrix product, for which cuBLAS would keep 32 MiB on each stream.
    return functional.normalize((weights[..., None] * unit).sum(1), dim=1)


def _place_on_grid(position: Tensor, count: int, grid: DescriptorGrid) -> tuple[Tensor, Tensor]:
    """Return the first of the two cells, of `count` along an axis, that a pixel lies between, and how far behind it."""
    if grid == "cell_centers":
        cell = (position + 0.5) / CELL_SIZE - 0.5
    else:
        first_center = (CELL_SIZE - 1) / 2
        cell = (position - first_center) / (count * CELL_SIZE - first_center - 1) * (count - 1)
    cell = cell.clamp(0, count - 1)
    first = cell.floor().clamp(max=max(count - 2, 0))
    return first.long(), cell - first

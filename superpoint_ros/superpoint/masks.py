"""Masks: where in an image keypoints may lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .preprocessing import Image


def match_masks(masks: object, images: Sequence[Image]) -> list[Tensor | None]:
    """Return for each image, (H, W) or (H, W, 3), its mask as (H, W) bool, or None."""
    if masks is None:
        return [None] * len(images)
    if not isinstance(masks, Sequence) or isinstance(masks, str):
        raise TypeError(f"masks for a sequence of images must be a sequence too, got {type(masks).__name__}")
    if len(masks) != len(images):
        raise ValueError(f"there must be one mask (or None) for each image, got {len(masks)} for {len(images)} images")
    return [None if mask is None else to_mask(mask, tuple(image.shape[:2])) for mask, image in zip(masks, images)]


def stack_masks(masks: list[Tensor | None], size: Sequence[int], device: torch.device) -> Tensor | None:
    """Return a batch of masks of (height, width) `size`, all True for None; or None if there are none at all."""
    if all(mask is None for mask in masks):
        return None
    everywhere = torch.ones(*size, dtype=torch.bool)
    return torch.stack([everywhere.to(device) if mask is None else mask.to(device) for mask in masks])


def to_mask(mask: Image, image_size: tuple[int, ...]) -> Tensor:
    """Return a mask as (H, W) bool: True where it is not zero.

    Raises
    ------
    TypeError
        If `mask` is neither an array nor a tensor.
    ValueError
        If its dtype is neither uint8 nor bool, or it is not (height, width) `image_size` large.
    """
    if not isinstance(mask, (np.ndarray, Tensor)):
        raise TypeError(f"a mask must be a NumPy array, a torch tensor or None, got {type(mask).__name__}")
    dtype = str(mask.dtype).removeprefix("torch.")
    if dtype not in ("uint8", "bool"):
        raise ValueError(f"a mask must be of dtype uint8 or bool, got {dtype}")
    if tuple(mask.shape) != image_size:
        raise ValueError(f"a mask must have the shape of its image, {image_size}, got {tuple(mask.shape)}")
    return mask != 0 if isinstance(mask, Tensor) else torch.from_numpy(mask != 0)

"""From any image to what the network takes: luminance, a size, and sides that are multiples of the cell."""

from __future__ import annotations

from typing import Any, TypeAlias

import cv2
import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .config import CELL_SIZE

Image: TypeAlias = NDArray[Any] | Tensor
AnyImage: TypeAlias = Image | PIL.Image.Image

_LUMINANCE_WEIGHTS = (0.299, 0.587, 0.114)  # ITU-R BT.601, as OpenCV and Pillow
_FLOAT_TOLERANCE = 1e-3


def from_pillow(picture: PIL.Image.Image) -> NDArray[Any]:
    """Return a Pillow image as an array: grey and RGB as they are, palettes, alpha and other colours as RGB."""
    as_it_is = picture.mode in ("L", "RGB") or picture.mode.startswith(("I", "F"))  # the latter: single numbers
    return np.array(picture if as_it_is else picture.convert("RGB"))


def to_luminance(image: Image) -> Tensor:
    """Return an image as one channel.

    Parameters
    ----------
    image : ndarray or Tensor, (H, W), (H, W, C) or (C, H, W) with C = 1 or 3 (RGB)
        uint8, or float in [0, 1].

    Returns
    -------
    Tensor, (H, W), uint8 or float32
        On the device of `image`; may share its memory.

    Raises
    ------
    TypeError
        If `image` is neither an array nor a tensor.
    ValueError
        If its shape, dtype or range of values is another; the message says which was expected.
    """
    if not isinstance(image, (np.ndarray, Tensor)):
        raise TypeError(f"an image must be a NumPy array or a torch tensor, got {type(image).__name__}")
    image = _as_uint8_or_float32(channels_last(image))
    if isinstance(image, np.ndarray):
        gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
        return torch.from_numpy(np.require(gray, requirements=["C", "W"]))  # PyTorch warns of what is read-only
    if image.ndim == 2:
        return image
    luminance = image.float() @ image.new_tensor(_LUMINANCE_WEIGHTS, dtype=torch.float32)
    return luminance.round().to(torch.uint8) if image.dtype == torch.uint8 else luminance


def resized_size(size: tuple[int, int], longer_side: int) -> tuple[int, int]:
    """Return the (height, width) with the aspect ratio of `size` whose longer one is `longer_side` (0: `size`)."""
    scale = longer_side / max(size) if longer_side else 1.0
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def resize_longer_side(image: Tensor, longer_side: int) -> Tensor:
    """Resize (H, W) `image`, keeping its aspect ratio and dtype, with an anti-aliasing filter when it shrinks.

    Parameters
    ----------
    longer_side : int
        In pixels; 0 returns the image as it is.
    """
    height, width = image.shape
    size = resized_size((height, width), longer_side)
    if size == (height, width):
        return image
    if image.device.type == "cpu":
        method = cv2.INTER_AREA if longer_side < max(height, width) else cv2.INTER_LINEAR
        return torch.from_numpy(cv2.resize(image.numpy(), size[::-1], interpolation=method))
    resized = functional.interpolate(image[None, None].float(), size, mode="bilinear", antialias=True)[0, 0]
    return resized.round().to(torch.uint8) if image.dtype == torch.uint8 else resized


def to_network_input(images: list[Tensor], device: torch.device) -> Tensor:
    """Stack (H, W) images of equal size and dtype to a (B, 1, H, W) batch of that dtype, padded to whole cells."""
    return pad_to_cells(torch.stack(images)[:, None].to(device))


def pad_to_cells(batch: Tensor) -> Tensor:
    """Extend the sides of (B, 1, H, W) images to multiples of 8 pixels by repeating the last row and column."""
    if not any(side % CELL_SIZE for side in batch.shape[2:]):
        return batch
    rows, columns = (  # functional.pad takes no uint8 on a GPU
        torch.arange(side + -side % CELL_SIZE, device=batch.device).clamp(max=side - 1) for side in batch.shape[2:]
    )
    return batch[:, :, rows[:, None], columns]


def channels_last(image: Image) -> Image:
    """Return an image as (H, W) or (H, W, 3)."""
    shape = tuple(image.shape)
    if len(shape) == 3 and shape[2] not in (1, 3) and shape[0] in (1, 3):
        image = image.permute(1, 2, 0) if isinstance(image, Tensor) else image.transpose(1, 2, 0)
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)) or 0 in shape:
        raise ValueError(
            f"an image must have shape (H, W), (H, W, 3) or (3, H, W) with at least one pixel, got {shape}"
        )
    return image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image


def _as_uint8_or_float32(image: Image) -> Image:
    dtype = str(image.dtype).removeprefix("torch.")
    if dtype == "uint8":
        return image
    if dtype not in ("float16", "bfloat16", "float32", "float64"):
        raise ValueError(f"an image must be of dtype uint8 or float, got {dtype}")
    low, high = float(image.min()), float(image.max())
    if not (low >= -_FLOAT_TOLERANCE and high <= 1 + _FLOAT_TOLERANCE):
        raise ValueError(f"an image of dtype {dtype} must have values in [0, 1], got [{low:g}, {high:g}]")
    return image.float() if isinstance(image, Tensor) else image.astype(np.float32, copy=False)

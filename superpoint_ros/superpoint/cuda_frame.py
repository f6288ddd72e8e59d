"""One frame on the device: from the bytes of its images to its keypoints, all in buffers of fixed shape."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .backends import Backend
from .config import CELL_SIZE, DescriptorGrid
from .cuda_decoding import decode_fixed, keypoint_capacity
from .features import Features
from .options import DetectionOptions
from .preprocessing import pad_to_cells, resized_size

Images: TypeAlias = Sequence[NDArray[np.uint8]]
Masks: TypeAlias = Sequence[NDArray[Any] | None]

_HEADER = 16  # bytes before the images: threshold and border as float32, and room that keeps the images aligned


@dataclass(frozen=True)
class FrameShape:
    """Everything that decides on the shapes of a frame's tensors.

    Attributes
    ----------
    images : tuple of int
        (B, H, W) or (B, H, W, 3).
    masked : bool
    options : DetectionOptions
        `threshold` and `border`, which shape nothing, are zero.
    """

    images: tuple[int, ...]
    masked: bool
    options: DetectionOptions

    @classmethod
    def of(cls, images: Images, options: DetectionOptions, masks: Masks | None) -> FrameShape:
        """Return the shape of a batch of images of equal shape."""
        masked = masks is not None and any(mask is not None for mask in masks)
        return cls((len(images), *images[0].shape), masked, replace(options, threshold=0.0, border=0))

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the given images."""
        return self.images[1], self.images[2]

    @property
    def detected_size(self) -> tuple[int, int]:
        """(height, width) at which keypoints are looked for."""
        return resized_size(self.image_size, self.options.resize)

    @property
    def keypoints(self) -> int:
        """Rows of each image's result."""
        height, width = (math.ceil(side / CELL_SIZE) * CELL_SIZE for side in self.detected_size)
        return keypoint_capacity(self.options, (height, width))


@dataclass(frozen=True)
class FrameComputation:
    """What happens to a frame on the device.

    Attributes
    ----------
    backend : callable
        Runs the network; see `backends.Backend`.
    descriptor_grid : {"magicleap", "cell_centers"}
    descriptor_size : int
        Length of a descriptor.
    """

    backend: Backend
    descriptor_grid: DescriptorGrid
    descriptor_size: int

    def __call__(self, shape: FrameShape, upload: Tensor, result: Tensor) -> None:
        """Compute float32 `result` (keypoints, scores, descriptors) from the bytes `upload` (header, images, masks)."""
        threshold, border = upload[:_HEADER].view(torch.float32)[:2].unbind()
        end = _HEADER + math.prod(shape.images)
        images = upload[_HEADER:end].view(shape.images)
        masks = upload[end:].view(shape.images[:3]) if shape.masked else None
        output = self.backend(to_network_input(images, shape.detected_size))
        found = decode_fixed(
            output,
            shape.options,
            threshold,
            border,
            self.descriptor_grid,
            shape.detected_size,
            shape.image_size,
            masks,
        )
        torch.cat([part.flatten() for part in found], out=result)


def to_network_input(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Turn (B, H, W) or (B, H, W, 3) uint8 `images` into a (B, 1, h, w) float32 batch in [0, 1], padded to whole cells.

    Parameters
    ----------
    size : tuple of int
        (height, width) to resize to.
    """
    if images.ndim == 4:
        red, green, blue = images.int().unbind(3)
        images = ((9798 * red + 19235 * green + 3735 * blue + 16384) >> 15).to(torch.uint8)  # BT.601, OpenCV's integers
    batch = images[:, None].float()
    if size != tuple(images.shape[1:]):
        batch = functional.interpolate(batch, size, mode="bilinear", antialias=True).round_()
    return pad_to_cells(batch.div_(255))


class FrameBuffers:
    """Memory of one frame in flight, on host and device, and the work between the two ends.

    Parameters
    ----------
    shape : FrameShape
    computation : FrameComputation
    device : torch.device

    Attributes
    ----------
    replay : callable or None
        What does the work of `compute` faster: its recorded graph.
    recording_asked : bool
        Whether somebody has taken care of that.
    """

    def __init__(self, shape: FrameShape, computation: FrameComputation, device: torch.device) -> None:
        self._pinned: tuple[Tensor, ...] = ()
        self._device = device
        self.shape = shape
        self.replay: Callable[[], None] | None = None
        self.recording_asked = False
        self._computation = computation
        batch, count = shape.images[0], shape.keypoints
        self._result_shapes = (batch, count, 2), (batch, count), (batch, count, computation.descriptor_size)
        upload_size = _HEADER + math.prod(shape.images) + shape.masked * math.prod(shape.images[:3])
        result_size = sum(math.prod(part) for part in self._result_shapes)
        on_gpu = device.type == "cuda"
        self._staging = torch.zeros(upload_size, dtype=torch.uint8, pin_memory=on_gpu)
        self._download = torch.empty(result_size, pin_memory=on_gpu)
        self._pinned = (self._staging, self._download) if on_gpu else ()
        self._upload = torch.zeros(upload_size, dtype=torch.uint8, device=device)
        self._result = torch.empty(result_size, device=device)

    def __del__(self) -> None:
        """Keep pinned memory for ever once the GPU is lost.

        When PyTorch frees it, it records an event for the copies; where that fails, in a destructor, the process ends.
        """
        if self._pinned and not _works(self._device):
            for tensor in self._pinned:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(tensor))

    def write(self, images: Images, options: DetectionOptions, masks: Masks | None) -> None:
        """Copy a frame to where it is uploaded from."""
        staging = self._staging.numpy()
        staging[:_HEADER].view(np.float32)[:2] = options.threshold, options.border
        end = _HEADER + math.prod(self.shape.images)
        for target, image in zip(staging[_HEADER:end].reshape(self.shape.images), images):
            np.copyto(target, image)
        if self.shape.masked and masks is not None:
            for target, mask in zip(staging[end:].reshape(self.shape.images[:3]), masks):
                np.copyto(target, 1 if mask is None else mask != 0)

    def launch(self) -> None:
        """Put upload, work and download into the current stream."""
        self._upload.copy_(self._staging, non_blocking=True)
        (self.replay or self.compute)()
        self._download.copy_(self._result, non_blocking=True)

    @torch.inference_mode()
    def compute(self) -> None:
        """Do the device's work, kernel by kernel."""
        self._computation(self.shape, self._upload, self._result)

    def read(self) -> list[Features]:
        """Copy the features of each image out of the downloaded result."""
        sizes = [math.prod(part) for part in self._result_shapes]
        parts = self._download.split(sizes)
        keypoints, scores, descriptors = (part.view(to).numpy() for part, to in zip(parts, self._result_shapes))
        height, width = self.shape.image_size
        features = []
        for index, count in enumerate((scores > 0).sum(axis=1)):
            keep = index, slice(count)
            found = Features(keypoints[keep].copy(), scores[keep].copy(), descriptors[keep].copy(), (width, height))
            features.append(found)
        return features


def _works(device: torch.device) -> bool:
    """Tell whether a GPU can still be used: after its loss, every call fails."""
    try:
        torch.cuda.current_stream(device).query()
    except RuntimeError:
        return False
    return True

"""The way to use SuperPoint: images in, features out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from .backends import Backend, device_errors, make_backend, resolve_backend, resolve_device, resolve_precision
from .checkpoints import Checkpoint, load_checkpoint
from .compatibility import Compatibility
from .config import require_choice, require_int
from .cuda_pipeline import CudaPipeline
from .decoding import Detections, decode, rescale
from .features import Features
from .masks import match_masks, stack_masks
from .options import DetectionOptions
from .preprocessing import AnyImage, Image, from_pillow, resize_longer_side, to_luminance, to_network_input
from .transformers_extractor import TransformersExtractor

_AUTOMATIC_BATCH_SIZES = {"torch": 8, "openvino": 1}


class SuperPointExtractor:
    """Finds keypoints and descriptors in images.

    Parameters
    ----------
    checkpoint : Checkpoint
        The weights.
    device : str
        "auto" (CUDA where there is one), "cpu" or "cuda:N".
    backend : {"auto", "torch", "openvino"}
        What runs the network. "auto" is OpenVINO on a CPU where it is installed, else PyTorch.
    precision : {"auto", "fp32", "bf16", "fp16", "int8"}
        Of the network only; decoding is always float32. "auto" is fp16 on CUDA and fp32 on CPU. "int8" needs
        OpenVINO and, for other weights than the bundled ones, a model that the command ``quantize`` makes.
    options : DetectionOptions, optional
        The checkpoint's own by default.
    compatibility : {None, "transformers"}
        "transformers" prepares images, finds keypoints and rounds their coordinates as that library
        does, to compare or replace it; only on the "torch" backend in fp32. `resize` and `subpixel` have no
        part in it, and features are ordered by score only where `max_keypoints` cuts some off.
    threads : int
        CPU threads to compute with; 0: as many as PyTorch is set to use.
    max_batch_size : int
        Images of equal size that go through the network together, at most. 0: eight in PyTorch, and one in OpenVINO,
        where on a CPU several are hardly faster than one, take as many times the memory, and each number of them is
        compiled.

    Raises
    ------
    ValueError
        If the device is absent, the precision is not to be had on it, or there is no quantised model.

    Attributes
    ----------
    options : DetectionOptions
        May be replaced between two calls; the next one uses the new ones.
    model_name : str
        Names the weights; descriptors of different weights must never be matched.
    device, backend, precision : str
        As resolved.
    threads, max_batch_size : int
        As resolved; with ``compatibility="transformers"`` images go one by one.
    last_timings : dict of float
        Seconds that the last call spent on "preprocessing", "network" and "decoding"; empty where they cannot
        be told apart.
    pipeline : CudaPipeline or None
        On a GPU, what computes images that it supports, one batch at a time; for who prepares it.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "auto",
        backend: str = "auto",
        precision: str = "auto",
        options: DetectionOptions | None = None,
        compatibility: Compatibility = None,
        threads: int = 0,
        max_batch_size: int = 0,
    ) -> None:
        require_choice("compatibility", compatibility, (None, "transformers"))
        self.threads = require_int("threads", threads, minimum=0) or torch.get_num_threads()
        self._device = resolve_device(device)
        resolved = resolve_precision(precision, self._device)
        self.precision = "fp32" if compatibility else resolved
        self.backend = resolve_backend("torch" if compatibility else backend, self._device)
        self.device = str(self._device)
        wanted = require_int("max_batch_size", max_batch_size, minimum=0)
        self.max_batch_size = 1 if compatibility else wanted or _AUTOMATIC_BATCH_SIZES[self.backend]
        self.model_name = checkpoint.name
        self.options = options or DetectionOptions.from_config(checkpoint.config)
        self._descriptor_grid = checkpoint.config.descriptor_grid
        self.last_timings: dict[str, float] = {}
        self._network: Backend | None = None
        self._like_transformers: TransformersExtractor | None = None
        if compatibility:
            self._like_transformers = TransformersExtractor(checkpoint, self._device)
        else:
            with _torch_threads(self.threads):
                self._network = make_backend(self.backend, checkpoint, self._device, self.precision)
        self.pipeline: CudaPipeline | None = None
        if self._network is not None and self._device.type == "cuda":
            size = checkpoint.config.descriptor_decoder_dim
            # More slots would only be recorded: each batch is collected before the next is submitted.
            self.pipeline = CudaPipeline(self._network, self._device, self._descriptor_grid, size, slots=1)

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path = "default",
        *,
        device: str = "auto",
        backend: str = "auto",
        precision: str = "auto",
        compatibility: Compatibility = None,
        threads: int = 0,
        max_batch_size: int = 0,
        **options: Any,
    ) -> SuperPointExtractor:
        """Load weights and return an extractor for them.

        Parameters
        ----------
        weights : str or Path
            See `load_checkpoint`.
        device, backend, precision, compatibility, threads, max_batch_size
            See the class.
        **options
            Fields of `DetectionOptions`; those not given are the checkpoint's own.

        Raises
        ------
        CheckpointError
            If the weights cannot be read.
        TypeError, ValueError
            If an option has another name or is out of range.
        """
        checkpoint = load_checkpoint(weights)
        given = {name: value for name, value in options.items() if value is not None}
        chosen = replace(DetectionOptions.from_config(checkpoint.config), **given)
        return cls(checkpoint, device, backend, precision, chosen, compatibility, threads, max_batch_size)

    @overload
    def __call__(self, images: AnyImage, masks: Image | None = None) -> Features: ...

    @overload
    def __call__(self, images: Sequence[AnyImage], masks: Sequence[Image | None] | None = None) -> list[Features]: ...

    def __call__(
        self,
        images: AnyImage | Sequence[AnyImage],
        masks: Image | Sequence[Image | None] | None = None,
    ) -> Features | list[Features]:
        """Find features in one image or in several.

        Parameters
        ----------
        images : ndarray or Tensor, (H, W), (H, W, 3) or (3, H, W), or Pillow image; or a sequence of them
            uint8, or float in [0, 1]; colour is RGB. Those of equal size and dtype run in batches.
        masks : ndarray or Tensor, (H, W), uint8 or bool; or a sequence of them or None, optional
            For each image where keypoints may lie: only where its mask, looked up at the pixel nearest to
            the keypoint, is not zero. `max_keypoints` counts only those. None: everywhere.

        Returns
        -------
        Features, or list of Features
            In the order of `images`.

        Raises
        ------
        TypeError, ValueError
            If an image or a mask is not of that form, or there are masks and ``compatibility="transformers"``;
            nothing is computed then.
        MemoryError, DeviceError
            If the GPU has too little free memory for these images, or is lost; see `backends.device_errors`.
        """
        if isinstance(images, (np.ndarray, Tensor, PIL.Image.Image)):
            return self([images], [masks])[0]  # type: ignore[list-item]  # checked where it is used
        if not isinstance(images, Sequence):
            raise TypeError(f"images must be NumPy arrays, torch tensors or Pillow images, got {type(images).__name__}")
        arrays = [from_pillow(image) if isinstance(image, PIL.Image.Image) else image for image in images]
        # OpenVINO has its own threads, and PyTorch's, which spin for a while when they are done, would slow them down.
        with _torch_threads(1 if self.backend == "openvino" else self.threads):
            if self._like_transformers is not None:
                if masks is not None and any(mask is not None for mask in masks):
                    raise ValueError("masks are not known to transformers: leave compatibility='transformers' out")
                return [self._like_transformers(image, self.options) for image in arrays]
            return self._extract(arrays, masks, self.options)

    def _extract(self, images: Sequence[Image], masks: object, options: DetectionOptions) -> list[Features]:
        if self.pipeline is not None:
            images = _without_mixed_colors(images)
        if self.pipeline is not None and self.pipeline.supports(images, options):
            allowed = match_masks(masks, images)
            arrays = [None if mask is None else mask.cpu().numpy() for mask in allowed]
            collected: list[Features] = []
            for part in self._batches(range(len(images))):
                frames = [images[index] for index in part]
                pending = self.pipeline.submit(frames, options, [arrays[index] for index in part])
                collected += self.pipeline.collect(pending)
            return collected
        clock = _StageClock()
        prepared = [to_luminance(image) for image in images]
        allowed = match_masks(masks, prepared)
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, image in enumerate(prepared):
            groups.setdefault((*image.shape, image.dtype), []).append(index)
        features: dict[int, Features] = {}
        for group in groups.values():
            for indices in self._batches(group):
                batch = [prepared[index] for index in indices]
                with device_errors():
                    found = self._extract_batch(batch, [allowed[index] for index in indices], options, clock)
                features.update(zip(indices, found))
        if self._device.type == "cpu":  # a GPU still works when a stage seems to end
            self.last_timings = clock.seconds
        return [features[index] for index in range(len(prepared))]

    def _batches(self, indices: Sequence[int]) -> list[Sequence[int]]:
        return [indices[start : start + self.max_batch_size] for start in range(0, len(indices), self.max_batch_size)]

    @torch.inference_mode()
    def _extract_batch(
        self, images: list[Tensor], masks: list[Tensor | None], options: DetectionOptions, clock: _StageClock
    ) -> list[Features]:
        """Extract from (H, W) images of one size and dtype."""
        assert self._network is not None
        resized = [resize_longer_side(image, options.resize) for image in images]
        size, resized_size = images[0].shape, resized[0].shape
        batch = to_network_input(resized, self._device)
        clock.stop("preprocessing")
        output = self._network(batch)
        clock.stop("network")
        stacked = stack_masks(masks, size, self._device)
        found = decode(output, options, self._descriptor_grid, (resized_size[0], resized_size[1]), masks=stacked)
        features = _split(found._replace(keypoints=rescale(found.keypoints, resized_size, size)), size)
        clock.stop("decoding")
        return features


def _without_mixed_colors(images: Sequence[Image]) -> Sequence[Image]:
    """Make colour arrays grey if there are grey ones of the same call: the pipeline wants one shape."""
    if not all(isinstance(image, np.ndarray) for image in images) or len({image.ndim for image in images}) == 1:
        return images
    return [to_luminance(image).numpy() for image in images]


class _StageClock:
    """Adds up the `seconds` of the stages of a call."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def stop(self, stage: str) -> None:
        """Book the time since the last stop on `stage`."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    """Let PyTorch compute with as many CPU threads inside the block."""
    before = torch.get_num_threads()
    if threads == before:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _split(detections: Detections, size: Sequence[int]) -> list[Features]:
    """Part detections in images of (height, width) `size` by image."""
    counts = detections.counts.tolist()
    keypoints, scores, descriptors = (
        [part.numpy() for part in torch.split(tensor.cpu(), counts)]
        for tensor in (detections.keypoints, detections.scores, detections.descriptors)
    )
    return [Features(*arrays, (size[1], size[0])) for arrays in zip(keypoints, scores, descriptors)]

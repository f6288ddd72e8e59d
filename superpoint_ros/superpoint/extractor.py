"""The way to use SuperPoint: images in, features out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from .backends import make_backend, resolve_backend, resolve_device, resolve_precision
from .checkpoints import Checkpoint, load_checkpoint
from .compatibility import Compatibility
from .config import require_choice
from .decoding import Detections, decode
from .features import Features
from .image_processor import SuperPointImageProcessor
from .model import SuperPointForKeypointDetection
from .options import DetectionOptions
from .preprocessing import Image, resize_longer_side, to_luminance, to_network_input


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
    precision : {"auto", "fp32", "bf16", "fp16"}
        Of the network only; decoding is always float32. "auto" is fp16 on CUDA and fp32 on CPU.
    options : DetectionOptions, optional
        The checkpoint's own by default.
    compatibility : {None, "transformers"}
        "transformers" prepares images, finds keypoints and rounds their coordinates as that library
        does, to compare or replace it; only on the "torch" backend in fp32. `resize` and `subpixel` have no
        part in it, and features are ordered by score only where `max_keypoints` cuts some off.

    Raises
    ------
    ValueError
        If the device is absent or the precision is not to be had on it.

    Attributes
    ----------
    options : DetectionOptions
        May be replaced between two calls; the next one uses the new ones.
    model_name : str
        Names the weights; descriptors of different weights must never be matched.
    device, backend, precision : str
        As resolved.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str = "auto",
        backend: str = "auto",
        precision: str = "auto",
        options: DetectionOptions | None = None,
        compatibility: Compatibility = None,
    ) -> None:
        require_choice("compatibility", compatibility, (None, "transformers"))
        self._device = resolve_device(device)
        self.precision = resolve_precision(precision, self._device)
        self.backend = resolve_backend("torch" if compatibility else backend, self._device)
        self.device = str(self._device)
        self.model_name = checkpoint.name
        self.options = options or DetectionOptions.from_config(checkpoint.config)
        self._descriptor_grid = checkpoint.config.descriptor_grid
        self._network = make_backend(self.backend, checkpoint.network(), self._device, self.precision)
        self._like_transformers = _LikeTransformers(checkpoint, self._device) if compatibility else None

    @classmethod
    def from_pretrained(
        cls,
        weights: str | Path = "default",
        *,
        device: str = "auto",
        backend: str = "auto",
        precision: str = "auto",
        compatibility: Compatibility = None,
        **options: Any,
    ) -> SuperPointExtractor:
        """Load weights and return an extractor for them.

        Parameters
        ----------
        weights : str or Path
            See `load_checkpoint`.
        device, backend, precision, compatibility : str
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
        return cls(checkpoint, device, backend, precision, chosen, compatibility)

    @overload
    def __call__(self, images: Image) -> Features: ...

    @overload
    def __call__(self, images: Sequence[Image]) -> list[Features]: ...

    def __call__(self, images: Image | Sequence[Image]) -> Features | list[Features]:
        """Find features in one image or in several.

        Parameters
        ----------
        images : ndarray or Tensor, (H, W), (H, W, 3) or (3, H, W); or a sequence of them
            uint8, or float in [0, 1]; colour is RGB. Images of equal size run as one batch.

        Returns
        -------
        Features, or list of Features
            In the order of `images`.

        Raises
        ------
        TypeError, ValueError
            If an image is not of that form; nothing is computed then.
        """
        if isinstance(images, (np.ndarray, Tensor)):
            return self([images])[0]
        if not isinstance(images, Sequence):
            raise TypeError(f"images must be NumPy arrays or torch tensors, got {type(images).__name__}")
        options = self.options
        if self._like_transformers is not None:
            return [self._like_transformers(image, options) for image in images]
        originals = [to_luminance(image) for image in images]
        resized = [resize_longer_side(image, options.resize) for image in originals]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, image in enumerate(resized):
            groups.setdefault((*image.shape, image.dtype), []).append(index)
        features: dict[int, Features] = {}
        for indices in groups.values():
            detections = self._detect([resized[index] for index in indices], options)
            sizes = [tuple(originals[index].shape) for index in indices]
            found = _split(detections, sizes, tuple(resized[indices[0]].shape))
            features.update(zip(indices, found))
        return [features[index] for index in range(len(resized))]

    @torch.inference_mode()
    def _detect(self, images: list[Tensor], options: DetectionOptions) -> Detections:
        output = self._network(to_network_input(images, self._device))
        height, width = images[0].shape
        return decode(output, options, self._descriptor_grid, (height, width))


class _LikeTransformers:
    """Processor, model and post-processing of transformers in sequence, for one image."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self._processor = SuperPointImageProcessor(checkpoint.preprocessor, "transformers")
        self._model = SuperPointForKeypointDetection(checkpoint.config, "transformers")
        self._model.load_state_dict(checkpoint.state, strict=False)
        self._model.eval().to(device)
        self._device = device

    @torch.inference_mode()
    def __call__(self, image: Image, options: DetectionOptions) -> Features:
        self._model.options = options
        height, width = to_luminance(image).shape
        pixel_values = self._processor.preprocess(image, return_tensors="pt")["pixel_values"]
        outputs = self._model(pixel_values.to(self._device))
        result = self._processor.post_process_keypoint_detection(outputs, [(height, width)])[0]
        keypoints, scores, descriptors = (
            result[name].float().cpu().numpy() for name in ("keypoints", "scores", "descriptors")
        )
        return Features(keypoints, scores, descriptors, (width, height))


def _split(detections: Detections, sizes: list[tuple[int, ...]], detected_size: tuple[int, ...]) -> list[Features]:
    """Part detections by image and move keypoints to the pixels of images of the given (height, width)."""
    counts = detections.counts.tolist()
    keypoints, scores, descriptors = (
        [part.numpy() for part in torch.split(tensor.cpu(), counts)]
        for tensor in (detections.keypoints, detections.scores, detections.descriptors)
    )
    features = []
    for index, size in enumerate(sizes):
        height, width = size
        if size != detected_size:
            scale = np.array([width / detected_size[1], height / detected_size[0]], np.float32)
            keypoints[index] = (keypoints[index] + np.float32(0.5)) * scale - np.float32(0.5)
        # Refinement and resizing can lead past the outermost pixel centres.
        keypoints[index] = keypoints[index].clip(0, np.array([width - 1, height - 1], np.float32))
        features.append(Features(keypoints[index], scores[index], descriptors[index], (width, height)))
    return features

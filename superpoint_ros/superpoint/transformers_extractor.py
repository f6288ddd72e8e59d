"""The extractor's ``compatibility="transformers"``."""

from __future__ import annotations

from contextlib import nullcontext

import torch

from .backends import device_errors, without_tf32
from .checkpoints import Checkpoint
from .features import Features
from .image_processor import SuperPointImageProcessor
from .model import SuperPointForKeypointDetection
from .options import DetectionOptions
from .preprocessing import Image, to_luminance


class TransformersExtractor:
    """Processor, model and post-processing of transformers in sequence, for one image."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self._processor = SuperPointImageProcessor(checkpoint.preprocessor, "transformers")
        self._model = SuperPointForKeypointDetection.from_checkpoint(checkpoint, "transformers").to(device)
        self._device = device

    @torch.inference_mode()
    def __call__(self, image: Image, options: DetectionOptions) -> Features:
        self._model.options = options
        height, width = to_luminance(image).shape
        pixel_values = self._processor.preprocess(image, return_tensors="pt")["pixel_values"]
        with device_errors():
            with without_tf32() if self._device.type == "cuda" else nullcontext():
                outputs = self._model(pixel_values.to(self._device))
            result = self._processor.post_process_keypoint_detection(outputs, [(height, width)])[0]
            keypoints, scores, descriptors = (
                result[name].float().cpu().numpy() for name in ("keypoints", "scores", "descriptors")
            )
        return Features(keypoints, scores, descriptors, (width, height))

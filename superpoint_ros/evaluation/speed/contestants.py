"""Who takes part in `benchmark`: this package in every precision, transformers, OpenCV and chosen peers."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import torch
from tqdm import tqdm

from ...superpoint import DetectionOptions, SuperPointExtractor, save_pretrained
from ...superpoint.checkpoints import Checkpoint
from .peers import load_peer
from .timing import REFERENCE, Images, Run, Setting

CPU_CONTESTANTS = (
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
)


def make_contestants(
    setting: Setting, checkpoint: Checkpoint, device: torch.device, peers: Sequence[str]
) -> dict[str, Run]:
    """Return what extracts features from a batch, by name; says on standard error what is left out.

    PyTorch and OpenCV compute with the setting's threads from then on.
    """
    torch.set_num_threads(setting.threads)
    cv2.setNumThreads(setting.threads)
    options = replace(DetectionOptions.from_config(checkpoint.config), max_keypoints=setting.max_keypoints)

    def ours(backend: str, precision: str) -> Run:
        batch = setting.batch if backend == "torch" else 0  # OpenVINO's default is faster
        return SuperPointExtractor(checkpoint, str(device), backend, precision, options, max_batch_size=batch)

    contestants: dict[str, Run] = {}
    if find_spec("transformers"):
        contestants[REFERENCE] = _transformers(setting, checkpoint, device)
    for peer in peers:
        name, _, folder = peer.partition(":")
        contestants[name] = load_peer(name, Path(folder).expanduser(), checkpoint, options)
    if device.type == "cuda":
        contestants |= {f"ours, torch {precision}": ours("torch", precision) for precision in ("fp32", "bf16", "fp16")}
        return contestants
    for backend, precision in CPU_CONTESTANTS:
        try:
            contestants[f"ours, {backend} {precision}"] = ours(backend, precision)
        except ValueError as error:
            tqdm.write(f"left out: {backend} {precision}: {error}", file=sys.stderr)
    opencv: Any = cv2  # its type stubs lack the detectors
    contestants["OpenCV SIFT"] = _each(opencv.SIFT_create(nfeatures=setting.max_keypoints))
    contestants["OpenCV ORB"] = _each(opencv.ORB_create(nfeatures=setting.max_keypoints))
    return contestants


def _transformers(setting: Setting, checkpoint: Checkpoint, device: torch.device) -> Run:
    """Processor, model and post-processing of transformers with the same weights, at the images' own size."""
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(folder, checkpoint)
        model = transformers.SuperPointForKeypointDetection.from_pretrained(folder, max_keypoints=setting.max_keypoints)
    model = model.to(device).eval()
    processor = transformers.SuperPointImageProcessor(
        size={"height": setting.height, "width": setting.width}, do_grayscale=True
    )

    @torch.inference_mode()
    def extract(images: Images) -> Any:
        outputs = model(**processor(list(images), return_tensors="pt").to(device))
        sizes = [image.shape[:2] for image in images]
        return [
            {name: value.cpu().numpy() for name, value in result.items()}
            for result in processor.post_process_keypoint_detection(outputs, sizes)
        ]

    return extract


def _each(detector: Any) -> Run:
    return lambda images: [detector.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None) for image in images]

"""Other detectors that `benchmark` measures beside ours, from where the user has put them.

None of them is part of this package; each keeps its own licence. Implementations of SuperPoint run with the weights
that ours runs with, ALIKED and DISK with random ones, which make the same work, so that nothing is downloaded.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import torch

from ...superpoint.checkpoints import Checkpoint
from ...superpoint.options import DetectionOptions
from ...superpoint.state_dicts import MAGIC_LEAP_LAYERS, RPAUTRAT_LAYERS
from .timing import Images, Run


def load_peer(name: str, folder: Path, checkpoint: Checkpoint, options: DetectionOptions) -> Run:
    """Return what extracts features with the implementation `name` in `folder`.

    Raises
    ------
    ValueError
        If the implementation is unknown, is not there, or cannot take the weights.
    """
    if name not in PEERS:
        raise ValueError(f"--peer takes NAME:FOLDER with NAME one of {', '.join(PEERS)}, got {name!r}")
    sys.path.insert(0, str(folder))
    try:
        return PEERS[name](checkpoint, options)
    except ImportError as error:
        raise ValueError(f"--peer {name}: cannot be imported from {folder}: {error}") from error
    finally:
        sys.path.remove(str(folder))


def _lightglue(checkpoint: Checkpoint, options: DetectionOptions) -> Run:
    """``lightglue.SuperPoint`` of github.com/cvg/LightGlue; needs kornia and torchvision."""
    module = importlib.import_module("lightglue.superpoint")
    state = _renamed(checkpoint, MAGIC_LEAP_LAYERS)
    with mock.patch("torch.hub.load_state_dict_from_url", return_value=state):  # instead of downloading Magic Leap's
        model = module.SuperPoint(**_settings(options)).eval()
    return _each_as_tensor(lambda image: model.extract(image, resize=None))


def _rpautrat(checkpoint: Checkpoint, options: DetectionOptions) -> Run:
    """``superpoint_pytorch.SuperPoint`` of github.com/rpautrat/SuperPoint, its batch normalisation an identity."""
    module = importlib.import_module("superpoint_pytorch")
    model = module.SuperPoint(**_settings(options)).eval()
    model.load_state_dict(
        _renamed(checkpoint, {f"{old}.conv": new for old, new in RPAUTRAT_LAYERS.items()}), strict=False
    )
    return _each_as_tensor(lambda image: model({"image": image}))


def _aliked(checkpoint: Checkpoint, options: DetectionOptions) -> Run:
    """``lightglue.ALIKED`` (aliked-n16) of github.com/cvg/LightGlue; needs kornia and torchvision."""
    module = importlib.import_module("lightglue.aliked")
    no_weights = mock.patch("torch.hub.load_state_dict_from_url", return_value={})
    with no_weights, mock.patch.object(module.ALIKED, "load_state_dict"):
        model = module.ALIKED(max_num_keypoints=options.max_keypoints, detection_threshold=-1.0).eval()
    return _each_as_tensor(lambda image: model({"image": image}), needs_colour=True)


def _disk(checkpoint: Checkpoint, options: DetectionOptions) -> Run:
    """``kornia.feature.DISK``, which github.com/cvg/LightGlue uses too."""
    model = importlib.import_module("kornia.feature").DISK().eval()

    def extract(image: torch.Tensor) -> dict[str, Any]:
        found = model(image, n=options.max_keypoints, window_size=5, pad_if_not_divisible=True)[0]
        return {"keypoints": found.keypoints[None], "descriptors": found.descriptors[None]}

    return _each_as_tensor(extract, needs_colour=True)


PEERS = {"lightglue": _lightglue, "rpautrat": _rpautrat, "aliked": _aliked, "disk": _disk}


def _settings(options: DetectionOptions) -> dict[str, Any]:
    return {
        "nms_radius": options.nms_radius,
        "detection_threshold": options.threshold,
        "remove_borders": options.border,
        "max_num_keypoints": options.max_keypoints,
    }


def _renamed(checkpoint: Checkpoint, layers: dict[str, str]) -> dict[str, torch.Tensor]:
    if checkpoint.config.batch_norm != "none":
        raise ValueError("other implementations of SuperPoint cannot take weights with batch normalisation")
    return {
        f"{theirs}.{parameter}": checkpoint.state[f"{ours}.{parameter}"]
        for theirs, ours in layers.items()
        for parameter in ("weight", "bias")
    }


def _each_as_tensor(extract: Callable[[torch.Tensor], dict[str, Any]], needs_colour: bool = False) -> Run:
    """Convert to (1, C, H, W) in [0, 1] before and to NumPy arrays behind, one image after the other."""

    @torch.inference_mode()
    def run(images: Images) -> Any:
        results = []
        for image in images:
            pixels = image if needs_colour else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
            found = extract(torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255)
            results.append([found[name][0].numpy() for name in ("keypoints", "descriptors")])
        return results

    return run

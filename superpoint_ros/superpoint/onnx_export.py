"""The network as an ONNX file, for runtimes without PyTorch: docs/onnx.md says how its outputs become keypoints."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .checkpoints import Checkpoint
from .config import CELL_SIZE
from .files import make_output_folder, replacing
from .network import SuperPointNetwork
from .options import DetectionOptions

_OPSET = 18
_DYNAMIC_EXAMPLE = (2, 1, 5 * CELL_SIZE, 6 * CELL_SIZE)


class DenseSuperPoint(nn.Module):
    """The network with outputs that need no more learning of layouts.

    Parameters
    ----------
    network : SuperPointNetwork
    """

    def __init__(self, network: SuperPointNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Run the network.

        Parameters
        ----------
        image : Tensor, (B, 1, H, W), float32
            Luminance in [0, 1]; H and W are multiples of 8.

        Returns
        -------
        scores : Tensor, (B, H, W)
            Probability that the pixel is a keypoint, before non-maximum suppression.
        descriptors : Tensor, (B, D, H / 8, W / 8)
            Of unit length in each cell.
        """
        output = self.network(image)
        probabilities = output.keypoint_logits.softmax(dim=1)[:, :-1]
        scores = functional.pixel_shuffle(probabilities, CELL_SIZE)[:, 0]
        return scores, functional.normalize(output.descriptor_map, dim=1)


def export_onnx(checkpoint: Checkpoint, path: Path, size: tuple[int, int] | None) -> None:
    """Write a checkpoint as one ONNX file with float32 weights.

    Parameters
    ----------
    checkpoint : Checkpoint
    path : Path
        Replaced whole, or not at all.
    size : tuple of int, optional
        (height, width) in pixels, multiples of 8, of an input for single images; None lets the number of images,
        height and width vary.

    Raises
    ------
    ValueError
        If the size is no multiple of 8, a library that exporting needs is not installed, or the file's folder cannot
        be written to.
    """
    for name in ("onnx", "onnxscript"):
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"exporting to ONNX needs the Python package {name}: pip install onnx onnxscript")
    if size is not None and any(side < CELL_SIZE or side % CELL_SIZE for side in size):
        raise ValueError(f"height and width must be multiples of {CELL_SIZE}, got {size[0]} x {size[1]}")
    make_output_folder(path.parent)
    program = _export(DenseSuperPoint(checkpoint.network()).eval(), size)
    program.model.metadata_props.update(_metadata(checkpoint))
    for node in program.model.graph:
        node.metadata_props.clear()  # stack traces of this machine
    with replacing(path) as partial:
        program.save(partial, external_data=False)


def _export(model: DenseSuperPoint, size: tuple[int, int] | None) -> Any:
    shapes = None
    if size is None:
        height, width = (CELL_SIZE * torch.export.Dim(name, min=1) for name in ("rows", "columns"))
        shapes = {"image": {0: torch.export.Dim("batch", min=1), 2: height, 3: width}}
    example = torch.zeros(_DYNAMIC_EXAMPLE if size is None else (1, 1, *size))
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch about itself
            return torch.onnx.export(
                model,
                (example,),
                input_names=["image"],
                output_names=["scores", "descriptors"],
                opset_version=_OPSET,
                dynamic_shapes=shapes,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    finally:
        logging.getLogger("torch.onnx").setLevel(level)


def _metadata(checkpoint: Checkpoint) -> dict[str, str]:
    """Return what a consumer must know: descriptors of different models must not be matched, and the grid differs."""
    options = asdict(DetectionOptions.from_config(checkpoint.config))
    del options["resize"]
    return {
        "model": checkpoint.name,
        "descriptor_grid": checkpoint.config.descriptor_grid,
        "cell_size": str(CELL_SIZE),
        "options": json.dumps(options),
    }

"""Command ``quantize``: weights to a model with 8-bit weights and activations, for OpenVINO on a CPU.

Post-training quantisation by NNCF: the range of every activation is measured on calibration images. Any photographs
do; those of the robot's own camera fit it best. They must not be what the result is then measured on.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .checkpoints import load_checkpoint
from .files import make_output_folder
from .network import SuperPointNetwork
from .openvino_backend import import_openvino
from .openvino_network import convert
from .quantized_models import cached_model, save_quantized

_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_VIEWS = 48
_VIEW_SIZE = (240, 320)
_FIRST_LAYER = "conv_blocks.0.conv_a"

Gray = NDArray[np.uint8]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--weights", default="default", help="'default', 'small', a file, a folder or a model id")
    parser.add_argument(
        "--images",
        type=Path,
        help="calibration images: a folder, or an array file (.npy) of (N, H, W) uint8 (default: the two photographs "
        "that come with scikit-learn, which comes with NNCF)",
    )
    parser.add_argument(
        "--output", type=Path, help="file .xml to write, with a .bin beside it (default: where precision int8 looks)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Quantise, write, and say where; returns the exit status."""
    if importlib.util.find_spec("openvino") is None or importlib.util.find_spec("nncf") is None:
        raise ValueError("quantising needs the Python packages openvino and nncf: pip install openvino nncf")
    checkpoint = load_checkpoint(arguments.weights)
    path = arguments.output or cached_model(checkpoint.name)
    if path.suffix != ".xml":
        raise ValueError(f"{path}: --output must end in .xml")
    images = read_calibration_images(arguments.images)
    make_output_folder(path.parent)
    save_quantized(quantize_network(checkpoint.network(), images), path, checkpoint.name)
    print(f"{path}: {checkpoint.name} in 8 bits, calibrated on {len(images)} images")
    return 0


def quantize_network(network: SuperPointNetwork, images: Sequence[Gray]) -> Any:
    """Return the `openvino.Model` of a network in eval mode with 8-bit convolutions.

    Parameters
    ----------
    network : SuperPointNetwork
    images : sequence of ndarray, (H, W), uint8
        From which views of random place, scale and light are drawn, always the same.
    """
    import_openvino()  # before NNCF does: without telemetry
    nncf: Any = importlib.import_module("nncf")
    nncf.set_log_level(logging.WARNING)
    model = nncf.quantize(
        convert(network),
        nncf.Dataset(calibration_views(images)),
        subset_size=_VIEWS,
        ignored_scope=nncf.IgnoredScope(patterns=[f".*{re.escape(_FIRST_LAYER)}.*"]),
    )
    _quantize_first_convolution(model)
    return model


def _quantize_first_convolution(model: Any) -> None:
    """Put the first convolution of an `openvino.Model` into 8 bits in such a way that its filters keep their sums.

    NNCF rounds each weight for itself. A filter that hardly reacts to brightness, because its weights cancel out, then
    does: eleven of a hundred keypoints would be other ones than in float, not two. The levels of the image are uint8's.
    """
    opset: Any = importlib.import_module("openvino.opset13")
    convolution = next(node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution")
    weights = convolution.input_value(1).get_node().data
    step = np.abs(weights).max(axis=(1, 2, 3), keepdims=True).clip(min=1e-12) / 127
    whole = rounded_with_sum(weights / step).astype(np.int8)
    quantized = opset.multiply(opset.convert(opset.constant(whole), "f32"), opset.constant(step))
    black, white = (opset.constant(np.full((1, 1, 1, 1), value, np.float32)) for value in (0, 1))
    image = opset.fake_quantize(convolution.input_value(0), black, white, black, white, levels=256)
    convolution.input(0).replace_source_output(image.output(0))
    convolution.input(1).replace_source_output(quantized.output(0))
    model.validate_nodes_and_infer_types()


def rounded_with_sum(filters: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round (N, ...) filters to integers so that each one's sum is rounded too: up where most is missing."""
    flat = filters.reshape(len(filters), -1)
    lower = np.floor(flat)
    rank = (lower - flat).argsort(axis=1).argsort(axis=1)
    missing = (flat.sum(axis=1) - lower.sum(axis=1)).round()
    return np.asarray((lower + (rank < missing[:, None])).reshape(filters.shape), np.float32)


def read_calibration_images(source: Path | None) -> list[Gray]:
    """Read grey images from a folder or an array file; None: the photographs of scikit-learn.

    Raises
    ------
    ValueError
        If there are none.
    """
    if source is None:
        spec = importlib.util.find_spec("sklearn")
        if spec is None or not spec.submodule_search_locations:
            raise ValueError("the default calibration images are those of scikit-learn: install it or give --images")
        source = Path(spec.submodule_search_locations[0]) / "datasets" / "images"
    if source.suffix == ".npy":
        try:
            array = np.load(source, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ValueError(f"{source}: not an array of images: {error}") from error
        if array.ndim != 3 or array.dtype != np.uint8 or array.size == 0:
            raise ValueError(f"{source}: expected uint8 images of shape (N, H, W), got {array.dtype} {array.shape}")
        return [array[index] for index in np.linspace(0, len(array) - 1, min(len(array), _VIEWS)).round().astype(int)]
    paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in _SUFFIXES)
    read = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) for path in paths)
    images = [np.asarray(image, np.uint8) for image in read if image is not None]
    if not images:
        raise ValueError(f"{source}: no such folder, or no image files in it")
    return images


def calibration_views(images: Sequence[Gray]) -> list[NDArray[np.float32]]:
    """Draw (1, 1, H, W) float32 views in [0, 1] from the images in turn, at random place, scale, gamma and contrast."""
    random = np.random.default_rng(0)
    height, width = _VIEW_SIZE
    views = []
    for index in range(_VIEWS):
        image = images[index * len(images) // _VIEWS] if len(images) > _VIEWS else images[index % len(images)]
        smallest = max(height / image.shape[0], width / image.shape[1])
        scale = max(random.uniform(0.6, 1.5), smallest)
        size = max(round(image.shape[1] * scale), width), max(round(image.shape[0] * scale), height)
        scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        top, left = random.integers(scaled.shape[0] - height + 1), random.integers(scaled.shape[1] - width + 1)
        view = scaled[top : top + height, left : left + width].astype(np.float32) / 255
        view = (view ** random.uniform(0.5, 2) - 0.5) * random.uniform(0.5, 1.4) + 0.5
        views.append(view.clip(0, 1).astype(np.float32)[None, None])
    return views

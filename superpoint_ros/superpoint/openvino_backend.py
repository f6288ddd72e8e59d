"""Runs the network with OpenVINO, about twice as fast as PyTorch on a CPU. The package `openvino` is optional."""

from __future__ import annotations

import importlib
import math
import sys
from collections import OrderedDict
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .network import NetworkOutput

_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # of what is not quantised
_CAPABILITIES = {"fp32": "FP32", "bf16": "BF16", "int8": "INT8"}
_KEPT_SHAPES = 8
_KEPT_PIXELS = 4_000_000
"""Of all shapes together that stay compiled, unless one alone has more: some 550 bytes of feature maps for each."""


class OpenVinoBackend:
    """Runs the network in OpenVINO on as many CPU threads as PyTorch is set to use when it is made.

    The model is compiled for each shape and dtype of batch when it is first seen, which makes it some percent faster
    than one for all. The last ones are kept, at most eight and as long as they have no more than four million pixels
    together. Not to be called from several threads at once.

    Parameters
    ----------
    model : openvino.Model
        See `openvino_network.convert`.
    precision : {"fp32", "bf16", "int8"}
        Of the arithmetic; "int8" where the model is quantised.

    Raises
    ------
    ValueError
        If the CPU has no arithmetic of that precision.

    Attributes
    ----------
    settings : dict
        Properties that the model is compiled with.
    """

    def __init__(self, model: Any, precision: str) -> None:
        self._core = import_openvino().Core()
        if _CAPABILITIES.get(precision) not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ValueError(f"precision {precision!r} is not to be had with OpenVINO on this CPU")
        self._model = model
        self.settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._requests: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def __call__(self, images: Tensor) -> NetworkOutput:
        """Run a (B, 1, H, W) batch, uint8 or float32 in [0, 1]; the result holds until the next call."""
        request = self._request_for(tuple(images.shape), images.dtype == torch.uint8)
        outputs = request.infer([images.numpy()], share_inputs=True, share_outputs=True)
        keypoint_logits, descriptor_map = (torch.from_numpy(np.asarray(output)) for output in outputs.values())
        return NetworkOutput(keypoint_logits.permute(0, 3, 1, 2), descriptor_map.permute(0, 3, 1, 2))

    def _request_for(self, shape: tuple[int, ...], is_uint8: bool) -> Any:
        key = (*shape, is_uint8)
        if key not in self._requests:
            self._make_room(math.prod(shape))
            compiled = self._core.compile_model(self.model_for(shape, is_uint8), "CPU", self.settings)
            self._requests[key] = compiled.create_infer_request()
        self._requests.move_to_end(key)
        return self._requests[key]

    def model_for(self, shape: tuple[int, ...], is_uint8: bool) -> Any:
        """Return the `openvino.Model` for batches of one shape and dtype."""
        model = _taking_uint8(self._model) if is_uint8 else self._model.clone()
        model.reshape(list(shape))
        return model

    def _make_room(self, pixels: int) -> None:
        """Give up shapes, the one not used for longest first, until one more of so many pixels may be kept."""
        while self._requests:
            kept = sum(math.prod(shape) for *shape, _ in self._requests)
            if len(self._requests) < _KEPT_SHAPES and kept + pixels <= _KEPT_PIXELS:
                return
            self._requests.popitem(last=False)


def _taking_uint8(model: Any) -> Any:
    """Return a copy of `model` that takes uint8; the division by 255 becomes part of the first convolution."""
    openvino = import_openvino()
    steps = openvino.preprocess.PrePostProcessor(model.clone())
    steps.input().tensor().set_element_type(openvino.Type.u8)
    steps.input().preprocess().convert_element_type(openvino.Type.f32).scale(255.0)
    return steps.build()


def import_openvino() -> ModuleType:
    """Import OpenVINO, which otherwise reports its import and every conversion to its makers over the network."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: importing it fails
    return importlib.import_module("openvino")

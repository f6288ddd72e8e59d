"""Runs the network with OpenVINO, about twice as fast as PyTorch on a CPU. The package `openvino` is optional."""

from __future__ import annotations

import importlib
import sys
import warnings
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn

from .network import NetworkOutput, SuperPointNetwork

_HINTS = {"fp32": "f32", "bf16": "bf16"}
_CAPABILITIES = {"fp32": "FP32", "bf16": "BF16"}
_EXAMPLE_SIDE = 64  # pixels; the converted model takes any size


class OpenVinoBackend:
    """Runs the network in OpenVINO on as many CPU threads as PyTorch is set to use.

    One compiled model serves images of every size. Not to be called from several threads at once.

    Parameters
    ----------
    network : SuperPointNetwork
        In eval mode.
    precision : {"fp32", "bf16"}

    Raises
    ------
    ValueError
        If the CPU has no arithmetic of that precision.
    """

    def __init__(self, network: SuperPointNetwork, precision: str) -> None:
        openvino = _openvino_without_telemetry()
        core = openvino.Core()
        if _CAPABILITIES.get(precision) not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ValueError(f"precision {precision!r} is not to be had with OpenVINO on this CPU")
        example = torch.zeros(1, 1, _EXAMPLE_SIDE, _EXAMPLE_SIDE)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # openvino still traces by torch.jit
            model = openvino.convert_model(_ChannelsLast(network), example_input=example)
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()

    def __call__(self, images: Tensor) -> NetworkOutput:
        """Run a (B, 1, H, W) float32 batch; the result holds until the next call."""
        outputs = self._request.infer([images.numpy()], share_inputs=True, share_outputs=True)
        keypoint_logits, descriptor_map = (torch.from_numpy(np.asarray(output)) for output in outputs.values())
        return NetworkOutput(keypoint_logits.permute(0, 3, 1, 2), descriptor_map.permute(0, 3, 1, 2))


def _openvino_without_telemetry() -> ModuleType:
    """Import OpenVINO, which otherwise reports its import and every conversion to its makers over the network."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: importing it fails
    return importlib.import_module("openvino")


class _ChannelsLast(nn.Module):
    """The network with channels-last outputs, whose rows decoding gathers without copying the whole map."""

    def __init__(self, network: SuperPointNetwork) -> None:
        super().__init__()
        self._network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        output: NetworkOutput = self._network(images)
        return output.keypoint_logits.permute(0, 2, 3, 1), output.descriptor_map.permute(0, 2, 3, 1)

"""What runs the network, where, and how precisely."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from .config import require_choice
from .network import NetworkOutput, SuperPointNetwork

Backend: TypeAlias = Callable[[Tensor], NetworkOutput]
"""Runs a (B, 1, H, W) float32 batch in [0, 1] that lies on the backend's device."""

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = ("auto", *_DTYPES)
BACKENDS = ("auto", "torch", "openvino")


def resolve_device(device: str) -> torch.device:
    """Return the device meant by "auto", "cpu" or "cuda:N".

    Raises
    ------
    ValueError
        If it is none of these, or there is no such GPU.
    """
    if device == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    kind, _, index = device.partition(":")
    if device != "cpu" and not (kind == "cuda" and (index.isdecimal() or device == "cuda")):
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda:N', got {device!r}")
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {device!r} is not there: {torch.cuda.device_count()} CUDA devices were found")
    return torch.device(device)


def resolve_precision(precision: str, device: torch.device) -> str:
    """Return the precision meant by "auto" on `device`.

    Raises
    ------
    ValueError
        If it is unknown, or is fp16 on a CPU, which has no fast arithmetic for it.
    """
    require_choice("precision", precision, PRECISIONS)
    if precision == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("precision 'fp16' needs a CUDA device; a CPU runs 'fp32' or 'bf16'")
    return precision


def resolve_backend(backend: str, device: torch.device) -> str:
    """Return the backend meant by "auto" on `device`: OpenVINO on a CPU where it is installed, else PyTorch.

    Raises
    ------
    ValueError
        If it is unknown, or is OpenVINO and that is not installed or the device is a GPU.
    """
    require_choice("backend", backend, BACKENDS)
    is_installed = importlib.util.find_spec("openvino") is not None
    if backend == "auto":
        return "openvino" if device.type == "cpu" and is_installed else "torch"
    if backend == "openvino" and device.type != "cpu":
        raise ValueError(f"backend 'openvino' runs on the CPU here, not on {device}")
    if backend == "openvino" and not is_installed:
        raise ValueError("backend 'openvino' needs the Python package openvino: pip install openvino")
    return backend


def make_backend(backend: str, network: SuperPointNetwork, device: torch.device, precision: str) -> Backend:
    """Return what runs `network`; `backend` and `precision` as resolved."""
    if backend == "openvino":
        from .openvino_backend import OpenVinoBackend

        return OpenVinoBackend(network, precision)
    return TorchBackend(network, device, precision)


class TorchBackend:
    """Runs the network in PyTorch with the channels-last layout.

    Parameters
    ----------
    network : SuperPointNetwork
        Taken over and converted.
    device : torch.device
    precision : {"fp32", "bf16", "fp16"}
    """

    def __init__(self, network: SuperPointNetwork, device: torch.device, precision: str) -> None:
        self._dtype = _DTYPES[precision]
        self._network = network.to(device, self._dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def __call__(self, images: Tensor) -> NetworkOutput:
        """Run a (B, 1, H, W) float32 batch that lies on the device."""
        images = images.to(self._dtype, memory_format=torch.channels_last)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            output: NetworkOutput = self._network(images)
        return output

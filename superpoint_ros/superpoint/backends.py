"""What runs the network, where, and how precisely."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeAlias

import torch
from torch import Tensor

from .checkpoints import Checkpoint
from .config import require_choice
from .cuda_network import Network, fused_if_possible
from .network import NetworkOutput, SuperPointNetwork

Backend: TypeAlias = Callable[[Tensor], NetworkOutput]
"""Runs a (B, 1, H, W) batch, uint8 or float32 in [0, 1], that lies on the backend's device."""

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = ("auto", *_DTYPES, "int8")
BACKENDS = ("auto", "torch", "openvino")

_SIGNS_OF_FULL = ("out of memory", "ALLOC_FAILED", "unable to find an engine")  # the last: no workspace fits
_ACCELERATOR_ERRORS = getattr(torch, "AcceleratorError", ())  # since PyTorch 2.8; before, a RuntimeError that says CUDA
_CUDNN_SETTINGS = threading.Lock()  # they belong to the process, and graphs are captured in a thread of their own


class DeviceError(RuntimeError):
    """The GPU cannot be used again in this process; the text says why, in one line."""


@contextmanager
def device_errors() -> Iterator[None]:
    """Tell a GPU that is full from one that is lost.

    Raises
    ------
    MemoryError
        If the GPU has too little free memory for what was asked; something smaller may well succeed.
    DeviceError
        If CUDA or cuDNN failed: after that, every further call fails too.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error).strip()
        first_line = text.partition("\n")[0]
        is_full = isinstance(error, torch.cuda.OutOfMemoryError)  # cuDNN and cuBLAS say it in words only
        if is_full or any(sign in text for sign in _SIGNS_OF_FULL):
            raise MemoryError(f"the GPU has too little free memory: {first_line}") from error
        if isinstance(error, _ACCELERATOR_ERRORS) or any(name in text for name in ("CUDA", "cuDNN", "CUDNN")):
            reason = f"the GPU failed and is lost to this process, which must be started again: {first_line}"
            raise DeviceError(reason) from error
        raise


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
        If it is unknown, or is fp16 on a CPU, which has no fast arithmetic for it, or int8 on a GPU.
    """
    require_choice("precision", precision, PRECISIONS)
    if precision == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("precision 'fp16' needs a CUDA device; a CPU runs 'fp32', 'bf16' or 'int8'")
    if precision == "int8" and device.type != "cpu":
        raise ValueError(f"precision 'int8' runs on the CPU, with the backend 'openvino', not on {device}")
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


def make_backend(backend: str, checkpoint: Checkpoint, device: torch.device, precision: str) -> Backend:
    """Return what runs the network of `checkpoint`; `backend` and `precision` as resolved.

    Raises
    ------
    ValueError
        If that backend does not have that precision, or there is no quantised model of these weights.
    """
    if backend == "openvino":
        from .openvino_backend import OpenVinoBackend
        from .openvino_network import convert
        from .quantized_models import load_quantized

        model = load_quantized(checkpoint.name) if precision == "int8" else convert(checkpoint.network())
        return OpenVinoBackend(model, precision)
    if precision == "int8":
        raise ValueError("precision 'int8' needs the backend 'openvino'")
    return TorchBackend(checkpoint.network(), device, precision)


class TorchBackend:
    """Runs the network in PyTorch with the channels-last layout; in half precision on a GPU with fused convolutions.

    Parameters
    ----------
    network : SuperPointNetwork
        Taken over and converted.
    device : torch.device
    precision : {"fp32", "bf16", "fp16"}
        fp32 on a GPU is true float32, not TF32.
    """

    def __init__(self, network: SuperPointNetwork, device: torch.device, precision: str) -> None:
        self._dtype = _DTYPES[precision]
        plain = network.to(device, self._dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        is_half_on_gpu = device.type == "cuda" and precision != "fp32"
        self._network: Network = fused_if_possible(plain) if is_half_on_gpu else plain
        self._needs_full_precision = device.type == "cuda" and precision == "fp32"

    def __call__(self, images: Tensor) -> NetworkOutput:
        """Run a (B, 1, H, W) batch, uint8 or float32 in [0, 1], that lies on the device."""
        if images.dtype == torch.uint8:
            images = images.float().div_(255)
        images = images.to(self._dtype, memory_format=torch.channels_last)
        with without_tf32() if self._needs_full_precision else nullcontext():
            return self._network(images)


@contextmanager
def without_tf32() -> Iterator[None]:
    """Let cuDNN compute float32 convolutions in float32, which PyTorch lets run in TF32 by default."""
    cudnn = torch.backends.cudnn
    with _CUDNN_SETTINGS, cudnn.flags(True, cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False):
        yield

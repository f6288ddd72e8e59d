"""The network with each convolution, its bias and its ReLU in one kernel of cuDNN."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from .network import NetworkOutput, SuperPointNetwork

ConvRelu: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Takes features, weight and bias; returns the ReLU of the padded convolution."""

_log = logging.getLogger(__name__)

_INPUT_CHANNELS = 8  # tensor cores take channels by eights: seven zeros beside the luminance cost less than one alone
_TOLERANCE = 0.05  # of the largest value: far above half-precision rounding, far below another result


class Network(Protocol):
    """What `SuperPointNetwork` and `FusedNetwork` have in common."""

    def __call__(self, images: Tensor) -> NetworkOutput:
        """Run a (B, 1, H, W) batch."""


def cudnn_conv_relu(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Do it in one kernel; in PyTorch's own modules, bias and ReLU each read and write the whole map again."""
    padding = weight.shape[2] // 2
    return torch.cudnn_convolution_relu(features, weight, bias, (1, 1), (padding, padding), (1, 1), 1)


class FusedNetwork:
    """Computes what a `SuperPointNetwork` without batch normalisation does.

    Parameters
    ----------
    network : SuperPointNetwork
        On its device, in its dtype; its weights are shared.
    conv_relu : callable
        How a convolution with ReLU is computed.
    """

    def __init__(self, network: SuperPointNetwork, conv_relu: ConvRelu = cudnn_conv_relu) -> None:
        if network.config.batch_norm != "none":
            raise ValueError(f"batch normalisation {network.config.batch_norm!r} cannot be fused")
        self._conv_relu = conv_relu
        parameters = {name: value.detach() for name, value in network.named_parameters()}

        def convolution(name: str) -> tuple[Tensor, Tensor]:
            return parameters[f"{name}.weight"], parameters[f"{name}.bias"]

        count = len(network.config.encoder_hidden_sizes)
        self._blocks = [
            [convolution(f"encoder.conv_blocks.{index}.conv_{which}") for which in "ab"] for index in range(count)
        ]
        weight, bias = self._blocks[0][0]
        wide = functional.pad(weight, (0, 0, 0, 0, 0, _INPUT_CHANNELS - weight.shape[1]))
        self._blocks[0][0] = (wide.contiguous(memory_format=torch.channels_last), bias)
        self._heads = [
            (convolution("keypoint_decoder.conv_score_a"), convolution("keypoint_decoder.conv_score_b")),
            (
                convolution("descriptor_decoder.conv_descriptor_a"),
                convolution("descriptor_decoder.conv_descriptor_b"),
            ),
        ]

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> NetworkOutput:
        """Run a (B, 1, H, W) batch of any float dtype."""
        batch, _, height, width = images.shape
        features = torch.empty(
            (batch, _INPUT_CHANNELS, height, width),
            dtype=self._heads[0][0][0].dtype,
            device=images.device,
            memory_format=torch.channels_last,
        ).zero_()
        features[:, :1] = images
        for index, convolutions in enumerate(self._blocks):
            if index:
                features = functional.max_pool2d(features, 2)
            for weight, bias in convolutions:
                features = self._conv_relu(features, weight, bias)
        logits, descriptors = (
            functional.conv2d(self._conv_relu(features, *first), *last) for first, last in self._heads
        )
        return NetworkOutput(logits, descriptors)


def fused_if_possible(network: SuperPointNetwork) -> Network:
    """Return the fused form of a network on a GPU if its cuDNN knows how and the results agree; else `network`.

    Raises
    ------
    torch.cuda.OutOfMemoryError
        If the GPU has too little free memory to find out.
    """
    weight = next(network.parameters())
    probe = torch.rand(1, 1, 64, 96, device=weight.device).to(weight.dtype)
    try:
        fused = FusedNetwork(network)
        with torch.inference_mode():
            expected = network(probe)[:2]
            fill_free_memory_with_nan(weight.device)
            pairs = zip(fused(probe)[:2], expected)
            agrees = all(bool((one - other).abs().max() <= _TOLERANCE * other.abs().max()) for one, other in pairs)
        if agrees:
            return fused
        reason = "their results differ"
    except torch.cuda.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
    _log.warning("the network runs without fused convolutions, more slowly: %s", reason)
    return network


def fill_free_memory_with_nan(device: torch.device, block: int = 2**20, count: int = 32) -> None:
    """Let the next `count` tensors of up to `block` bytes begin with NaN, so that it shows if old content is read.

    It might be: PyTorch gives cuDNN's fused convolution its own output as a summand that counts zero times.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
    blocks = [torch.full((block // 4,), torch.nan, device=device) for _ in range(count)]
    del blocks  # from where the allocator takes what comes next

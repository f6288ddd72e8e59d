"""The fused network on a CPU, with the plain operations in place of cuDNN's kernel."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from superpoint_ros.superpoint import SuperPointConfig, SuperPointNetwork
from superpoint_ros.superpoint.cuda_network import FusedNetwork, fused_if_possible

SMALL = SuperPointConfig(
    encoder_hidden_sizes=(8, 8, 12, 16), decoder_hidden_size=16, descriptor_decoder_dim=16, initializer_range=0.2
)


def conv_relu(features: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    assert features.shape[1] == weight.shape[1]
    return functional.conv2d(features, weight, bias, padding=weight.shape[2] // 2).relu()


@pytest.mark.parametrize("size", [(64, 96), (8, 16)])
def test_it_computes_what_the_plain_network_does(size) -> None:
    network = SuperPointNetwork(SMALL).eval()
    images = torch.rand(2, 1, *size)
    with torch.inference_mode():
        for fused, plain in zip(FusedNetwork(network, conv_relu)(images)[:2], network(images)[:2]):
            torch.testing.assert_close(fused, plain)


def test_batch_normalisation_stays_with_the_plain_network() -> None:
    network = SuperPointNetwork(replace(SMALL, batch_norm="after_relu")).eval()
    with pytest.raises(ValueError, match="after_relu"):
        FusedNetwork(network)
    assert fused_if_possible(network) is network


def test_where_cudnn_cannot_the_plain_network_stays_and_the_log_says_so(caplog) -> None:
    network = SuperPointNetwork(SMALL).eval()  # on a CPU
    assert fused_if_possible(network) is network
    (record,) = caplog.records
    assert "without fused convolutions, more slowly: " in record.message and "cudnn_convolution_relu" in record.message


def test_a_gpu_too_full_to_find_out_is_an_error(monkeypatch) -> None:
    def fail(self: FusedNetwork, images: Tensor) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(FusedNetwork, "__call__", fail)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        fused_if_possible(SuperPointNetwork(SMALL).eval())

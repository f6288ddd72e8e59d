"""The model for OpenVINO computes what the network does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from superpoint_ros.superpoint import SuperPointConfig
from superpoint_ros.superpoint.network import SuperPointNetwork

pytest.importorskip("openvino")

from superpoint_ros.superpoint.openvino_backend import OpenVinoBackend
from superpoint_ros.superpoint.openvino_network import convert


def network_with(batch_norm: str) -> SuperPointNetwork:
    torch.manual_seed(0)
    config = SuperPointConfig(
        encoder_hidden_sizes=(8, 8, 16, 16), decoder_hidden_size=16, descriptor_decoder_dim=24, batch_norm=batch_norm
    )
    network = SuperPointNetwork(config).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            nn.init.uniform_(module.bias, -0.2, 0.2)
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in (
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 2.0),
                (module.weight, 0.5, 1.5),
                (module.bias, -0.2, 0.2),
            ):
                nn.init.uniform_(values, low, high)
    return network


@pytest.mark.parametrize("batch_norm", ["none", "before_relu", "after_relu"])
@pytest.mark.parametrize("shape", [(1, 1, 40, 48), (3, 1, 61, 35)])
def test_openvino_computes_what_the_network_does(batch_norm: str, shape: tuple[int, ...]) -> None:
    network, images = network_with(batch_norm), torch.rand(shape)
    with torch.inference_mode():
        expected = network(images)
    found = OpenVinoBackend(convert(network), "fp32")(images)
    torch.testing.assert_close(found.keypoint_logits, expected.keypoint_logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.descriptor_map, expected.descriptor_map, atol=1e-4, rtol=1e-4)

"""The network as a model of OpenVINO."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from torch import Tensor, nn

from .network import SuperPointNetwork
from .openvino_backend import import_openvino


def convert(network: SuperPointNetwork) -> Any:
    """Return the `openvino.Model` of a network in eval mode: (B, 1, H, W) float32 in, channels-last maps out.

    It is put together operation by operation: OpenVINO's own conversion goes through ``torch.jit``, which never gives
    back the weights of what it has traced.
    """
    openvino = import_openvino()
    build = _Builder(network)
    images = build.ops.parameter([-1, 1, -1, -1], np.float32, name="images")
    features = images.output(0)
    for index in range(len(network.encoder.conv_blocks)):
        block = f"encoder.conv_blocks.{index}"
        features = build.activated(build.activated(features, f"{block}.conv_a"), f"{block}.conv_b")
        features = build.pooled(features, f"{block}.pool")
    maps = []
    for head in ("keypoint_decoder.conv_score", "descriptor_decoder.conv_descriptor"):
        hidden = build.activated(features, f"{head}_a")
        maps.append(build.channels_last(build.normalised(build.convolved(hidden, f"{head}_b"), f"{head}_b_bn")))
    return openvino.Model(maps, [images], "superpoint")


class _Builder:
    """Adds modules of a network, by name, to a graph; each method takes and returns what an operation gives."""

    def __init__(self, network: SuperPointNetwork) -> None:
        self.ops: Any = importlib.import_module("openvino.opset13")
        self._network = network

    def activated(self, features: Any, name: str) -> Any:
        found = self.convolved(features, name)
        if self._network.config.batch_norm == "after_relu":
            return self.normalised(self.ops.relu(found).output(0), f"{name}_bn")
        return self.ops.relu(self.normalised(found, f"{name}_bn")).output(0)

    def convolved(self, features: Any, name: str) -> Any:
        module = self._network.get_submodule(name)
        assert isinstance(module, nn.Conv2d) and module.bias is not None
        weight, bias = self._constant(module.weight), self._constant(module.bias[None, :, None, None])
        padding = list(module.padding)
        product = self.ops.convolution(features, weight, [1, 1], padding, padding, [1, 1], name=name)
        return self.ops.add(product, bias).output(0)

    def normalised(self, features: Any, name: str) -> Any:
        module = self._network.get_submodule(name)
        if not isinstance(module, nn.BatchNorm2d):
            return features
        assert module.running_mean is not None and module.running_var is not None
        parts = (module.weight, module.bias, module.running_mean, module.running_var)
        return self.ops.batch_norm_inference(features, *map(self._constant, parts), module.eps).output(0)

    def pooled(self, features: Any, name: str) -> Any:
        if not isinstance(self._network.get_submodule(name), nn.MaxPool2d):
            return features
        return self.ops.max_pool(features, [2, 2], [1, 1], [0, 0], [0, 0], [2, 2]).output(0)

    def channels_last(self, features: Any) -> Any:
        """Rows that decoding gathers without copying the whole map."""
        return self.ops.transpose(features, [0, 2, 3, 1]).output(0)

    def _constant(self, values: Tensor) -> Any:
        return self.ops.constant(values.detach().float().numpy().copy())

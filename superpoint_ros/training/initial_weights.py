"""What training starts from: random weights, or released ones, whose batch normalisation was folded away."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..superpoint.checkpoints import load_checkpoint
from ..superpoint.network import SuperPointNetwork
from .configuration import ReleasedWeights, TrainingConfig


def new_network(config: TrainingConfig) -> SuperPointNetwork:
    """Return a network with fresh weights whose cells begin by finding no keypoint."""
    network = SuperPointNetwork(config.network).train()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    for head in (network.keypoint_decoder.conv_score_b, network.descriptor_decoder.conv_descriptor_b):
        nn.init.normal_(head.weight, std=0.02)
    assert network.keypoint_decoder.conv_score_b.bias is not None
    network.keypoint_decoder.conv_score_b.bias.data[-1] = config.dustbin_bias
    return network


def load_released_weights(released: ReleasedWeights) -> SuperPointNetwork:
    """Load the weights that a run starts or learns from.

    Raises
    ------
    ValueError
        If the folder holds other weights than those of the hash; the message names both.
    """
    file = Path(released.folder) / "model.safetensors"
    if not file.is_file():
        raise ValueError(f"{file}: no such file; training needs these weights (SHA-256 {released.sha256})")
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != released.sha256:
        raise ValueError(f"{file}: SHA-256 is {found}, but the run needs {released.sha256}")
    return load_checkpoint(released.folder).network()


@torch.no_grad()
def insert_batch_norm(network: SuperPointNetwork, images: Tensor) -> SuperPointNetwork:
    """Return a network with batch normalisation that computes what a plain `network` does.

    Every convolution in front of a ReLU gets filters of unit length and statistics measured on
    `images`, (B, 1, H, W); scale and shift undo both. In training mode, where the statistics are
    those of the batch, the function is nearly the same.

    Raises
    ------
    ValueError
        If the network has batch normalisation already.
    """
    if network.config.batch_norm != "none":
        raise ValueError("the network has batch normalisation already")
    normalised = SuperPointNetwork(replace(network.config, batch_norm="before_relu"))
    normalised.load_state_dict(network.state_dict(), strict=False)
    statistics = _output_statistics(network.eval(), images)
    for name, norm in normalised.named_modules():
        if not isinstance(norm, nn.BatchNorm2d):
            continue
        convolution = normalised.get_submodule(name.removesuffix("_bn"))
        assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None and norm.running_mean is not None
        mean, variance = statistics[name.removesuffix("_bn")]
        length = convolution.weight.flatten(1).norm(dim=1).clamp(min=1e-8)
        norm.weight.copy_((variance / length**2 + norm.eps).sqrt() * length)
        norm.bias.copy_(mean)
        norm.running_mean.copy_((mean - convolution.bias) / length)
        norm.running_var = variance / length**2
        convolution.weight.div_(length[:, None, None, None])
        convolution.bias.zero_()
    return normalised.train()


def _output_statistics(network: SuperPointNetwork, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance (C,) of what each convolution gives for a batch of images."""
    statistics: dict[str, tuple[Tensor, Tensor]] = {}
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):

            def record(_: nn.Module, __: object, output: Tensor, name: str = name) -> None:
                variance, mean = torch.var_mean(output, (0, 2, 3))
                statistics[name] = mean, variance

            hooks.append(module.register_forward_hook(record))
    network(images)
    for hook in hooks:
        hook.remove()
    return statistics

"""The SuperPoint network (DeTone et al. 2018, section 3): image in, keypoint logits and descriptor map out."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .config import BatchNorm, SuperPointConfig

_BATCH_NORM_EPS = 1e-3  # the value that rpautrat's weights were trained with


class NetworkOutput(NamedTuple):
    """Raw output of the network for a batch of B images, h = H // 8, w = W // 8.

    Attributes
    ----------
    keypoint_logits : Tensor, (B, 65, h, w)
        Channel 8 * row + column of a cell's pixel; channel 64 stands for "no keypoint here".
    descriptor_map : Tensor, (B, D, h, w)
        Not normalised.
    hidden_states : tuple of Tensor
        The output of each encoder block, only if asked for; else empty.
    """

    keypoint_logits: Tensor
    descriptor_map: Tensor
    hidden_states: tuple[Tensor, ...] = ()


class SuperPointNetwork(nn.Module):
    """Shared VGG encoder with a keypoint and a descriptor head.

    Module names are those of transformers' ``SuperPointForKeypointDetection``, so that state dicts
    are exchanged without renaming; batch normalisation, where the configuration has it, adds
    ``*_bn`` modules.

    Parameters
    ----------
    config : SuperPointConfig
        Only the architecture fields are read.
    """

    def __init__(self, config: SuperPointConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _Encoder(config)
        self.keypoint_decoder = _KeypointHead(config)
        self.descriptor_decoder = _DescriptorHead(config)
        for module in self.modules():
            # On the meta device, where only shapes count, normal_ would import TorchDynamo: seconds of start-up.
            if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
                nn.init.normal_(module.weight, std=config.initializer_range)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor, output_hidden_states: bool = False) -> NetworkOutput:
        """Run the network.

        Parameters
        ----------
        images : Tensor, (B, 1, H, W), float
            Luminance in [0, 1]; H and W at least 8. Rows and columns past the last multiple of 8
            influence nothing but the features of their neighbours.
        output_hidden_states : bool
            Whether the feature maps of the encoder blocks are returned too.
        """
        features = images
        hidden_states = []
        for block in self.encoder.conv_blocks:
            features = block(features)
            hidden_states.append(features)
        return NetworkOutput(
            self.keypoint_decoder(features),
            self.descriptor_decoder(features),
            tuple(hidden_states) if output_hidden_states else (),
        )


class _ConvBlock(nn.Module):
    """Two 3 x 3 convolutions, then 2 x 2 max pooling if `pool`."""

    def __init__(self, in_channels: int, out_channels: int, pool: bool, batch_norm: BatchNorm) -> None:
        super().__init__()
        self.batch_norm = batch_norm
        self.conv_a = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv_b = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.conv_a_bn = _batch_norm(out_channels, batch_norm)
        self.conv_b_bn = _batch_norm(out_channels, batch_norm)
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        features = _activate(self.conv_a(features), self.conv_a_bn, self.batch_norm)
        features = _activate(self.conv_b(features), self.conv_b_bn, self.batch_norm)
        pooled: Tensor = self.pool(features)
        return pooled


class _Encoder(nn.Module):
    def __init__(self, config: SuperPointConfig) -> None:
        super().__init__()
        sizes = config.encoder_hidden_sizes
        self.conv_blocks = nn.ModuleList(
            _ConvBlock(before, after, pool=index < len(sizes) - 1, batch_norm=config.batch_norm)
            for index, (before, after) in enumerate(zip((1, *sizes[:-1]), sizes))
        )


class _KeypointHead(nn.Module):
    def __init__(self, config: SuperPointConfig) -> None:
        super().__init__()
        self.batch_norm = config.batch_norm
        self.conv_score_a = nn.Conv2d(config.encoder_hidden_sizes[-1], config.decoder_hidden_size, 3, padding=1)
        self.conv_score_b = nn.Conv2d(config.decoder_hidden_size, config.keypoint_decoder_dim, 1)
        self.conv_score_a_bn = _batch_norm(config.decoder_hidden_size, config.batch_norm)
        self.conv_score_b_bn = _output_batch_norm(config.keypoint_decoder_dim, config.batch_norm)

    def forward(self, features: Tensor) -> Tensor:
        hidden = _activate(self.conv_score_a(features), self.conv_score_a_bn, self.batch_norm)
        logits: Tensor = self.conv_score_b_bn(self.conv_score_b(hidden))
        return logits


class _DescriptorHead(nn.Module):
    def __init__(self, config: SuperPointConfig) -> None:
        super().__init__()
        self.batch_norm = config.batch_norm
        self.conv_descriptor_a = nn.Conv2d(config.encoder_hidden_sizes[-1], config.decoder_hidden_size, 3, padding=1)
        self.conv_descriptor_b = nn.Conv2d(config.decoder_hidden_size, config.descriptor_decoder_dim, 1)
        self.conv_descriptor_a_bn = _batch_norm(config.decoder_hidden_size, config.batch_norm)
        self.conv_descriptor_b_bn = _output_batch_norm(config.descriptor_decoder_dim, config.batch_norm)

    def forward(self, features: Tensor) -> Tensor:
        hidden = _activate(self.conv_descriptor_a(features), self.conv_descriptor_a_bn, self.batch_norm)
        descriptor_map: Tensor = self.conv_descriptor_b_bn(self.conv_descriptor_b(hidden))
        return descriptor_map


def _batch_norm(channels: int, batch_norm: BatchNorm) -> nn.Module:
    return nn.Identity() if batch_norm == "none" else nn.BatchNorm2d(channels, eps=_BATCH_NORM_EPS)


def _output_batch_norm(channels: int, batch_norm: BatchNorm) -> nn.Module:
    """Batch norm on a head's output: only rpautrat's layout has it."""
    return _batch_norm(channels, batch_norm if batch_norm == "after_relu" else "none")


def _activate(features: Tensor, norm: nn.Module, batch_norm: BatchNorm) -> Tensor:
    activated: Tensor = norm(torch.relu(features)) if batch_norm == "after_relu" else torch.relu(norm(features))
    return activated


def fold_batch_norm(network: SuperPointNetwork) -> SuperPointNetwork:
    """Return the plain network that computes what a trained "before_relu" `network` does in eval mode.

    Raises
    ------
    ValueError
        If the network has its batch normalisation behind the ReLU, which zero padding keeps from
        being folded into the next convolution.
    """
    if network.config.batch_norm == "after_relu":
        raise ValueError("batch normalisation behind the ReLU cannot be folded into the convolutions")
    state = {name: value.detach().float().clone() for name, value in network.state_dict().items()}
    for name in [name.removesuffix("_bn.weight") for name in state if name.endswith("_bn.weight")]:
        scale = state[f"{name}_bn.weight"] / torch.sqrt(state[f"{name}_bn.running_var"] + _BATCH_NORM_EPS)
        state[f"{name}.weight"] = state[f"{name}.weight"] * scale[:, None, None, None]
        state[f"{name}.bias"] = (state[f"{name}.bias"] - state[f"{name}_bn.running_mean"]) * scale + state[
            f"{name}_bn.bias"
        ]
    folded = SuperPointNetwork(replace(network.config, batch_norm="none"))
    folded.load_state_dict({name: value for name, value in state.items() if "_bn." not in name})
    return folded.eval()

"""The layouts in which SuperPoint weights are in circulation, and how each maps to `SuperPointNetwork`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from .config import SuperPointConfig
from .network import SuperPointNetwork

StateDict = dict[str, Tensor]

MAGIC_LEAP_LAYERS = {
    **{f"conv{block + 1}{layer}": f"encoder.conv_blocks.{block}.conv_{layer}" for block in range(4) for layer in "ab"},
    **{f"convP{layer}": f"keypoint_decoder.conv_score_{layer}" for layer in "ab"},
    **{f"convD{layer}": f"descriptor_decoder.conv_descriptor_{layer}" for layer in "ab"},
}
"""Layer names of ``superpoint_v1.pth``."""

RPAUTRAT_LAYERS = {
    **{
        f"backbone.{block}.{index}": f"encoder.conv_blocks.{block}.conv_{layer}"
        for block in range(4)
        for index, layer in enumerate("ab")
    },
    **{f"detector.{index}": f"keypoint_decoder.conv_score_{layer}" for index, layer in enumerate("ab")},
    **{f"descriptor.{index}": f"descriptor_decoder.conv_descriptor_{layer}" for index, layer in enumerate("ab")},
}
"""Block names of ``superpoint_v6_from_tf.pth``; each block holds `conv` and `bn`."""


def recognise(state: Mapping[str, Tensor]) -> tuple[SuperPointConfig, StateDict] | None:
    """Translate a foreign state dict; the channel counts are read off its shapes.

    Returns
    -------
    tuple of SuperPointConfig and state dict, or None
        Not yet checked for completeness; None if no key says which layout it is.
    """
    if "conv1a.weight" in state:
        renamed = {_rename(name, MAGIC_LEAP_LAYERS): value for name, value in state.items()}
        return infer_widths(renamed, SuperPointConfig(descriptor_grid="magicleap")), renamed
    if "backbone.0.0.conv.weight" in state:
        names = {f"{old}.conv": new for old, new in RPAUTRAT_LAYERS.items()}
        names |= {f"{old}.bn": f"{new}_bn" for old, new in RPAUTRAT_LAYERS.items()}
        renamed = {_rename(name, names): value for name, value in state.items()}
        config = SuperPointConfig(batch_norm="after_relu", descriptor_grid="cell_centers")
        return infer_widths(renamed, config), renamed
    if "encoder.conv_blocks.0.conv_a.weight" in state:
        return infer_widths(state, SuperPointConfig()), dict(state)
    return None


def infer_widths(state: Mapping[str, Tensor], config: SuperPointConfig) -> SuperPointConfig:
    """Return `config` with the channel counts that the convolutions in `state` have, where it has them."""

    def channels(layer: str, default: int) -> int:
        weight = state.get(f"{layer}.weight")
        return len(weight) if weight is not None and weight.ndim == 4 and len(weight) > 0 else default

    return replace(
        config,
        encoder_hidden_sizes=tuple(
            channels(f"encoder.conv_blocks.{block}.conv_a", default)
            for block, default in enumerate(config.encoder_hidden_sizes)
        ),
        decoder_hidden_size=channels("keypoint_decoder.conv_score_a", config.decoder_hidden_size),
        descriptor_decoder_dim=channels("descriptor_decoder.conv_descriptor_b", config.descriptor_decoder_dim),
    )


def find_mismatch(state: Mapping[str, Tensor], config: SuperPointConfig) -> str | None:
    """Say what is the first thing about `state` that does not fit the network of `config`, or None."""
    with torch.device("meta"):
        expected = SuperPointNetwork(config).state_dict()
    for name, reference in expected.items():
        if name not in state:
            if name.endswith("num_batches_tracked"):
                continue
            return f"{name} is missing"
        if state[name].shape != reference.shape:
            return f"{name} has shape {tuple(state[name].shape)}, expected {tuple(reference.shape)}"
        if not torch.isfinite(state[name]).all():
            return f"{name} contains values that are not finite"
    for name in state:
        if name not in expected:
            return f"{name} is not part of the network"
    return None


def _rename(name: str, layers: Mapping[str, str]) -> str:
    layer, _, parameter = name.rpartition(".")
    return f"{layers.get(layer, layer)}.{parameter}"

"""The moving average of a network's weights, which is what is validated and exported."""

from __future__ import annotations

import copy

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..superpoint.network import SuperPointNetwork


class MovingAverage:
    """Exponential moving average of all weights and statistics, without the uploads of PyTorch's ``AveragedModel``.

    Parameters
    ----------
    network : SuperPointNetwork
        Copied.
    decay : float
        Share of the average that an update keeps.

    Attributes
    ----------
    network : SuperPointNetwork
        The average.
    updates : int
        How often it was updated; the first update takes the weights as they are.
    """

    def __init__(self, network: SuperPointNetwork, decay: float) -> None:
        self.network = copy.deepcopy(network)
        self.updates = 0
        self._blend = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(self, network: SuperPointNetwork) -> None:
        """Take the weights of `network` into the average."""
        ours, theirs = self.network.state_dict(), network.state_dict()
        blended = [name for name, value in ours.items() if self.updates and value.is_floating_point()]
        if blended:
            self._blend([ours[name] for name in blended], [theirs[name] for name in blended], self.updates)
        for name in ours.keys() - blended:
            ours[name].copy_(theirs[name])
        self.updates += 1

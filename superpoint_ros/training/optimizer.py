"""Muon (Jordan et al. 2024) for the batch-normalised convolutions, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """Momentum whose updates are orthogonalised, for weights in front of a batch normalisation.

    The scale of such weights does not matter, so every step also brings each weight's mean row norm
    back to one; `lr` is then the relative size of a step.

    Parameters
    ----------
    params : iterable of Tensor
        Convolution weights, treated as (out, in * kh * kw) matrices.
    lr, momentum : float
    """

    def __init__(self, params: Any, lr: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Make one step from the gradients at hand."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(weight)
                gradient = weight.grad
                state["momentum"].lerp_(gradient, 1 - group["momentum"])
                blend = gradient.lerp(state["momentum"], group["momentum"])
                update = orthogonalise(blend.reshape(len(weight), -1)).view_as(weight)
                weight.mul_(len(weight) ** 0.5 / weight.norm().clamp(min=1e-8))
                weight.add_(update, alpha=-group["lr"] * (len(weight) / min(update[0].numel(), len(weight))) ** 0.5)


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Return roughly the nearest (semi-)orthogonal matrix, by a quintic Newton-Schulz iteration."""
    transposed = matrix.shape[0] > matrix.shape[1]
    result = (matrix.T if transposed else matrix).float()
    result = result / (result.norm() + 1e-7)
    for _ in range(steps):
        gram = result @ result.T
        result = 3.4445 * result + (-4.7750 * gram + 2.0315 * gram @ gram) @ result
    oriented: Tensor = result.T if transposed else result
    return oriented.to(matrix.dtype)


def build_optimizers(
    network: nn.Module, extra: list[nn.Parameter], lr: float, muon_lr: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Return AdamW for all parameters, or, if `muon_lr` is positive, Muon for the normalised convolutions too."""
    normalised = {
        f"{name.removesuffix('_bn')}.weight"
        for name, module in network.named_modules()
        if name.endswith("_bn") and isinstance(module, nn.BatchNorm2d)
    }
    muon: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    plain = list(extra)
    for name, parameter in network.named_parameters():
        if muon_lr > 0 and name in normalised and parameter.shape[1] > 1:
            muon.append(parameter)
        else:
            (decayed if parameter.ndim > 1 else plain).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))]
    if muon:
        optimizers.append(Muon(muon, lr=muon_lr))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    return optimizers

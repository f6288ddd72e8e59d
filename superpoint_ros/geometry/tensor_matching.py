"""The part of matching that PyTorch computes; `matching` imports it where PyTorch has been imported."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .similarity import Candidates, Extremes, check_fit


def extremes(descriptors0: Tensor, descriptors1: Tensor, candidates: Candidates | None, needs_second: bool) -> Extremes:
    """Return the extremes of the cosine similarities; only these leave the device.

    Parameters
    ----------
    descriptors0, descriptors1 : torch.Tensor, (N0, D) and (N1, D), both float32 or both int8
    candidates : torch.Tensor or ndarray, (N0, N1), bool, optional
    needs_second : bool

    Raises
    ------
    ValueError
        If the tensors do not fit each other.
    """
    _check(descriptors0, descriptors1, candidates)
    if min(len(descriptors0), len(descriptors1)) == 0:
        return Extremes.of_nothing(len(descriptors0), len(descriptors1))
    with torch.inference_mode():
        similarity = _product(_to_unit(descriptors0), _to_unit(descriptors1))
        allowed = None if candidates is None else torch.as_tensor(candidates, device=similarity.device)
        if similarity.device.type == "cpu":  # NumPy is faster here
            return Extremes.of_similarity(
                similarity.numpy(), None if allowed is None else allowed.numpy(), needs_second
            )
        return extremes_of_similarity(similarity, allowed, needs_second)


def extremes_of_similarity(similarity: Tensor, candidates: Tensor | None, needs_second: bool) -> Extremes:
    """Do what `Extremes.of_similarity` does on the tensor's device."""
    if candidates is not None:
        similarity.masked_fill_(~candidates, -torch.inf)
    best, best_column = similarity.max(dim=1)
    best_of_column = similarity.amax(dim=0)
    second = None
    if needs_second:
        similarity.scatter_(1, best_column[:, None], -torch.inf)
        second = similarity.amax(dim=1).cpu().numpy()
    return Extremes(best.cpu().numpy(), best_column.cpu().numpy(), best_of_column.cpu().numpy(), second)


def product_of_arrays(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return first @ second.T of arrays (N0, D) and (N1, D)."""
    tensors = [torch.from_numpy(np.require(array, requirements=["C", "A", "W"])) for array in (first, second)]
    with torch.inference_mode():
        product: NDArray[np.float32] = _product(*tensors).numpy()
    return product


def _product(first: Tensor, second: Tensor) -> Tensor:
    """Return first @ second.T."""
    if first.device.type == "cpu" and torch.backends.mkldnn.is_available():
        # oneDNN, which PyTorch takes for linear layers that it compiles: on AVX-512 twice as fast as the MKL behind @.
        linear = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
        if linear is not None:
            product: Tensor = linear(first, second, None, "none", [], "")
            return product
    return first @ second.T


def _to_unit(descriptors: Tensor) -> Tensor:
    if descriptors.dtype == torch.float32:
        return descriptors.detach()
    values = descriptors.float()
    unit: Tensor = values / values.norm(dim=1, keepdim=True).clamp(min=1)
    return unit


def _check(descriptors0: object, descriptors1: object, candidates: Candidates | None) -> None:
    if not (isinstance(descriptors0, Tensor) and isinstance(descriptors1, Tensor)):
        kinds = f"{type(descriptors0).__name__} and {type(descriptors1).__name__}"
        raise ValueError(f"descriptors must be two NumPy arrays or two tensors, got {kinds}")
    check_fit(descriptors0, descriptors1, candidates, (torch.float32, torch.int8))
    if descriptors0.device != descriptors1.device:
        raise ValueError(f"descriptors must be on one device, got {descriptors0.device} and {descriptors1.device}")

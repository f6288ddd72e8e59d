"""Mutual nearest neighbours between two sets of descriptors."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .similarity import Candidates, Descriptors, Extremes, check_fit

ArrayBackend = Literal["auto", "numpy"]
"""What multiplies arrays: PyTorch in a process that has imported it, else NumPy; or always NumPy."""


class ModelMismatchError(ValueError):
    """Descriptors of different weights were to be matched, which have nothing in common."""


@dataclass(frozen=True)
class Matches:
    """Pairs of keypoints that belong together; no keypoint appears twice.

    Attributes
    ----------
    indices : ndarray, (M, 2), int64
        Row of the first and of the second set, ascending in the first.
    distances : ndarray, (M,), float32
        Distance of the two descriptors. Between the unit vectors that SuperPoint gives it is Euclidean,
        in [0, 2].
    """

    indices: NDArray[np.int64]
    distances: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.indices)


def match_descriptors(
    descriptors0: Descriptors,
    descriptors1: Descriptors,
    *,
    max_ratio: float | None = None,
    max_distance: float | None = None,
    candidates: Candidates | None = None,
    models: tuple[str, str] | None = None,
    array_backend: ArrayBackend = "auto",
) -> Matches:
    """Match the descriptors that are each other's nearest neighbour.

    The search is exhaustive and its arithmetic float32: tensors are matched on their device, arrays on the CPU, by
    PyTorch in a process that has imported it, else by NumPy. Products are less exact where PyTorch has been told so, as
    by ``torch.set_float32_matmul_precision``.

    Parameters
    ----------
    descriptors0, descriptors1 : ndarray or torch.Tensor, (N0, D) and (N1, D), both float32 or both int8
        float32: unit length. int8: 127 times a unit vector, rounded; the rounding's effect on the
        length is undone. Tensors must be on one device. What has no rows fits any other.
    max_ratio : float, in [0, 1], optional
        Lowe's ratio test: a match is kept if its distance is at most this share of the distance to the
        second nearest candidate in the second set. A match without a second candidate passes.
    max_distance : float, in [0, 2], optional
        Matches with a greater Euclidean distance are dropped.
    candidates : ndarray or torch.Tensor, (N0, N1), bool, optional
        The only pairs considered, such as :func:`near_predictions` or :func:`near_epipolar_lines` give, or both
        combined by ``&``.
    models : tuple of str, optional
        Names of the weights that computed the descriptors; matching is refused if they differ.
    array_backend : {"auto", "numpy"}
        "numpy" leaves PyTorch alone where arrays are matched, even if the process has imported it.

    Returns
    -------
    Matches
        NumPy arrays, whatever the descriptors are.

    Raises
    ------
    ModelMismatchError
        If the names of the weights differ.
    ValueError
        If the arrays do not fit each other or a limit is out of range.
    """
    if models is not None and models[0] != models[1]:
        names = " and ".join(f"{model!r:.80}" for model in models)  # cut: whoever sends them must not fill the log
        raise ModelMismatchError(f"descriptors of different weights cannot be matched: {names}")
    _check_limit("max_ratio", max_ratio, upper=1.0)
    _check_limit("max_distance", max_distance, upper=2.0)
    needs_second = max_ratio is not None
    if isinstance(descriptors0, np.ndarray) and isinstance(descriptors1, np.ndarray):
        extremes = _array_extremes(descriptors0, descriptors1, candidates, needs_second, array_backend)
    else:
        extremes = _tensor_extremes(descriptors0, descriptors1, candidates, needs_second)
    return _mutual_matches(extremes, max_ratio, max_distance)


def _array_extremes(
    descriptors0: Any, descriptors1: Any, candidates: Any, needs_second: bool, backend: ArrayBackend
) -> Extremes:
    check_fit(descriptors0, descriptors1, candidates, (np.float32, np.int8))
    if min(len(descriptors0), len(descriptors1)) == 0:
        return Extremes.of_nothing(len(descriptors0), len(descriptors1))
    similarity = _product(_to_unit(descriptors0), _to_unit(descriptors1), backend)
    return Extremes.of_similarity(similarity, candidates, needs_second)


def _product(first: NDArray[np.float32], second: NDArray[np.float32], backend: ArrayBackend) -> NDArray[np.float32]:
    """Return first @ second.T."""
    if backend == "numpy" or sys.modules.get("torch") is None:
        return np.asarray(first @ second.T)
    from . import tensor_matching  # NumPy's OpenBLAS needs twice as long on processors that it does not know

    return tensor_matching.product_of_arrays(first, second)


def _tensor_extremes(descriptors0: Any, descriptors1: Any, candidates: Any, needs_second: bool) -> Extremes:
    from . import tensor_matching  # imports PyTorch, which who has a tensor has imported

    return tensor_matching.extremes(descriptors0, descriptors1, candidates, needs_second)


def _mutual_matches(extremes: Extremes, max_ratio: float | None, max_distance: float | None) -> Matches:
    """Take the entries that are greatest of row and column; of equal ones the first; then apply the limits."""
    best, best_column, best_of_column, second = extremes
    if not (np.all(best < np.inf) and np.all(best_of_column < np.inf)):
        raise ValueError("descriptors must be finite, got nan or inf")
    rows = np.flatnonzero((best == best_of_column[best_column]) & (best > -np.inf))
    columns, first = np.unique(best_column[rows], return_index=True)
    order = np.argsort(rows[first])
    rows, columns = rows[first][order], columns[order]
    distances = _to_distance(best[rows])
    kept = np.ones(len(rows), bool)
    if max_distance is not None:
        kept &= distances <= max_distance
    if max_ratio is not None and second is not None:
        kept &= distances <= max_ratio * _to_distance(second[rows])
    return Matches(np.stack([rows, columns], axis=1)[kept].astype(np.int64), distances[kept])


def _to_distance(cosine: NDArray[np.float32]) -> NDArray[np.float32]:
    """Euclidean distance of two unit vectors with this scalar product; infinite for minus infinity."""
    distance: NDArray[np.float32] = np.sqrt(np.maximum(2 - 2 * cosine, 0, dtype=np.float32))
    return distance


def _to_unit(descriptors: Descriptors) -> NDArray[np.float32]:
    if descriptors.dtype == np.float32:
        return descriptors  # type: ignore[return-value]
    values = descriptors.astype(np.float32)  # type: ignore[union-attr]
    unit: NDArray[np.float32] = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1)
    return unit


def _check_limit(name: str, value: float | None, upper: float) -> None:
    if value is not None and not 0 <= value <= upper:
        raise ValueError(f"{name} must be in [0, {upper:g}] or None, got {value!r}")

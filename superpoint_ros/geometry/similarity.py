"""The similarities of two sets of descriptors, of which matching needs the extremes only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Union

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Descriptors = Union[NDArray[np.float32], NDArray[np.int8], "Tensor"]
Candidates = Union[NDArray[np.bool_], "Tensor"]


class Extremes(NamedTuple):
    """What matching needs of the (N0, N1) matrix of cosine similarities.

    Entries that are no candidates count as minus infinity.

    Attributes
    ----------
    best : ndarray, (N0,), float32
        The greatest of each row.
    best_column : ndarray, (N0,), int64
        Where it is.
    best_of_column : ndarray, (N1,), float32
        The greatest of each column.
    second : ndarray, (N0,), float32, or None
        The greatest of each row but for `best_column`; None if not asked for.
    """

    best: NDArray[np.float32]
    best_column: NDArray[np.int64]
    best_of_column: NDArray[np.float32]
    second: NDArray[np.float32] | None

    @classmethod
    def of_nothing(cls, count0: int, count1: int) -> Extremes:
        """Extremes where there is nothing to match: one of the counts is 0."""
        rows = np.full(count0, -np.inf, np.float32)
        return cls(rows[:0], np.empty(0, np.int64), np.full(count1, -np.inf, np.float32), rows[:0])

    @classmethod
    def of_similarity(
        cls, similarity: NDArray[np.float32], candidates: NDArray[np.bool_] | None, needs_second: bool
    ) -> Extremes:
        """Extremes of a matrix, which is overwritten."""
        if candidates is not None:
            np.copyto(similarity, -np.inf, where=~candidates)
        rows = np.arange(len(similarity))
        best_column = similarity.argmax(axis=1)
        best = similarity[rows, best_column]
        # The maximum over rows is vectorised by NumPy, the argmax is not and takes as long as the product.
        best_of_column = similarity.max(axis=0)
        second = None
        if needs_second:
            similarity[rows, best_column] = -np.inf
            second = similarity.max(axis=1)
        return cls(best, best_column, best_of_column, second)


def check_fit(descriptors0: Any, descriptors1: Any, candidates: Any, dtypes: tuple[Any, Any]) -> None:
    """Raise ``ValueError`` unless the arrays or tensors fit each other; `dtypes` are those allowed."""
    for descriptors in (descriptors0, descriptors1):
        if descriptors.ndim != 2:
            raise ValueError(f"descriptors must have the shape (N, D), got {tuple(descriptors.shape)}")
        if descriptors.dtype not in dtypes:
            raise ValueError(f"descriptors must be float32 or int8, got {descriptors.dtype}")
    shape = len(descriptors0), len(descriptors1)
    if min(shape) > 0:  # a message without keypoints does not tell what its descriptors would be
        if descriptors0.dtype != descriptors1.dtype:
            raise ValueError(f"descriptors must be of one type, got {descriptors0.dtype} and {descriptors1.dtype}")
        if descriptors0.shape[1] != descriptors1.shape[1]:
            sizes = f"{descriptors0.shape[1]} and {descriptors1.shape[1]}"
            raise ValueError(f"descriptors must be of one size, got {sizes}")
        if descriptors0.shape[1] == 0:
            raise ValueError("descriptors must have numbers to compare, got size 0")
    if candidates is not None and tuple(candidates.shape) != shape:
        raise ValueError(f"candidates must have the shape {shape}, got {tuple(candidates.shape)}")
    if candidates is not None and str(candidates.dtype).removeprefix("torch.") != "bool":
        raise ValueError(f"candidates must be bool, got {candidates.dtype}")

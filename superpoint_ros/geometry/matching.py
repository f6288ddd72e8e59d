"""Mutual nearest neighbours between two sets of descriptors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Descriptors = NDArray[np.float32] | NDArray[np.int8]


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
) -> Matches:
    """Match the descriptors that are each other's nearest neighbour.

    Parameters
    ----------
    descriptors0, descriptors1 : ndarray, (N0, D) and (N1, D), both float32 or both int8
        float32: unit length. int8: 127 times a unit vector, rounded; the rounding's effect on the
        length is undone.
    max_ratio : float, in (0, 1], optional
        Lowe's ratio test: a match is kept if its distance is at most this share of the distance to the
        second nearest neighbour in the second set. A match without a second candidate passes.
    max_distance : float, in [0, 2], optional
        Matches with a greater Euclidean distance are dropped.

    Raises
    ------
    ValueError
        If the arrays do not fit each other or a limit is out of range.
    """
    _check_descriptors(descriptors0, descriptors1)
    _check_limit("max_ratio", max_ratio, upper=1.0)
    _check_limit("max_distance", max_distance, upper=2.0)
    if min(len(descriptors0), len(descriptors1)) == 0:
        return Matches(np.empty((0, 2), np.int64), np.empty(0, np.float32))

    similarity = _to_unit(descriptors0) @ _to_unit(descriptors1).T
    rows, columns = _mutual_maxima(similarity)
    distances = _to_distance(similarity[rows, columns])
    kept = np.ones(len(rows), bool)
    if max_distance is not None:
        kept &= distances <= max_distance
    if max_ratio is not None:
        kept &= distances <= max_ratio * _second_distance(similarity, rows, columns)
    return Matches(np.stack([rows, columns], axis=1)[kept], distances[kept])


def _mutual_maxima(similarity: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns whose common entry is the greatest of both; of equal ones the first."""
    best_column = similarity.argmax(axis=1)
    # The maximum over rows is vectorised by NumPy, the argmax is not and takes as long as the product.
    best_of_column = similarity.max(axis=0)
    rows = np.flatnonzero(similarity.max(axis=1) == best_of_column[best_column])
    columns, first = np.unique(best_column[rows], return_index=True)
    order = np.argsort(rows[first])
    return rows[first][order].astype(np.int64), columns[order].astype(np.int64)


def _second_distance(
    similarity: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Distance of each of `rows` to its nearest neighbour other than `columns`; infinite if there is none."""
    others = similarity[rows]
    others[np.arange(len(rows)), columns] = -np.inf
    second = others.max(axis=1)
    return np.where(np.isneginf(second), np.float32(np.inf), _to_distance(second))


def _to_distance(cosine: NDArray[np.float32]) -> NDArray[np.float32]:
    """Euclidean distance of two unit vectors with this scalar product."""
    with np.errstate(invalid="ignore"):
        distance: NDArray[np.float32] = np.sqrt(np.maximum(2 - 2 * cosine, 0, dtype=np.float32))
    return distance


def _to_unit(descriptors: Descriptors) -> NDArray[np.float32]:
    if descriptors.dtype == np.float32:
        return descriptors  # type: ignore[return-value]
    values = descriptors.astype(np.float32)
    unit: NDArray[np.float32] = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1)
    return unit


def _check_descriptors(descriptors0: Descriptors, descriptors1: Descriptors) -> None:
    for descriptors in (descriptors0, descriptors1):
        if descriptors.ndim != 2:
            raise ValueError(f"descriptors must have the shape (N, D), got {descriptors.shape}")
        if descriptors.dtype not in (np.float32, np.int8):
            raise ValueError(f"descriptors must be float32 or int8, got {descriptors.dtype}")
        if not np.isfinite(descriptors).all():
            raise ValueError("descriptors must be finite, got nan or inf")
    if descriptors0.dtype != descriptors1.dtype:
        raise ValueError(f"descriptors must be of one type, got {descriptors0.dtype} and {descriptors1.dtype}")
    if descriptors0.shape[1] != descriptors1.shape[1]:
        raise ValueError(f"descriptors must be of one size, got {descriptors0.shape[1]} and {descriptors1.shape[1]}")


def _check_limit(name: str, value: float | None, upper: float) -> None:
    if value is not None and not 0 <= value <= upper:
        raise ValueError(f"{name} must be in [0, {upper:g}] or None, got {value!r}")

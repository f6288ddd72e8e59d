"""How much of a difference between two detectors may be chance: intervals over resampled pairs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .homography_benchmark import CURVE_THRESHOLDS, THRESHOLDS, HomographyResult, Shape
from .metrics import pose_auc
from .pose_benchmark import AUC_THRESHOLDS_DEG, PoseResult

_RESAMPLES = 2000
_LEVEL = 95  # per cent


@dataclass(frozen=True)
class Difference:
    """A metric of one detector less the same metric of another; `low` and `high` bound its 95 % interval."""

    metric: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Differences between `first` and `second` on the same pairs; `shape` is (height, width), or None for poses."""

    first: str
    second: str
    shape: Shape | None
    differences: tuple[Difference, ...]


Metric = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def difference_intervals(
    metric: Metric, first: NDArray[np.float64], second: NDArray[np.float64], groups: Sequence[Hashable], seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile bootstrap (Efron 1979) of ``metric(first) - metric(second)``.

    Whole groups are drawn with replacement, because pairs of one photograph are not independent.

    Parameters
    ----------
    metric : callable
        Takes (M, ...) values, of the pairs drawn, to K metrics.
    first, second : ndarray, (N, ...)
        Values of both detectors on the same N pairs.
    groups : sequence of hashable, N
        What each pair was made of.

    Returns
    -------
    value : ndarray, (K,)
        On all pairs.
    interval : ndarray, (2, K)
        Lower and upper bound of the 95 % interval.
    """
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    indices = [np.array(group) for group in members.values()]
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(_RESAMPLES):
        chosen = np.concatenate([indices[group] for group in random.integers(0, len(indices), len(indices))])
        drawn.append(metric(first[chosen]) - metric(second[chosen]))
    tail = (100 - _LEVEL) / 2
    return metric(first) - metric(second), np.percentile(drawn, [tail, 100 - tail], axis=0)


def compare_homographies(results: Sequence[HomographyResult]) -> list[Comparison]:
    """Compare the first detector with each other one, at each size, over all pairs; photographs are resampled."""
    names = [f"{kind} accuracy at {pixels:g} px" for kind in ("homography", "matching") for pixels in THRESHOLDS]
    columns = [CURVE_THRESHOLDS.index(pixels) for pixels in THRESHOLDS]

    def values(result: HomographyResult) -> list[float]:
        within = [float(result.corner_error <= pixels) for pixels in THRESHOLDS]
        return within + [result.matching_accuracy[column] for column in columns]

    comparisons = []
    for shape in dict.fromkeys(result.shape for result in results):
        of_shape = [result for result in results if result.shape == shape]
        tables = {
            detector: np.array([values(result) for result in of_shape if result.detector == detector])
            for detector in dict.fromkeys(result.detector for result in of_shape)
        }
        first, *others = tables
        scenes = [result.scene for result in of_shape if result.detector == first]
        for second in others:
            intervals = difference_intervals(lambda table: table.mean(0), tables[first], tables[second], scenes)
            comparisons.append(_comparison(first, second, shape, names, *intervals))
    return comparisons


def compare_poses(results: Sequence[PoseResult]) -> list[Comparison]:
    """Compare the first detector's pose AUC with each other one's; pairs are resampled."""
    names = [f"AUC at {degrees:g} deg" for degrees in AUC_THRESHOLDS_DEG]
    errors = {
        detector: np.array([result.error for result in results if result.detector == detector])
        for detector in dict.fromkeys(result.detector for result in results)
    }
    first, *others = errors
    comparisons = []
    for second in others:
        intervals = difference_intervals(
            lambda drawn: np.array(pose_auc(drawn, AUC_THRESHOLDS_DEG)),
            errors[first],
            errors[second],
            range(len(errors[first])),
        )
        comparisons.append(_comparison(first, second, None, names, *intervals))
    return comparisons


def _comparison(
    first: str,
    second: str,
    shape: Shape | None,
    names: Sequence[str],
    values: NDArray[np.float64],
    interval: NDArray[np.float64],
) -> Comparison:
    rows = zip(names, values.tolist(), *interval.tolist())
    return Comparison(first, second, shape, tuple(Difference(*row) for row in rows))

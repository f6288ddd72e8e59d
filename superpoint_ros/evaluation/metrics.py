"""What is measured on one image pair, and how it is summed up over many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..geometry import Matches, warp_points


@dataclass(frozen=True)
class Repeatability:
    """How well the keypoints of two images coincide.

    Attributes
    ----------
    ratio : float
        Share, in [0, 1], of the keypoints in the shared area that were found in both images; 0 if there
        are none.
    error : float
        Mean distance, in pixels, of those found in both; nan if there are none.
    """

    ratio: float
    error: float


def repeatability(
    points0: ArrayLike,
    points1: ArrayLike,
    homography: ArrayLike,
    shape: tuple[int, int],
    max_distance: float = 3.0,
) -> Repeatability:
    """Compare two sets of keypoints (DeTone et al. 2018, appendix A).

    Each keypoint that the homography takes into the other image is looked for there: it is repeated if
    the other image has a keypoint within `max_distance`. Both directions count, each measured in the
    pixels of the image in which it looks.

    Parameters
    ----------
    points0, points1 : array_like, (N0, 2) and (N1, 2)
        Keypoints in pixels.
    homography : array_like, (3, 3)
        Maps the first image to the second.
    shape : tuple of int
        (height, width) of both images.
    max_distance : float
        In pixels.
    """
    matrix = np.asarray(homography, np.float64)
    forward = _nearest_distances(points0, points1, matrix, shape)
    backward = _nearest_distances(points1, points0, np.linalg.inv(matrix), shape)
    distances = np.concatenate([forward, backward])
    found = distances[distances <= max_distance]
    return Repeatability(
        ratio=len(found) / len(distances) if len(distances) else 0.0,
        error=float(found.mean()) if len(found) else float("nan"),
    )


def _nearest_distances(
    points: ArrayLike, others: ArrayLike, homography: ArrayLike, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Distance of each of `points` that falls into the other image to the nearest of all `others`."""
    warped = warp_points(points, homography)
    warped = warped[inside(warped, shape)]
    targets = np.asarray(others, np.float64).reshape(-1, 2)
    if len(targets) == 0:
        return np.full(len(warped), np.inf)
    distances: NDArray[np.float64] = np.linalg.norm(warped[:, None] - targets[None], axis=2).min(axis=1)
    return distances


def inside(points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which `points` (N, 2) lie on an image of `shape` (height, width), to the edge of its outer pixels."""
    height, width = shape
    with np.errstate(invalid="ignore"):
        return np.asarray(((points >= -0.5) & (points <= (width - 0.5, height - 0.5))).all(axis=1))


def match_errors(
    points0: NDArray[np.floating], points1: NDArray[np.floating], matches: Matches, homography: ArrayLike
) -> NDArray[np.float64]:
    """Distance, in pixels of the second image, of each match from where the homography puts it; (M,)."""
    predicted = warp_points(points0[matches.indices[:, 0]], homography)
    errors: NDArray[np.float64] = np.linalg.norm(predicted - points1[matches.indices[:, 1]], axis=1)
    return errors


def matching_score(
    points0: NDArray[np.floating],
    points1: NDArray[np.floating],
    matches: Matches,
    homography: ArrayLike,
    shape: tuple[int, int],
    max_error: float = 3.0,
) -> float:
    """Correct matches per keypoint in the shared area, averaged over both images; 0 without keypoints.

    A match is correct if both its keypoints lie in the shared area and its error is at most `max_error`
    pixels.
    """
    matrix = np.asarray(homography, np.float64)
    shared0 = inside(warp_points(points0, matrix), shape)
    shared1 = inside(warp_points(points1, np.linalg.inv(matrix)), shape)
    correct = match_errors(points0, points1, matches, matrix) <= max_error
    correct &= shared0[matches.indices[:, 0]] & shared1[matches.indices[:, 1]]
    return float(np.mean([correct.sum() / shared.sum() if shared.any() else 0.0 for shared in (shared0, shared1)]))


def share_within(errors: ArrayLike, thresholds: Sequence[float]) -> tuple[float, ...]:
    """Share of `errors` that do not exceed each threshold; nan counts as exceeding; 0 where there are none."""
    values = np.asarray(errors, np.float64)
    if values.size == 0:
        return (0.0,) * len(thresholds)
    return tuple(float((values <= threshold).mean()) for threshold in thresholds)


def pose_auc(errors: ArrayLike, thresholds: Sequence[float]) -> tuple[float, ...]:
    """Area under the curve of recall against pose error, up to each threshold, divided by the threshold.

    The curve joins (0, 0) and the points (i-th smallest error, i / N) by straight lines and stays level
    from the last error below the threshold on, the definition of Sarlin et al. 2020 (SuperGlue).

    Parameters
    ----------
    errors : array_like, (N,)
        Pose errors in degrees; inf or nan where no pose was found.
    thresholds : sequence of float
        In degrees.
    """
    ordered = np.sort(np.nan_to_num(np.asarray(errors, np.float64), nan=np.inf))
    if ordered.size == 0:
        return (0.0,) * len(thresholds)
    recall = np.arange(1, len(ordered) + 1) / len(ordered)
    areas = []
    for threshold in thresholds:
        below = int((ordered < threshold).sum())
        reached = recall[below - 1] if below else 0.0
        x = np.concatenate([[0.0], ordered[:below], [threshold]])
        y = np.concatenate([[0.0], recall[:below], [reached]])
        areas.append(float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / threshold))
    return tuple(areas)

"""Homographies: estimated from matches, applied to points, compared with the truth."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class HomographyEstimate:
    """Result of :func:`estimate_homography`.

    Attributes
    ----------
    matrix : ndarray, (3, 3), float64
        Maps points of the first image to the second, last element 1.
    inliers : ndarray, (M,), bool
        The matches that agree with it.
    """

    matrix: NDArray[np.float64]
    inliers: NDArray[np.bool_]


def estimate_homography(
    points0: ArrayLike,
    points1: ArrayLike,
    *,
    max_error: float = 3.0,
    confidence: float = 0.9999,
    max_iterations: int = 10_000,
) -> HomographyEstimate | None:
    """Estimate the homography between matched points with OpenCV's USAC.

    The same input always gives the same result: USAC's random generator starts from a fixed seed.

    Parameters
    ----------
    points0, points1 : array_like, (M, 2)
        Matched points, in pixels.
    max_error : float
        Greatest distance, in pixels of the second image, between a point and its partner's image.
    confidence : float, in (0, 1)
        Probability with which an outlier-free sample is to be drawn.
    max_iterations : int
        Limit to the number of samples.

    Returns
    -------
    HomographyEstimate or None
        None if there are fewer than four matches or no homography fits.

    Raises
    ------
    ValueError
        If the points do not come in pairs, or `max_error` is not a positive number.
    """
    source, target = as_point_pairs(points0, points1)
    check_max_error(max_error)
    if len(source) < 4:
        return None
    # On warped photographs USAC_ACCURATE beats USAC_MAGSAC and plain RANSAC for SIFT, ORB and AKAZE alike.
    method = cv2.USAC_ACCURATE
    matrix, mask = cv2.findHomography(source, target, method, max_error, None, max_iterations, confidence)
    if matrix is None or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        return None
    return HomographyEstimate(matrix.astype(np.float64), mask.ravel().astype(bool))


def warp_points(points: ArrayLike, homography: ArrayLike) -> NDArray[np.float64]:
    """Map `points` (N, 2) by `homography` (3, 3); a point at infinity becomes inf or nan."""
    points = np.asarray(points, np.float64).reshape(-1, 2)
    matrix = np.asarray(homography, np.float64)
    projected = points @ matrix[:, :2].T + matrix[:, 2]
    with np.errstate(divide="ignore", invalid="ignore"):
        warped: NDArray[np.float64] = projected[:, :2] / projected[:, 2:]
    return warped


def corner_error(estimated: ArrayLike, true: ArrayLike, width: int, height: int) -> float:
    """Mean distance, in pixels, between the image corners under an estimated and the true homography.

    The measure of SuperPoint's evaluation (DeTone et al. 2018, section 7.2). The corners are the
    centres of the four corner pixels of the first image, which is `width` x `height`.
    """
    right, bottom = width - 1.0, height - 1.0
    corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]])
    return float(np.linalg.norm(warp_points(corners, estimated) - warp_points(corners, true), axis=1).mean())


def check_max_error(max_error: float) -> None:
    """Raise ``ValueError`` unless it is a positive number."""
    if not 0 < max_error < np.inf:
        raise ValueError(f"max_error must be a positive number, got {max_error}")


def as_point_pairs(points0: ArrayLike, points1: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both as contiguous float64 arrays (M, 2), or raise ``ValueError`` if they do not pair up."""
    first, second = (np.ascontiguousarray(points, np.float64) for points in (points0, points1))
    if first.ndim != 2 or first.shape[1] != 2 or first.shape != second.shape:
        raise ValueError(f"matched points must be two arrays of one shape (M, 2), got {first.shape} and {second.shape}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("matched points must be finite, got nan or inf")
    return first, second

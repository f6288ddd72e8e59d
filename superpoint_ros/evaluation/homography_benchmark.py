"""The homography benchmark: every detector on every pair of a data set, at every size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..geometry import corner_error, estimate_homography
from .datasets import HomographyDataset, ImagePair
from .detectors import Detector, LocalFeatures, match_features, suppress_neighbours
from .metrics import match_errors, matching_score, repeatability, share_within

THRESHOLDS = (1.0, 3.0, 5.0)
CURVE_THRESHOLDS = tuple(float(pixels) for pixels in range(1, 11))

Shape = tuple[int, int]


@dataclass(frozen=True)
class HomographyProtocol:
    """What all detectors have in common.

    Attributes
    ----------
    shapes : tuple of (height, width)
        Sizes that the images are brought to.
    max_keypoints : tuple of int
        Best keypoints kept at each of these sizes.
    correct_distance : float
        In pixels, for repeatability, localisation error and matching score.
    nms_radius : float
        For repeatability and localisation error only: of keypoints closer than this in x and y, in
        pixels, the best is kept, so that clusters do not count as repeated.
    ransac_max_error : float
        In pixels, of the homography estimate.
    """

    shapes: tuple[Shape, ...] = ((240, 320), (480, 640))
    max_keypoints: tuple[int, ...] = (300, 1000)
    correct_distance: float = 3.0
    nms_radius: float = 4.0
    ransac_max_error: float = 3.0


@dataclass(frozen=True)
class HomographyResult:
    """One detector on one pair at one size; metrics as in :mod:`.metrics`, distances in pixels.

    ``localization_error`` is nan where nothing was repeated, ``corner_error`` inf where no homography
    was found. ``matching_accuracy`` is the share of matches within each of ``CURVE_THRESHOLDS``.
    """

    detector: str
    shape: Shape
    pair: str
    scene: str
    category: str
    keypoints: float
    matches: int
    repeatability: float
    localization_error: float
    matching_accuracy: tuple[float, ...]
    matching_score: float
    corner_error: float


@dataclass(frozen=True)
class HomographySummary:
    """Means over pairs; accuracies at ``THRESHOLDS``."""

    detector: str
    shape: Shape
    category: str
    pairs: int
    keypoints: float
    matches: float
    repeatability: float
    localization_error: float
    matching_accuracy: tuple[float, ...]
    matching_score: float
    homography_accuracy: tuple[float, ...]


def run_homography_benchmark(
    dataset: HomographyDataset, detectors: Sequence[Detector], protocol: HomographyProtocol
) -> list[HomographyResult]:
    """Measure every detector on every pair at every size, with a progress bar."""
    results = []
    with tqdm(total=len(dataset) * len(protocol.shapes), unit="pair") as progress:
        for shape, count in zip(protocol.shapes, protocol.max_keypoints):
            progress.set_description(f"{shape[0]}x{shape[1]}")
            for pair in dataset.pairs(shape):
                results += [measure_pair(detector, pair, count, protocol) for detector in detectors]
                progress.update()
    return results


def measure_pair(detector: Detector, pair: ImagePair, count: int, protocol: HomographyProtocol) -> HomographyResult:
    """Measure one detector on one pair with its best `count` keypoints in each image."""
    shape = (pair.image0.shape[0], pair.image0.shape[1])
    everything = detector.detect(pair.image0), detector.detect(pair.image1)
    sparse0, sparse1 = (suppress_neighbours(found.keypoints, protocol.nms_radius, count) for found in everything)
    repeated = repeatability(sparse0, sparse1, pair.homography, shape, protocol.correct_distance)

    best0, best1 = (found.best(count) for found in everything)
    matches = match_features(best0, best1, detector.norm)
    errors = match_errors(best0.keypoints, best1.keypoints, matches, pair.homography)
    return HomographyResult(
        detector=detector.name,
        shape=shape,
        pair=pair.name,
        scene=pair.scene,
        category=pair.category,
        keypoints=(len(best0) + len(best1)) / 2,
        matches=len(matches),
        repeatability=repeated.ratio,
        localization_error=repeated.error,
        matching_accuracy=share_within(errors, CURVE_THRESHOLDS),
        matching_score=matching_score(
            best0.keypoints, best1.keypoints, matches, pair.homography, shape, protocol.correct_distance
        ),
        corner_error=_corner_error(best0, best1, matches.indices, pair, protocol.ransac_max_error),
    )


def _corner_error(
    features0: LocalFeatures,
    features1: LocalFeatures,
    indices: NDArray[np.int64],
    pair: ImagePair,
    max_error: float,
) -> float:
    """Mean corner error of the homography estimated from the matches; inf if there is none."""
    estimate = estimate_homography(
        features0.keypoints[indices[:, 0]], features1.keypoints[indices[:, 1]], max_error=max_error
    )
    if estimate is None:
        return float("inf")
    height, width = pair.image0.shape
    error = corner_error(estimate.matrix, pair.homography, width, height)
    return error if np.isfinite(error) else float("inf")


def summarize(results: Sequence[HomographyResult]) -> list[HomographySummary]:
    """Average over the pairs of each size, category and detector; category "all" averages over all pairs."""
    summaries = []
    for shape in dict.fromkeys(result.shape for result in results):
        of_shape = [result for result in results if result.shape == shape]
        categories = list(dict.fromkeys(result.category for result in of_shape))
        for category in ("all", *categories) if len(categories) > 1 else categories:
            chosen = [result for result in of_shape if category in ("all", result.category)]
            for detector in dict.fromkeys(result.detector for result in chosen):
                summaries.append(_average(category, [result for result in chosen if result.detector == detector]))
    return summaries


def _average(category: str, results: Sequence[HomographyResult]) -> HomographySummary:
    errors = np.array([result.localization_error for result in results])
    curve = np.mean([result.matching_accuracy for result in results], axis=0)
    return HomographySummary(
        detector=results[0].detector,
        shape=results[0].shape,
        category=category,
        pairs=len(results),
        keypoints=float(np.mean([result.keypoints for result in results])),
        matches=float(np.mean([result.matches for result in results])),
        repeatability=float(np.mean([result.repeatability for result in results])),
        localization_error=float(np.nanmean(errors)) if np.isfinite(errors).any() else float("nan"),
        matching_accuracy=tuple(float(curve[CURVE_THRESHOLDS.index(pixels)]) for pixels in THRESHOLDS),
        matching_score=float(np.mean([result.matching_score for result in results])),
        homography_accuracy=share_within([result.corner_error for result in results], THRESHOLDS),
    )

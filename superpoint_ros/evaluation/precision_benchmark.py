"""What lower precision costs: agreement with PyTorch in fp32, and homography accuracy, on the same image pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..superpoint import SuperPointExtractor
from .datasets import HomographyDataset, ImagePair
from .detectors import LocalFeatures, Norm
from .homography_benchmark import THRESHOLDS, HomographyProtocol, HomographyResult, Shape, measure_pair
from .metrics import share_within

SAME_KEYPOINT = 1.0  # pixels, along each axis


@dataclass(frozen=True)
class PrecisionResult:
    """One way of running the network on one pair at one size.

    Attributes
    ----------
    overlap : float
        Share of the reference's best keypoints, as many as the protocol allows, that have one of as many of this
        one's less than `SAME_KEYPOINT` away; mean of both images.
    cosine : float
        Mean scalar product of their descriptors; nan without any.
    homography : HomographyResult
    """

    overlap: float
    cosine: float
    homography: HomographyResult


@dataclass(frozen=True)
class PrecisionSummary:
    """Means over pairs; homography accuracy at ``THRESHOLDS``."""

    name: str
    shape: Shape
    pairs: int
    overlap: float
    cosine: float
    repeatability: float
    homography_accuracy: tuple[float, ...]


@dataclass(frozen=True)
class _Found:
    """A detector that has already been run, so that nothing is computed twice."""

    name: str
    images: tuple[int, ...]
    features: tuple[LocalFeatures, ...]
    norm: Norm = "l2"
    description: str = ""

    def detect(self, image: NDArray[np.uint8]) -> LocalFeatures:
        return self.features[self.images.index(id(image))]


def run_precision_benchmark(
    dataset: HomographyDataset, extractors: dict[str, SuperPointExtractor], protocol: HomographyProtocol
) -> list[PrecisionResult]:
    """Measure all extractors, the first of which is the reference, on every pair at every size."""
    results: list[PrecisionResult] = []
    with tqdm(total=len(dataset) * len(protocol.shapes), unit="pair") as progress:
        for shape, count in zip(protocol.shapes, protocol.max_keypoints):
            progress.set_description(f"{shape[0]}x{shape[1]}")
            for pair in dataset.pairs(shape):
                results += _measure(pair, extractors, count, protocol)
                progress.update()
    return results


def _measure(
    pair: ImagePair, extractors: dict[str, SuperPointExtractor], count: int, protocol: HomographyProtocol
) -> list[PrecisionResult]:
    images = (pair.image0, pair.image1)
    found = [
        _Found(name, tuple(id(image) for image in images), tuple(_detect(extractor, image) for image in images))
        for name, extractor in extractors.items()
    ]
    results = []
    for one in found:
        agreements = [agreement(a.best(count), b.best(count)) for a, b in zip(found[0].features, one.features)]
        overlap, cosine = np.mean(agreements, axis=0).tolist()
        results.append(PrecisionResult(overlap, cosine, measure_pair(one, pair, count, protocol)))
    return results


def _detect(extractor: SuperPointExtractor, image: NDArray[np.uint8]) -> LocalFeatures:
    features = extractor(image)
    return LocalFeatures(features.keypoints, features.scores, features.descriptors)


def agreement(reference: LocalFeatures, other: LocalFeatures) -> tuple[float, float]:
    """Return the share of the reference's keypoints that `other` has too, and the mean cosine of their descriptors."""
    if len(reference) == 0 or len(other) == 0:
        return float(len(reference) == len(other)), float("nan")
    distances = np.abs(reference.keypoints[:, None] - other.keypoints[None]).max(axis=2)
    nearest = distances.argmin(axis=1)
    is_same = distances.min(axis=1) < SAME_KEYPOINT
    cosines = np.sum(reference.descriptors[is_same] * other.descriptors[nearest[is_same]], axis=1)
    return float(is_same.mean()), float(cosines.mean()) if len(cosines) else float("nan")


def summarize(results: Sequence[PrecisionResult]) -> list[PrecisionSummary]:
    """Average over the pairs of each size and extractor."""
    groups: dict[tuple[Shape, str], list[PrecisionResult]] = {}
    for result in results:
        groups.setdefault((result.homography.shape, result.homography.detector), []).append(result)
    return [
        PrecisionSummary(
            name=name,
            shape=shape,
            pairs=len(group),
            overlap=float(np.mean([result.overlap for result in group])),
            cosine=float(np.nanmean([result.cosine for result in group])),
            repeatability=float(np.mean([result.homography.repeatability for result in group])),
            homography_accuracy=share_within([result.homography.corner_error for result in group], THRESHOLDS),
        )
        for (shape, name), group in groups.items()
    ]


def precision_table(summaries: Sequence[PrecisionSummary]) -> str:
    """Return a Markdown table."""
    at = " / ".join(f"{threshold:g}" for threshold in THRESHOLDS)
    lines = [
        "| size | network | pairs | same keypoints | descriptor cosine | repeatability "
        f"| homography accuracy at {at} px |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for summary in summaries:
        accuracy = " / ".join(f"{value:.3f}" for value in summary.homography_accuracy)
        lines.append(
            f"| {summary.shape[0]}x{summary.shape[1]} | {summary.name} | {summary.pairs} | {summary.overlap:.1%} "
            f"| {summary.cosine:.4f} | {summary.repeatability:.3f} | {accuracy} |"
        )
    return "\n".join(lines) + "\n"

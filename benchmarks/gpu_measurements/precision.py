"""What half precision changes in keypoints, descriptors and homographies."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint_ros import geometry
from superpoint_ros.superpoint import (
    Features,
)

from .bench import (
    Bench,
    Image,
    Row,
    agreement,
    extract,
    photographs,
)


def precision(bench: Bench) -> list[Row]:
    """Precisions against float32 on the same device, photographs under known homographies."""
    size = bench.sizes[0]
    images = photographs(size, bench.rounds(9))
    random = np.random.default_rng(1)
    pairs = [(image, *_warped(image, random)) for image in images for _ in range(bench.rounds(10))]
    pipelines = {name: bench.pipeline(name, graphs=False) for name in ("fp32", bench.precision, "bf16")}
    reference = [(extract(pipelines["fp32"], [a])[0], extract(pipelines["fp32"], [b])[0]) for a, b, _ in pairs]
    rows = []
    for name, pipeline in pipelines.items():
        found = [(extract(pipeline, [a])[0], extract(pipeline, [b])[0]) for a, b, _ in pairs]
        same = [agreement(ours[0], theirs[0]) for ours, theirs in zip(found, reference)]
        cosines = np.concatenate([one[1] for one in same])
        errors = np.array([_corner_error(*two, homography) for two, (_, _, homography) in zip(found, pairs)])
        row: Row = {
            "precision": name,
            "pairs": len(pairs),
            "keypoint overlap": np.mean([one[0] for one in same]),
            "descriptor cosine, mean": cosines.mean(),
            "1st percentile": np.percentile(cosines, 1),
        }
        rows.append(row | {f"homography {limit} px": (errors <= limit).mean() for limit in (1, 3, 5)})
    return rows


def _warped(image: Image, random: np.random.Generator) -> tuple[Image, NDArray[np.float64]]:
    height, width = image.shape
    corners = np.array([(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)], np.float32)
    moved = corners + random.uniform(-0.2, 0.2, (4, 2)).astype(np.float32) * (width, height)
    homography = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    return np.asarray(cv2.warpPerspective(image, homography, (width, height)), np.uint8), homography


def _corner_error(first: Features, second: Features, homography: NDArray[np.float64]) -> float:
    matches = geometry.match_descriptors(first.descriptors, second.descriptors).indices
    if len(matches) < 4:
        return math.inf
    estimate = geometry.estimate_homography(first.keypoints[matches[:, 0]], second.keypoints[matches[:, 1]])
    return geometry.corner_error(estimate.matrix, homography, *first.image_size) if estimate else math.inf

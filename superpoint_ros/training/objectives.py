"""What a training step minimises: the losses of pairs of views, or the distance from a teacher's output."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..superpoint.config import DescriptorGrid
from ..superpoint.decoding import sample_descriptors, score_map
from ..superpoint.network import NetworkOutput
from .configuration import LossWeights
from .dataset import PairBatch
from .losses import (
    Distractors,
    descriptor_loss,
    detect_in_both,
    detector_loss,
    localisation_loss,
    reliability_loss,
    reprojection_loss,
    soft_targets,
)
from .points import PointList


def pair_losses(
    output: NetworkOutput,
    batch: PairBatch,
    weights: LossWeights,
    grid: DescriptorGrid,
    inverse_temperature: Tensor,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return a batch's losses "detector", "localisation", "reprojection", "reliability" and "descriptor".

    To watch there are "distance" (from labels), "reprojection_distance" and "accuracy" (of descriptors).
    """
    logits, descriptor_map = output.keypoint_logits, output.descriptor_map
    count, size = len(batch.images) // 2, (batch.images.shape[-2], batch.images.shape[-1])
    detector = detector_loss(logits, soft_targets(batch.labels, size, weights.label_sigma))
    scores = score_map(logits)
    localisation, distance = localisation_loss(scores, batch.inner_labels, generator)
    points = batch.correspondences
    found = detect_in_both(scores, points, batch.homographies)
    reprojection, reprojection_distance = reprojection_loss(found)
    first = sample_descriptors(descriptor_map, points.pair, points.first, grid)
    second = sample_descriptors(descriptor_map, points.pair + count, points.second, grid)
    descriptor, accuracy = descriptor_loss(
        first,
        second,
        points,
        (
            _distractors(batch.first_labels, descriptor_map[:count], grid),
            _distractors(batch.second_labels, descriptor_map[count:], grid),
        ),
        inverse_temperature,
        weights.descriptor_radius,
    )
    return {
        "detector": detector,
        "localisation": localisation,
        "reprojection": reprojection,
        "reliability": reliability_loss(found, points.pair, count),
        "descriptor": descriptor,
        "distance": distance,
        "reprojection_distance": reprojection_distance,
        "accuracy": accuracy,
    }


def distillation_losses(output: NetworkOutput, teacher: NetworkOutput) -> dict[str, Tensor]:
    """Return the losses of a student: "detector", the divergence of its cells' distributions from the
    teacher's, and "descriptor", one less the mean cosine between the descriptors of both.
    """
    detector = detector_loss(output.keypoint_logits, teacher.keypoint_logits.float().softmax(1))
    cosine = functional.cosine_similarity(output.descriptor_map.float(), teacher.descriptor_map.float(), dim=1)
    return {"detector": detector, "descriptor": 1 - cosine.mean()}


def weighted_sum(losses: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """Return what is minimised."""
    parts = ("detector", "localisation", "reprojection", "reliability", "descriptor")
    return torch.stack([getattr(weights, part) * losses[part] for part in parts if part in losses]).sum()


def _distractors(labels: PointList, descriptor_map: Tensor, grid: DescriptorGrid) -> Distractors:
    """All labels of the first or of the second views: what a keypoint may be taken for."""
    descriptors = sample_descriptors(descriptor_map, labels.image, labels.points, grid)
    return Distractors(labels.image, labels.points, descriptors)

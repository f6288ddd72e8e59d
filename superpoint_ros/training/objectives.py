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

    To watch there are "distance" (from labels), "reprojection_distance" and "accuracy" (of descriptors). Without weight
    descriptors are not compared: their loss and accuracy are NaN.
    """
    logits, points = output.keypoint_logits, batch.correspondences
    count, size = len(batch.images) // 2, (batch.images.shape[-2], batch.images.shape[-1])
    detector = detector_loss(logits, soft_targets(batch.labels, size, weights.label_sigma))
    scores = score_map(logits)
    localisation, distance = localisation_loss(scores, batch.inner_labels, generator)
    found = detect_in_both(scores, points, batch.homographies)
    reprojection, reprojection_distance = reprojection_loss(found)
    descriptor = accuracy = scores.new_full((), torch.nan)
    if weights.descriptor:
        descriptor, accuracy = _compare_descriptors(output.descriptor_map, batch, weights, grid, inverse_temperature)
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
    parts = [weight * losses[name] for name, weight in weights.by_loss.items() if weight and name in losses]
    return torch.stack(parts).sum()


def _compare_descriptors(
    descriptor_map: Tensor, batch: PairBatch, weights: LossWeights, grid: DescriptorGrid, inverse_temperature: Tensor
) -> tuple[Tensor, Tensor]:
    """Loss and accuracy of the descriptors of corresponding points."""
    points, count = batch.correspondences, len(batch.images) // 2
    first_map, second_map = descriptor_map[:count], descriptor_map[count:]
    return descriptor_loss(
        sample_descriptors(first_map, points.pair, points.first, grid),
        sample_descriptors(second_map, points.pair, points.second, grid),
        points,
        (_distractors(batch.first_labels, first_map, grid), _distractors(batch.second_labels, second_map, grid)),
        inverse_temperature,
        weights.descriptor_radius,
    )


def _distractors(labels: PointList, descriptor_map: Tensor, grid: DescriptorGrid) -> Distractors:
    """All labels of the first or of the second views: what a keypoint may be taken for."""
    descriptors = sample_descriptors(descriptor_map, labels.image, labels.points, grid)
    return Distractors(labels.image, labels.points, descriptors)

import math

import pytest
import torch

from superpoint_ros.superpoint.decoding import score_map
from superpoint_ros.training.losses import (
    Correspondences,
    Distractors,
    descriptor_loss,
    detect_in_both,
    detector_loss,
    localisation_loss,
    reliability_loss,
    reprojection_loss,
    soft_targets,
)
from superpoint_ros.training.points import list_points


def logits_of(targets: torch.Tensor) -> torch.Tensor:
    return targets.clamp(min=1e-8).log()


def scores_of(targets: torch.Tensor) -> torch.Tensor:
    return score_map(logits_of(targets))


def test_target_of_no_label_is_the_dustbin() -> None:
    targets = soft_targets(torch.full((1, 3, 2), torch.inf), (16, 24), 0.6)
    assert targets.shape == (1, 65, 2, 3)
    assert (targets[:, 64] == 1).all() and (targets[:, :64] == 0).all()


@pytest.mark.parametrize("point", [(4.0, 4.0), (7.5, 3.2), (7.6, 8.4), (11.9, 7.49)])
def test_target_has_the_labels_mass_and_centre_across_cells(point: tuple[float, float]) -> None:
    targets = soft_targets(torch.tensor([[point]]), (16, 24), 0.6)
    torch.testing.assert_close(targets.sum(1), torch.ones(1, 2, 3))
    map_ = torch.nn.functional.pixel_shuffle(targets[:, :64], 8)[0, 0]
    assert float(map_.sum()) == pytest.approx(1, abs=1e-5)
    assert float((map_.sum(0) * torch.arange(24.0)).sum()) == pytest.approx(point[0], abs=0.05)
    assert float((map_.sum(1) * torch.arange(16.0)).sum()) == pytest.approx(point[1], abs=0.05)


def test_detector_loss_is_zero_for_the_targets_and_log_65_for_ignorance() -> None:
    targets = soft_targets(torch.tensor([[[5.0, 9.3], [20.2, 3.0]]]), (16, 24), 0.6)
    assert float(detector_loss(logits_of(targets), targets)) == pytest.approx(0, abs=1e-4)
    empty = soft_targets(torch.full((1, 1, 2), torch.inf), (16, 24), 0.6)
    assert float(detector_loss(torch.zeros(1, 65, 2, 3), empty)) == pytest.approx(math.log(65), abs=1e-4)


def test_localisation_measures_the_shift_of_the_scores() -> None:
    label = torch.tensor([[[12.0, 14.0]]])
    shifted = soft_targets(label + torch.tensor([1.0, 0.0]), (32, 32), 0.35)
    loss, distance = localisation_loss(scores_of(shifted), list_points(label), torch.Generator().manual_seed(0))
    assert float(distance) == pytest.approx(1.0, abs=0.05)
    assert float(loss) == pytest.approx(0.25, abs=0.03)  # Huber: 1/2 in x, 0 in y, averaged
    exact = soft_targets(label, (32, 32), 0.35)
    assert float(localisation_loss(scores_of(exact), list_points(label), torch.Generator().manual_seed(0))[1]) < 0.05


def test_localisation_counts_labels_by_what_is_detected_there() -> None:
    labels = torch.tensor([[[12.0, 12.0], [36.0, 12.0]]])
    seen = soft_targets(labels[:, :1], (24, 48), 0.35)
    _, distance = localisation_loss(scores_of(seen), list_points(labels), torch.Generator().manual_seed(0))
    assert float(distance) < 0.05


def test_localisation_without_labels_costs_nothing() -> None:
    nothing = list_points(torch.full((1, 2, 2), torch.inf))
    loss, _ = localisation_loss(torch.zeros(1, 32, 32), nothing, torch.Generator())
    assert float(loss) == 0


def test_reprojection_measures_how_far_detections_of_both_views_are_apart() -> None:
    label, move = torch.tensor([[[12.0, 14.0]], [[22.0, 17.0]]]), torch.eye(3)[None].clone()
    move[0, :2, 2] = torch.tensor([10.0, 3.0])
    points = Correspondences(torch.tensor([0]), label[0], label[1])
    detected = label + torch.tensor([[[0.0, 1.0]], [[0.0, 0.0]]])
    loss, distance = reprojection_loss(detect_in_both(scores_of(soft_targets(detected, (32, 40), 0.35)), points, move))
    assert float(distance) == pytest.approx(1.0, abs=0.05)
    assert float(loss) == pytest.approx(0.25, abs=0.03)
    both = label + torch.tensor([0.6, 1.3])  # away from the label, but alike in both views
    found = detect_in_both(scores_of(soft_targets(both, (32, 40), 0.35)), points, move)
    assert float(reprojection_loss(found)[1]) < 0.05


def test_reprojection_pulls_detections_together() -> None:
    points = Correspondences(torch.tensor([0]), torch.tensor([[12.0, 14.0]]), torch.tensor([[12.0, 14.0]]))
    scores = scores_of(soft_targets(torch.tensor([[[12.0, 14.0]], [[13.0, 14.0]]]), (32, 32), 0.6)).requires_grad_()
    reprojection_loss(detect_in_both(scores, points, torch.eye(3)[None]))[0].backward()
    assert scores.grad is not None
    assert (
        float(scores.grad[0, 14, 13]) < 0 < float(scores.grad[0, 14, 11])
    )  # a step downhill moves the first to the right
    assert float(scores.grad[1, 14, 12]) < 0 < float(scores.grad[1, 14, 14])


def test_reprojection_without_points_costs_nothing() -> None:
    none = Correspondences(torch.zeros(0, dtype=torch.long), torch.zeros(0, 2), torch.zeros(0, 2))
    found = detect_in_both(torch.zeros(2, 32, 32), none, torch.eye(3)[None])
    assert float(reprojection_loss(found)[0]) == float(reliability_loss(found, none.pair, 1)) == 0


def test_reliability_lowers_the_score_of_what_the_other_view_finds_elsewhere() -> None:
    labels = torch.tensor([[[8.0, 16.0], [24.0, 16.0]], [[8.0, 16.0], [26.0, 16.0]]])  # the second one moves
    scores = scores_of(soft_targets(labels, (32, 40), 0.6)).requires_grad_()
    points = Correspondences(torch.tensor([0, 0]), labels[0], labels[0])
    loss = reliability_loss(detect_in_both(scores, points, torch.eye(3)[None]), points.pair, 1)
    assert float(loss.detach()) == pytest.approx(1.0, abs=0.1)  # nothing and two pixels, of equal weight
    loss.backward()
    assert scores.grad is not None
    assert (
        float(scores.grad[0, 16, 8]) < 0 < float(scores.grad[0, 16, 24])
    )  # a step downhill raises what has a negative gradient


def test_reliability_compares_within_a_pair_of_views() -> None:
    """A pair in which all is two pixels off asks for no lower scores, though the other pair is exact."""
    still, moved = torch.tensor([[8.0, 16.0], [24.0, 16.0]]), torch.tensor([[10.0, 16.0], [26.0, 16.0]])
    labels = torch.stack([still, still, still, moved])  # the first views of both pairs, then their second views
    scores = scores_of(soft_targets(labels, (32, 40), 0.6)).requires_grad_()
    pair = torch.tensor([0, 0, 1, 1])
    points = Correspondences(pair, torch.cat([still, still]), torch.cat([still, still]))
    loss = reliability_loss(detect_in_both(scores, points, torch.eye(3).expand(2, 3, 3)), pair, 2)
    assert float(loss.detach()) == pytest.approx(1.0, abs=0.1)  # nothing and two pixels, of equal weight
    loss.backward()
    assert scores.grad is not None
    assert float(scores.grad.abs().max()) < 1e-4


def points_of(count: int, spacing: float) -> Correspondences:
    grid = torch.arange(count).float()[:, None] * spacing
    return Correspondences(torch.zeros(count, dtype=torch.long), grid.expand(-1, 2), grid.expand(-1, 2))


def distractors(pair: int, x: float, descriptor: torch.Tensor) -> Distractors:
    return Distractors(torch.tensor([pair]), torch.full((1, 2), x), descriptor[None])


def loss_of(
    first: torch.Tensor,
    second: torch.Tensor,
    points: Correspondences,
    inverse_temperature: float,
    in_second: Distractors | None = None,
) -> tuple[float, float]:
    none = Distractors(torch.zeros(0, dtype=torch.long), torch.zeros(0, 2), first[:0])
    temperature = torch.tensor(inverse_temperature)
    loss, accuracy = descriptor_loss(first, second, points, (none, in_second or none), temperature, radius=8.0)
    return float(loss), float(accuracy)


def test_descriptor_loss_known_answers() -> None:
    unit, same = torch.eye(6), torch.ones(6, 4) / 2
    assert loss_of(unit, unit, points_of(6, 50), 100.0) == pytest.approx((0, 1), abs=1e-5)
    assert loss_of(same, same, points_of(6, 50), 10.0)[0] == pytest.approx(math.log(6), abs=1e-5)
    loss, accuracy = loss_of(unit, unit.roll(1, 0), points_of(6, 50), 10.0)
    assert loss > 9 and accuracy == 0


def test_near_neighbours_are_no_negatives() -> None:
    same = torch.ones(6, 4) / 2
    assert loss_of(same, same, points_of(6, 1), 10.0)[0] == pytest.approx(0, abs=1e-5)
    other_pairs = Correspondences(torch.arange(6), points_of(6, 1).first, points_of(6, 1).second)
    assert loss_of(same, same, other_pairs, 10.0)[0] == pytest.approx(math.log(6), abs=1e-5)


@pytest.mark.parametrize(
    ("pair", "x", "negatives_of_first"),
    [(0, 25.0, [7, 7, 7, 7, 7, 7]), (0, 48.0, [7, 6, 7, 7, 7, 7]), (1, 48.0, [7, 7, 7, 7, 7, 7])],
)
def test_distractors_are_negatives_unless_they_lie_at_the_right_place(
    pair: int, x: float, negatives_of_first: list[int]
) -> None:
    same = torch.ones(6, 4) / 2
    loss, _ = loss_of(same, same, points_of(6, 50), 10.0, distractors(pair, x, same[0]))
    forward = sum(math.log(count) for count in negatives_of_first) / 6
    assert loss == pytest.approx((forward + math.log(6)) / 2, abs=1e-5)

"""A training step on a GPU waits for nothing but the number of its points, and moves no point by rounding it, as far as
that shows without one.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from host_guard import OnMetaDevice, WithoutLiterals, WithoutMatrixProducts

from superpoint_ros.superpoint import SuperPointConfig
from superpoint_ros.superpoint.network import SuperPointNetwork
from superpoint_ros.training import dataset
from superpoint_ros.training.configuration import LossWeights
from superpoint_ros.training.dataset import PairBatch, PairOptions, make_pairs
from superpoint_ros.training.labels import AdaptationOptions, adapt, corner_response
from superpoint_ros.training.losses import Correspondences, detect_in_both
from superpoint_ros.training.objectives import pair_losses, weighted_sum
from superpoint_ros.training.points import PointList

# What random functions take on the meta device, and the device that they are asked for.
GENERATOR = SimpleNamespace(device=torch.device("meta"))


@pytest.fixture(autouse=True)
def random_numbers_on_the_meta_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rand", "randn", "randint"):
        original = getattr(torch, name)

        def draw(*arguments, original=original, generator=None, **options):
            return original(*arguments, **options)

        monkeypatch.setattr(torch, name, draw)


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def point_list(count: int) -> PointList:
    return PointList(empty(count, dtype=torch.long), empty(count, 2))


def test_views_labels_and_photometric_changes_wait_for_counts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []

    def count(points: torch.Tensor) -> PointList:
        counted.append("points")
        return point_list(7)

    def correspond(*_: object) -> Correspondences:
        counted.append("correspondences")
        return Correspondences(empty(9, dtype=torch.long), empty(9, 2), empty(9, 2))

    monkeypatch.setattr(dataset, "list_points", count)
    monkeypatch.setattr(dataset, "_correspondences", correspond)
    with OnMetaDevice(), WithoutLiterals(), WithoutMatrixProducts():
        batch = make_pairs(empty(2, 96, 128, dtype=torch.uint8), empty(2, 40, 3), (64, 96), PairOptions(), GENERATOR)
    assert batch.images.shape == (4, 1, 64, 96)
    assert counted == ["correspondences", "points", "points", "points"]


@pytest.mark.parametrize("descriptor", [1.0, 0.0])
def test_losses_and_their_gradients_do_not_wait(descriptor: float) -> None:
    network = SuperPointNetwork(
        SuperPointConfig(encoder_hidden_sizes=(8, 8, 8, 8), decoder_hidden_size=8, descriptor_decoder_dim=8)
    ).to("meta")
    points = Correspondences(empty(9, dtype=torch.long), empty(9, 2), empty(9, 2))
    views = point_list(30), point_list(30), point_list(50)
    batch = PairBatch(empty(4, 1, 64, 96), empty(4, 40, 2), *views, empty(2, 3, 3), points)
    weights = LossWeights(reprojection=1.0, reliability=1.0, descriptor=descriptor)
    with OnMetaDevice(), WithoutLiterals():
        losses = pair_losses(network(batch.images), batch, weights, "cell_centers", empty(), GENERATOR)
        weighted_sum(losses, weights).backward()
    without = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert without == (set() if descriptor else {name for name in network.state_dict() if "descriptor_decoder" in name})
    assert all(loss.shape == () for loss in losses.values())


def test_positions_of_detections_are_not_rounded() -> None:
    points = Correspondences(empty(9, dtype=torch.long), empty(9, 2), empty(9, 2))
    with OnMetaDevice(), WithoutLiterals(), WithoutMatrixProducts():
        found = detect_in_both(empty(4, 64, 96), points, empty(2, 3, 3))
    assert found.errors.shape == (9, 4)


def test_labels_are_made_without_waiting() -> None:
    with OnMetaDevice(), WithoutLiterals(), WithoutMatrixProducts():
        labels = adapt(empty(2, 1, 96, 128), corner_response, AdaptationOptions(views=2, points_per_view=50), GENERATOR)
    assert labels.shape == (2, 400, 3)

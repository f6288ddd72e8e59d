import cv2
import numpy as np
import pytest
import torch

from superpoint_ros.superpoint import SuperPointConfig, SuperPointNetwork
from superpoint_ros.training.labels import (
    AdaptationOptions,
    adapt,
    corner_response,
    network_score_map,
    splat,
    strongest_points,
)


def squares() -> tuple[torch.Tensor, np.ndarray]:
    """Bright squares with corners at known places; the corner of filled pixels a..b lies at a - 0.5, b + 0.5."""
    image = np.full((96, 128), 60, np.uint8)
    corners = []
    for left, top, side in ((20, 20, 24), (70, 15, 30), (30, 60, 20), (80, 62, 22)):
        cv2.rectangle(image, (left, top), (left + side - 1, top + side - 1), 200, -1)
        edges = (left - 0.5, left + side - 0.5), (top - 0.5, top + side - 0.5)
        corners += [(x, y) for x in edges[0] for y in edges[1]]
    return torch.from_numpy(image)[None, None].float() / 255, np.array(corners)


def test_corner_response_peaks_at_corners_only() -> None:
    image, corners = squares()
    points, values = strongest_points(corner_response(image), radius=4, count=16)
    distances = np.linalg.norm(points[0].numpy()[:, None] - corners[None], axis=2)
    assert float(values[0, -1]) > 1e-4
    assert sorted(distances.argmin(1).tolist()) == list(range(16))
    assert distances.min(1).max() < 2.1  # smoothing moves the response inside a corner, by 1.4 px along each axis


def test_adapted_labels_land_on_corners() -> None:
    image, corners = squares()
    options = AdaptationOptions(views=8, max_points=40, min_share=0.03)
    labels = adapt(image, corner_response, options, torch.Generator().manual_seed(0))[0]
    found = labels[labels[:, 2] > 0].numpy()
    distances = np.linalg.norm(found[:, None, :2] - corners[None], axis=2)
    assert len(found) == len(corners)
    assert distances.min(1).max() < 2.6
    assert distances.min(1).std() < 0.2
    assert (np.diff(found[:, 2]) <= 0).all()


def test_flat_image_has_no_labels() -> None:
    labels = adapt(
        torch.full((2, 1, 64, 64), 0.5), corner_response, AdaptationOptions(views=3), torch.Generator().manual_seed(0)
    )
    assert (labels[..., 2] == 0).all()
    assert torch.isinf(labels[..., :2]).all()


def test_quadratic_refinement_finds_the_vertex() -> None:
    rows, columns = np.mgrid[:40, :40]
    scores = 10 - 0.05 * ((columns - 20.3) ** 2 + (rows - 15.8) ** 2)
    points, _ = strongest_points(torch.from_numpy(scores.clip(0))[None].float(), radius=4, count=1)
    np.testing.assert_allclose(points[0, 0].numpy(), [20.3, 15.8], atol=1e-3)


def test_splat_conserves_mass_and_centre() -> None:
    points = torch.tensor([[[3.25, 4.5], [torch.inf, torch.inf]]])
    image = splat(points, torch.tensor([[2.0, 5.0]]), (10, 12))[0]
    columns, rows = torch.arange(12.0), torch.arange(10.0)
    assert float(image.sum()) == pytest.approx(2.0)
    assert float((image.sum(0) * columns).sum() / 2) == pytest.approx(3.25)
    assert float((image.sum(1) * rows).sum() / 2) == pytest.approx(4.5)


def test_a_network_can_be_the_detector() -> None:
    torch.manual_seed(0)
    network = SuperPointNetwork(SuperPointConfig()).eval()
    image, _ = squares()
    scores = network_score_map(network)(image.expand(9, -1, -1, -1))  # more than go through the network together
    assert scores.shape == (9, 96, 128)
    np.testing.assert_allclose(scores[8], scores[0], atol=1e-6)
    labels = adapt(
        image,
        network_score_map(network),
        AdaptationOptions(views=2, max_points=10, floor=0.0, min_share=0.0),
        torch.Generator().manual_seed(0),
    )
    assert torch.isfinite(labels[0, 0]).all()

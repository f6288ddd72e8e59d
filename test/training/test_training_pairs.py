import dataclasses

import numpy as np
import pytest
import torch

from superpoint_ros.training.dataset import CropStore, PairOptions, thin_out
from superpoint_ros.training.homographies import HomographyRange
from superpoint_ros.training.labels import AdaptationOptions, corner_response, label_crops, snap_to_maxima
from superpoint_ros.training.photometric import PhotometricRange, augment, motion_blur
from superpoint_ros.training.synthetic_shapes import SyntheticShapes

UNCHANGED = PhotometricRange(blur=0, motion_blur=0, gamma=0, gain=0, bias=0, shading=0, noise=0)


def pairs(seed: int, options: PairOptions):
    shapes = SyntheticShapes((144, 192), torch.device("cpu"))
    return shapes.sample(6, (96, 128), options, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed", range(3))
def test_corresponding_points_look_alike(seed: int) -> None:
    """The views differ by geometry only, so blurred gray values at corresponding points agree."""
    gentle = HomographyRange(scale=(0.9, 1.1), rotation=30.0, perspective=0.1, translation=0.1)
    batch = pairs(seed, PairOptions(between=gentle, photometric=UNCHANGED, correspondences=60))
    blurred = torch.nn.functional.avg_pool2d(batch.images, 5, stride=1, padding=2)[:, 0]

    points = batch.correspondences

    def values(images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        column, row = places.round().long().unbind(1)
        return images[points.pair, row, column]

    interior = ((points.first > 8) & (points.second > 8)).all(1)
    interior &= ((points.first < torch.tensor([119, 87])) & (points.second < torch.tensor([119, 87]))).all(1)
    difference = (values(blurred[:6], points.first) - values(blurred[6:], points.second)).abs()[interior]
    shuffled = (values(blurred[:6], points.first) - values(blurred[6:], points.second.flip(0))).abs()[interior]
    assert interior.sum() > 50
    assert difference.median() < 0.03
    assert difference.mean() < 0.5 * shuffled.mean()


def test_pairs_repeat_for_a_seed_and_stay_in_range() -> None:
    first, second = pairs(1, PairOptions()), pairs(1, PairOptions())
    assert torch.equal(first.images, second.images) and torch.equal(first.labels, second.labels)
    assert float(first.images.min()) >= 0 and float(first.images.max()) <= 1
    assert not torch.equal(first.images, pairs(2, PairOptions()).images)


def test_a_batch_names_all_its_tensors() -> None:
    """What is missing would be overwritten on a GPU while it is read."""
    batch = pairs(1, PairOptions())

    def leaves(value: object) -> list[torch.Tensor]:
        if isinstance(value, torch.Tensor):
            return [value]
        return [tensor for field in dataclasses.fields(value) for tensor in leaves(getattr(value, field.name))]

    assert {id(tensor) for tensor in batch.tensors()} == {id(tensor) for tensor in leaves(batch)}


def test_labels_of_both_views_are_the_same_corners() -> None:
    """Snapped labels lie on peaks of the view they belong to, also after warping."""
    options = PairOptions(photometric=UNCHANGED, snap_radius=3)
    batch = pairs(5, options)
    responses = corner_response(batch.images, options.snap_sigma)
    peaks = snap_to_maxima(batch.labels, responses, radius=1)
    finite = torch.isfinite(batch.labels).all(-1)
    moved = (peaks - batch.labels).norm(dim=-1)[finite]
    assert finite.sum() > 30
    assert moved.median() < 0.05


def test_thin_out_keeps_the_earlier_of_two_near_points() -> None:
    points = torch.tensor([[[10.0, 10.0], [12.0, 13.0], [30.0, 10.0], [torch.inf, torch.inf], [35.0, 10.0]]])
    kept = torch.isfinite(thin_out(points, 4.0)).all(-1)
    assert kept.tolist() == [[True, False, True, False, True]]


def test_thin_out_looks_at_the_larger_of_the_two_distances() -> None:
    points = torch.rand(3, 200, 2, generator=torch.Generator().manual_seed(0)) * 80
    points[:, ::2].round_()  # so that some distances are just 4
    points[:, 5::7] = torch.inf
    finite = torch.isfinite(points).all(-1)
    plain = torch.where(finite[..., None], points, -1e6)
    near = (torch.cdist(plain, plain, p=torch.inf) <= 4) & finite[:, None]
    expected = finite & ~near.tril(-1).any(-1)
    assert torch.equal(torch.isfinite(thin_out(points, 4.0)).all(-1), expected)
    assert 0 < expected.sum() < finite.sum()


def test_store_rejects_labels_of_other_crops(tmp_path) -> None:
    np.save(tmp_path / "crops.npy", np.zeros((3, 32, 32), np.uint8))
    np.save(tmp_path / "labels.npy", np.zeros((2, 5, 3), np.float32))
    with pytest.raises(ValueError, match=r"labels\.npy: labels of 2 crops.*3"):
        CropStore(tmp_path / "crops.npy", tmp_path / "labels.npy", torch.device("cpu"))


def test_labels_are_made_in_batches_of_any_size() -> None:
    crops = torch.zeros(5, 48, 48, dtype=torch.uint8)
    crops[:, 16:32, 16:32] = 200
    labels = label_crops(crops, corner_response, AdaptationOptions(views=4), 0, torch.device("cpu"), batch=2)
    assert labels.shape == (5, 400, 3)
    assert ((labels[..., 2] > 0).sum(1) == 4).all()


def test_no_change_is_no_change() -> None:
    images = torch.rand(2, 1, 24, 32)
    torch.testing.assert_close(augment(images, UNCHANGED, torch.Generator().manual_seed(0)), images)


def test_motion_blur_runs_along_its_angle() -> None:
    image = torch.zeros(1, 1, 21, 21)
    image[..., 10, 10] = 1
    blurred = motion_blur(image, torch.tensor([7.0]), torch.tensor([0.0]), bound=7.0)[0, 0]
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-5)
    assert float(blurred[10].sum()) == pytest.approx(1, abs=1e-5)
    assert int((blurred[10] > 0.05).sum()) == 7

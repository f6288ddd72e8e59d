import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from superpoint_ros.training.homographies import (
    HomographyRange,
    centred,
    gaussian_blur,
    keep_inside,
    magnification,
    sample_homographies,
    warp_antialiased,
    warp_images,
    warp_points,
)

RANGES = HomographyRange(scale=(0.6, 1.5), rotation=45.0, perspective=0.2, translation=0.1)


def draw(seed: int, size: tuple[int, int] = (60, 80), count: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return centred(sample_homographies(count, size, RANGES, generator), size, size)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_points_agree_with_opencv_and_return(seed: int) -> None:
    homography = draw(seed)
    points = torch.rand(1, 50, 2, generator=torch.Generator().manual_seed(seed)) * torch.tensor([79.0, 59.0])
    mapped = warp_points(points, homography)
    expected = cv2.perspectiveTransform(points.numpy(), homography[0].double().numpy())
    np.testing.assert_allclose(mapped.numpy(), expected, atol=2e-3)
    torch.testing.assert_close(warp_points(mapped, torch.linalg.inv(homography)), points, atol=5e-3, rtol=0)


@pytest.mark.parametrize("seed", range(4))
def test_images_agree_with_opencv(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.random((60, 80), np.float32), (0, 0), 2.0)
    homography = draw(seed)
    view = warp_images(torch.from_numpy(image)[None, None], homography, (60, 80))[0, 0].numpy()
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    expected = cv2.warpPerspective(image, homography[0].double().numpy(), (80, 60), flags=flags)
    inside = cv2.erode((expected > 0).astype(np.uint8), np.ones((3, 3))) > 0
    assert inside.sum() > 500
    assert np.abs(view - expected)[inside].max() < 0.02


def test_points_behind_the_horizon_are_infinite() -> None:
    homography = torch.eye(3)[None].clone()
    homography[0, 2] = torch.tensor([-0.1, 0.0, 1.0])
    mapped = warp_points(torch.tensor([[[5.0, 5.0], [20.0, 5.0]]]), homography)
    assert torch.isfinite(mapped[0, 0]).all()
    assert torch.isinf(mapped[0, 1]).all()


def test_draws_stay_in_range_and_repeat() -> None:
    first, second = draw(3, count=200), draw(3, count=200)
    assert torch.equal(first, second)
    span = magnification(first, (60, 80))
    assert float(span.min()) >= 1 / 1.5 - 1e-3 and float(span.max()) <= 1 / 0.6 + 0.02


def test_blur_is_per_image_and_keeps_the_mean() -> None:
    images = torch.zeros(2, 1, 41, 41)
    images[:, :, 20, 20] = 1
    blurred = gaussian_blur(images, torch.tensor([0.0, 2.0]), bound=2.0)
    torch.testing.assert_close(blurred[0], images[0])
    offsets = torch.arange(-20.0, 21.0)
    variance = (blurred[1, 0].sum(0) * offsets**2).sum()
    assert float(blurred[1].sum()) == pytest.approx(1, abs=1e-5)
    assert float(variance) == pytest.approx(4, rel=0.05)


def test_shrinking_is_antialiased() -> None:
    stripes = (torch.arange(160) % 2).float().expand(1, 1, 120, 160)
    shrink = torch.diag(torch.tensor([3.0, 3.0, 1.0]))[None]
    plain = warp_images(stripes, shrink, (40, 50))
    smooth = warp_antialiased(stripes, shrink, (40, 50))
    assert float(plain.std()) > 0.4
    assert float(smooth[..., 3:-3, 3:-3].std()) < 0.05


def test_keep_inside_marks_points_near_the_border() -> None:
    points = torch.tensor([[3.9, 10.0], [4.0, 10.0], [15.0, 10.1], [15.0, 5.0]])
    kept = torch.isfinite(keep_inside(points, (15, 20), 4.0)).all(-1)
    assert kept.tolist() == [False, True, False, True]

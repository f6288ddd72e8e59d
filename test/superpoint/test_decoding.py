"""Keypoints from score maps with known answers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from superpoint_ros.superpoint import DetectionOptions, NetworkOutput
from superpoint_ros.superpoint.decoding import decode, non_maximum_suppression, sample_descriptors, score_map

DIMENSION = 16


def output_for(scores: torch.Tensor) -> NetworkOutput:
    """Return the network output whose score map is `scores`, (B, 8h, 8w), with random descriptors."""
    probabilities = functional.pixel_unshuffle(scores[:, None], 8)
    dustbin = 1 - probabilities.sum(1, keepdim=True)
    logits = torch.cat((probabilities, dustbin), dim=1).clamp(min=1e-9).log()
    generator = torch.Generator().manual_seed(0)
    return NetworkOutput(logits, torch.randn(len(scores), DIMENSION, *logits.shape[2:], generator=generator))


def decode_points(
    points: dict[tuple[int, int], float], size: tuple[int, int], **options
) -> dict[tuple[int, int], float]:
    """Decode a map that is zero but for `points`, {(x, y): score}."""
    height, width = size
    scores = torch.zeros(1, math.ceil(height / 8) * 8, math.ceil(width / 8) * 8)
    for (x, y), score in points.items():
        scores[0, y, x] = score
    found = decode(output_for(scores), DetectionOptions(**options), "cell_centers", size)
    return {(int(x), int(y)): float(s) for (x, y), s in zip(found.keypoints.tolist(), found.scores)}


def test_score_map_puts_every_channel_on_its_pixel() -> None:
    logits = torch.full((1, 65, 2, 3), -20.0)
    logits[0, 8 * 5 + 3, 1, 2] = 20.0
    scores = score_map(logits)
    assert scores.shape == (1, 16, 24)
    assert torch.nonzero(scores > 0.5).tolist() == [[0, 8 + 5, 16 + 3]]


@pytest.mark.parametrize("border", [0, 1, 4, 7])
@pytest.mark.parametrize("size", [(48, 64), (45, 61), (41, 57)])
def test_borders_are_symmetric_also_at_odd_sizes(border: int, size: tuple[int, int]) -> None:
    height, width = size
    inside = [(border, 20), (width - 1 - border, 20), (30, border), (30, height - 1 - border)]
    outside = [(border - 1, 30), (width - border, 30), (20, border - 1), (20, height - border)]
    shown = [(x, y) for x, y in outside if 0 <= x < math.ceil(width / 8) * 8 and 0 <= y < math.ceil(height / 8) * 8]
    points = {point: 0.5 for point in inside + shown}
    assert set(decode_points(points, size, border=border, nms_radius=1)) == set(inside)


@pytest.mark.parametrize(("limit", "expected"), [(-1, 5), (0, 0), (1, 1), (3, 3), (5, 5), (1000, 5)])
def test_max_keypoints_keeps_the_best_first(limit: int, expected: int) -> None:
    points = {(10 * index + 8, 20): score for index, score in enumerate((0.3, 0.7, 0.5, 0.9, 0.1))}
    found = decode_points(points, (40, 64), max_keypoints=limit)
    best = sorted(points, key=points.__getitem__, reverse=True)[:expected]
    assert list(found) == best


def test_no_keypoints_give_empty_tensors_of_the_right_shape() -> None:
    found = decode(output_for(torch.zeros(2, 16, 16)), DetectionOptions(), "cell_centers", (16, 16))
    assert found.counts.tolist() == [0, 0]
    assert found.keypoints.shape == (0, 2)
    assert found.descriptors.shape == (0, DIMENSION)


@pytest.mark.parametrize("row_major", [True, False])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), limit=st.integers(-1, 12), batch=st.integers(1, 4))
def test_a_batch_decodes_like_its_images_one_by_one(seed: int, limit: int, batch: int, row_major: bool) -> None:
    scores = torch.rand(batch, 32, 40, generator=torch.Generator().manual_seed(seed)) ** 8 / 65
    scores[seed % batch] *= seed % 2  # some images without any keypoint
    raw = output_for(scores)
    options = DetectionOptions(threshold=0.003, max_keypoints=limit, border=2, nms_radius=2, subpixel="soft_argmax")
    together = decode(raw, options, "cell_centers", (30, 39), row_major)
    start = 0
    for index, count in enumerate(together.counts.tolist()):
        one = NetworkOutput(raw.keypoint_logits[index, None], raw.descriptor_map[index, None])
        alone = decode(one, options, "cell_centers", (30, 39), row_major)
        for name in ("keypoints", "scores", "descriptors"):
            torch.testing.assert_close(getattr(together, name)[start : start + count], getattr(alone, name))
        start += count
    assert start == len(together.scores)


def reference_suppression(scores: np.ndarray, radius: int) -> np.ndarray:
    """Maxima, then twice the maxima of what no maximum suppresses, pixel by pixel."""

    def windows(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values, radius, constant_values=-np.inf)
        shape = (2 * radius + 1, 2 * radius + 1)
        return np.lib.stride_tricks.sliding_window_view(padded, shape).max((2, 3))

    peaks = scores == windows(scores)
    for _ in range(2):
        suppressed = windows(peaks.astype(float)) > 0
        rest = np.where(suppressed, 0, scores)
        peaks |= (rest == windows(rest)) & ~suppressed
    return np.where(peaks, scores, 0)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), radius=st.integers(1, 8), threshold=st.sampled_from([0.0, 0.3, 0.9]))
def test_suppression_agrees_with_the_reference_and_the_threshold_changes_nothing(seed, radius, threshold) -> None:
    scores = np.random.default_rng(seed).random((2, 33, 29), np.float32) + np.float32(1e-3)
    found = non_maximum_suppression(torch.from_numpy(scores), radius, threshold).numpy()
    for is_peak, one in zip(found, scores):
        np.testing.assert_array_equal(is_peak, reference_suppression(one, radius) > threshold)


def test_suppression_of_radius_zero_keeps_all() -> None:
    assert non_maximum_suppression(torch.rand(1, 8, 8) + 0.1, 0, 0.1).all()


def gaussian_peak(center: tuple[float, float], sigma: float) -> torch.Tensor:
    x, y = torch.arange(64.0), torch.arange(48.0)[:, None]
    return 0.02 * torch.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / (2 * sigma**2))[None]


@pytest.mark.parametrize(("method", "sigma", "tolerance"), [("quadratic", 1.5, 2e-3), ("soft_argmax", 0.6, 2e-2)])
@settings(max_examples=40, deadline=None)
@given(dx=st.floats(-0.49, 0.49), dy=st.floats(-0.49, 0.49))
def test_subpixel_methods_find_the_centre_of_a_gaussian(method, sigma, tolerance, dx, dy) -> None:
    center = (30 + dx, 20 + dy)
    options = DetectionOptions(threshold=0.001, max_keypoints=1, subpixel=method)
    found = decode(output_for(gaussian_peak(center, sigma)), options, "cell_centers", (48, 64))
    np.testing.assert_allclose(found.keypoints[0].numpy(), center, atol=tolerance)


@pytest.mark.parametrize("method", ["quadratic", "soft_argmax"])
def test_subpixel_offsets_stay_finite_in_corners_of_the_map(method: str) -> None:
    scores = torch.zeros(1, 16, 16)
    scores[0, [0, 0, 15, 15], [0, 15, 0, 15]] = 0.5
    found = decode(output_for(scores), DetectionOptions(border=0, subpixel=method), "cell_centers", (16, 16))
    assert found.counts.tolist() == [4]
    np.testing.assert_allclose(sorted(found.keypoints.tolist()), [[0, 0], [0, 15], [15, 0], [15, 15]], atol=0.5)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (6, 1), (6, 9)])
def test_descriptors_at_cell_centres_are_those_of_the_cells(size: tuple[int, int]) -> None:
    height, width = size
    descriptor_map = torch.randn(1, DIMENSION, height, width)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centers = torch.stack((columns.flatten(), rows.flatten()), dim=1) * 8 + 3.5
    sampled = sample_descriptors(descriptor_map, torch.zeros(len(centers), dtype=torch.long), centers, "cell_centers")
    cells = functional.normalize(descriptor_map, dim=1)[0].flatten(1).T
    torch.testing.assert_close(sampled, cells)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_descriptors_on_the_cell_grid_are_those_of_grid_sample(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    descriptor_map = torch.randn(2, DIMENSION, 5, 7, generator=generator)
    keypoints = torch.rand(30, 2, generator=generator) * torch.tensor([7 * 8 - 1.0, 5 * 8 - 1.0])
    image = torch.randint(0, 2, (30,), generator=generator).sort().values
    ours = sample_descriptors(descriptor_map, image, keypoints, "cell_centers")
    normalised = functional.normalize(descriptor_map, dim=1)
    for index in range(2):
        points = (keypoints[image == index] + 0.5) / torch.tensor([7 * 8.0, 5 * 8.0]) * 2 - 1
        sampled = functional.grid_sample(
            normalised[index, None], points[None, None], padding_mode="border", align_corners=False
        )
        expected = functional.normalize(sampled[0, :, 0].T, dim=1)
        torch.testing.assert_close(ours[image == index], expected, atol=1e-5, rtol=0)

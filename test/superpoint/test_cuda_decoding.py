"""The decoding for CUDA graphs, on CPU tensors: the same keypoints as the other, and no word to the host."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from host_guard import OnMetaDevice, WithoutLiterals
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from superpoint_ros.superpoint import DetectionOptions, NetworkOutput
from superpoint_ros.superpoint.cuda_decoding import decode_fixed, suppress
from superpoint_ros.superpoint.decoding import Detections, decode, non_maximum_suppression, rescale

DIMENSION = 16


def random_output(scores: torch.Tensor) -> NetworkOutput:
    probabilities = functional.pixel_unshuffle(scores[:, None], 8)
    logits = torch.cat((probabilities, 1 - probabilities.sum(1, keepdim=True)), dim=1).clamp(min=1e-9).log()
    generator = torch.Generator().manual_seed(0)
    return NetworkOutput(logits, torch.randn(len(scores), DIMENSION, *logits.shape[2:], generator=generator))


def decode_in_fixed_shape(output, options, size, image_size, masks=None, grid="cell_centers") -> Detections:
    """Return the rows that hold keypoints in the form of `decode`."""
    threshold, border = torch.tensor([options.threshold, options.border], dtype=torch.float32)
    shape = replace(options, threshold=0.9, border=99)  # must not be read
    found = decode_fixed(output, shape, threshold, border, grid, size, image_size, masks)
    valid = found.scores > 0
    assert (found.scores.diff(dim=1) <= 0).all()
    assert all(torch.isfinite(part).all() for part in found)
    return Detections(valid.sum(1), found.keypoints[valid], found.scores[valid], found.descriptors[valid])


@settings(max_examples=100)
@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(1, 3),
    size=st.sampled_from([(32, 40), (30, 39), (8, 8), (9, 47)]),
    image_size=st.sampled_from([None, (61, 77), (17, 23)]),
    masked=st.booleans(),
    grid=st.sampled_from(["cell_centers", "magicleap"]),
    options=st.builds(
        DetectionOptions,
        threshold=st.sampled_from([0.0, 0.003, 0.01]),
        nms_radius=st.integers(0, 5),
        max_keypoints=st.sampled_from([1, 5, 40, 5000]),
        border=st.sampled_from([0, 1, 4, 30]),
        subpixel=st.sampled_from(["none", "quadratic", "soft_argmax"]),
    ),
)
def test_it_finds_what_the_other_decoding_finds(seed, batch, size, image_size, masked, grid, options) -> None:
    generator = torch.Generator().manual_seed(seed)
    padded = [-(-side // 8) * 8 for side in size]
    levels = torch.logspace(-6, -1.9, padded[0] * padded[1])  # no two scores are equal
    scores = torch.stack([levels[torch.randperm(len(levels), generator=generator)].view(*padded) for _ in range(batch)])
    scores[seed % batch] *= 0.01 if seed % 2 else 1.0  # some images without a keypoint above most thresholds
    output = random_output(scores)
    image_size = image_size or size
    masks = torch.rand(batch, *image_size, generator=generator) < 0.5 if masked else None

    expected = decode(output, options, grid, size, masks=masks)
    found = decode_in_fixed_shape(
        output, options, size, image_size, None if masks is None else masks.to(torch.uint8) * 3, grid
    )
    torch.testing.assert_close(found.counts, expected.counts)
    torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=0)
    torch.testing.assert_close(found.keypoints, rescale(expected.keypoints, size, image_size), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.descriptors, expected.descriptors, rtol=0, atol=1e-6)


@settings(max_examples=60)
@given(seed=st.integers(0, 10**6), radius=st.integers(0, 6), levels=st.sampled_from([2, 5, 1000]))
def test_suppression_is_the_same_also_among_equal_scores(seed, radius, levels) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, levels, (2, 33, 29), generator=generator) / levels
    expected = non_maximum_suppression(scores, radius, 0.3)
    assert torch.equal(suppress(scores, radius, torch.tensor(0.3)), expected)


def test_of_equal_scores_as_many_are_kept() -> None:
    scores = torch.zeros(1, 32, 32)
    scores[0, 4::8, 4::8] = 0.01
    options = DetectionOptions(max_keypoints=7)
    assert decode_in_fixed_shape(random_output(scores), options, (32, 32), (32, 32)).counts.tolist() == [7]


def test_without_any_score_everything_is_finite() -> None:
    logits = torch.full((1, 65, 4, 5), -200.0)
    logits[:, 64] = 200.0  # softmax underflows to zero in whole windows
    output = NetworkOutput(logits, torch.ones(1, DIMENSION, 4, 5))
    options = DetectionOptions(threshold=0.0, subpixel="soft_argmax")
    assert len(decode_in_fixed_shape(output, options, (32, 40), (32, 40)).scores) == 0


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("subpixel", ["none", "quadratic", "soft_argmax"])
@pytest.mark.parametrize("grid", ["cell_centers", "magicleap"])
def test_nothing_passes_between_host_and_device(masked, subpixel, grid) -> None:
    def empty(*shape: int, dtype: torch.dtype = torch.float16) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    output = NetworkOutput(empty(2, 65, 8, 9), empty(2, DIMENSION, 8, 9))
    masks = empty(2, 100, 120, dtype=torch.uint8) if masked else None
    options = DetectionOptions(max_keypoints=50, subpixel=subpixel)
    threshold, border = empty(2, dtype=torch.float32).unbind()
    with OnMetaDevice(), WithoutLiterals():
        found = decode_fixed(output, options, threshold, border, grid, (60, 70), (100, 120), masks)
    assert [tuple(part.shape) for part in found] == [(2, 50, 2), (2, 50), (2, 50, DIMENSION)]


@pytest.mark.parametrize(
    "passes",
    [
        lambda values: values.new_tensor([1.0, 2.0]) + values,
        lambda values: values + torch.ones(2),
        lambda values: values.nonzero(),
        lambda values: float(values[0]),
    ],
)
def test_the_guard_notices_what_passes(passes) -> None:
    with OnMetaDevice(), WithoutLiterals(), pytest.raises((AssertionError, RuntimeError)):
        passes(torch.empty(2, device="meta"))

"""Mutual nearest neighbours against a plain search and cases with known answers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from superpoint_ros.geometry import Matches, ModelMismatchError, match_descriptors, tensor_matching
from superpoint_ros.geometry.similarity import Extremes

Convert = Callable[[np.ndarray], Any]


def unit_vectors(seed: int, count: int, size: int = 16) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def quantized(descriptors: np.ndarray) -> np.ndarray:
    return np.rint(127 * descriptors).astype(np.int8)


def angles_to_unit(*degrees: float) -> np.ndarray:
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def pairs(matches: Matches) -> list[tuple[int, int]]:
    return [tuple(pair) for pair in matches.indices.tolist()]


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
@given(
    seed=st.integers(0, 2**32 - 1),
    count0=st.integers(0, 40),
    count1=st.integers(0, 40),
    share=st.sampled_from([None, 0.0, 0.1, 0.7]),
)
def test_equals_a_plain_search(convert: Convert, seed: int, count0: int, count1: int, share: float | None) -> None:
    first, second = unit_vectors(seed, count0), unit_vectors(seed + 1, count1)
    distances = np.linalg.norm(first[:, None].astype(float) - second[None], axis=2)
    candidates = None
    if share is not None:
        candidates = np.random.default_rng(seed).random((count0, count1)) < share
        distances[~candidates] = np.inf
    expected = [
        (i, j)
        for i in range(count0)
        for j in range(count1)
        if distances[i, j] == distances[i].min() == distances[:, j].min() < np.inf
    ]
    matches = match_descriptors(convert(first), convert(second), candidates=candidates)
    assert pairs(matches) == expected
    np.testing.assert_allclose(matches.distances, [distances[i, j] for i, j in expected], atol=1e-3)


@given(
    seed=st.integers(0, 2**32 - 1),
    limits=st.fixed_dictionaries(
        {"max_ratio": st.none() | st.floats(0, 1), "max_distance": st.none() | st.floats(0, 2)}
    ),
    is_int8=st.booleans(),
    guided=st.booleans(),
)
def test_tensors_give_what_arrays_give(seed: int, limits: dict, is_int8: bool, guided: bool) -> None:
    first, second = unit_vectors(seed, 30), unit_vectors(seed + 1, 40)
    second[:20] = first[:20] + 0.5 * second[:20]
    second /= np.linalg.norm(second, axis=1, keepdims=True)
    if is_int8:
        first, second = quantized(first), quantized(second)
    candidates = np.random.default_rng(seed).random((30, 40)) < 0.8 if guided else None
    expected = match_descriptors(first, second, candidates=candidates, **limits)
    mask = torch.from_numpy(candidates) if candidates is not None else None
    found = match_descriptors(torch.from_numpy(first), torch.from_numpy(second), candidates=mask, **limits)
    common = set(pairs(found)) & set(pairs(expected))
    at_the_limit = 1  # rounding may decide about a match
    assert len(common) >= max(len(found), len(expected)) - at_the_limit
    assert found.indices.dtype == np.int64 and found.distances.dtype == np.float32


@given(seed=st.integers(0, 2**32 - 1), guided=st.booleans())
def test_a_device_reduces_as_numpy_does(seed: int, guided: bool) -> None:
    generator = np.random.default_rng(seed)
    similarity = generator.uniform(-1, 1, (20, 30)).astype(np.float32)
    candidates = generator.random((20, 30)) < 0.1 if guided else None
    mask = torch.from_numpy(candidates) if candidates is not None else None
    found = tensor_matching.extremes_of_similarity(torch.from_numpy(similarity.copy()), mask, True)
    expected = Extremes.of_similarity(similarity, candidates, True)
    reachable = expected.best > -np.inf
    np.testing.assert_array_equal(found.best, expected.best)
    np.testing.assert_array_equal(found.best_column[reachable], expected.best_column[reachable])
    np.testing.assert_array_equal(found.best_of_column, expected.best_of_column)
    np.testing.assert_array_equal(found.second, expected.second)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("is_int8", [False, True])
def test_a_gpu_gives_what_the_cpu_gives(is_int8: bool) -> None:
    first, second = unit_vectors(0, 1000, 256), unit_vectors(1, 900, 256)
    if is_int8:
        first, second = quantized(first), quantized(second)
    found = match_descriptors(torch.from_numpy(first).cuda(), torch.from_numpy(second).cuda(), max_ratio=0.99)
    expected = match_descriptors(first, second, max_ratio=0.99)
    assert len(set(pairs(found)) & set(pairs(expected))) >= 0.99 * max(len(found), len(expected))


def test_descriptors_of_different_weights_are_refused() -> None:
    vectors = unit_vectors(0, 3)
    assert len(match_descriptors(vectors, vectors, models=("weights@1", "weights@1"))) == 3
    with pytest.raises(ModelMismatchError, match="'weights@1' and 'weights@2'"):
        match_descriptors(vectors, vectors, models=("weights@1", "weights@2"))


def test_an_error_does_not_repeat_names_of_any_length() -> None:
    vectors, names = unit_vectors(0, 3), ("x" * 1_000_000, "x" * 1_000_000 + "y")
    with pytest.raises(ModelMismatchError, match=r"'xxxx.* and 'xxxx") as caught:
        match_descriptors(vectors, vectors, models=names)
    assert len(str(caught.value)) < 300


@given(seed=st.integers(0, 2**32 - 1), is_int8=st.booleans())
def test_numpy_gives_what_torch_gives_for_arrays_of_any_layout(seed: int, is_int8: bool) -> None:
    first, second = unit_vectors(seed, 30), unit_vectors(seed + 1, 20)
    second[:10] = first[:10]
    if is_int8:
        first, second = quantized(first), quantized(second)
    first, second = np.frombuffer(first.tobytes(), first.dtype).reshape(first.shape), np.asfortranarray(second)
    found = match_descriptors(first, second[::-1])
    with mock.patch.dict(sys.modules, torch=None):
        expected = match_descriptors(first, second[::-1])
    chosen = match_descriptors(first, second[::-1], array_backend="numpy")
    assert pairs(found) == pairs(expected) == pairs(chosen)
    np.testing.assert_array_equal(chosen.distances, expected.distances)
    np.testing.assert_allclose(found.distances, expected.distances, atol=1e-3)


def test_arrays_are_matched_without_torch() -> None:
    code = """
import sys
sys.modules["torch"] = None
import numpy
from superpoint_ros.geometry import match_descriptors
assert len(match_descriptors(numpy.eye(3, dtype="float32"), numpy.eye(3, dtype="float32"))) == 3
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 60))
def test_a_permuted_set_is_matched_back_to_itself(seed: int, count: int) -> None:
    first = unit_vectors(seed, count)
    order = np.random.default_rng(seed).permutation(count)
    for descriptors in (first, quantized(first)):
        matches = match_descriptors(descriptors, descriptors[order])
        np.testing.assert_array_equal(order[matches.indices[:, 1]], matches.indices[:, 0])
        assert len(matches) == count


@given(seed=st.integers(0, 2**32 - 1))
def test_swapping_the_sets_swaps_the_pairs(seed: int) -> None:
    first, second = unit_vectors(seed, 30), unit_vectors(seed + 1, 20)
    assert sorted((j, i) for i, j in pairs(match_descriptors(second, first))) == pairs(match_descriptors(first, second))


def test_int8_gives_nearly_the_float_distances() -> None:
    first, second = unit_vectors(0, 200, 256), unit_vectors(1, 200, 256)
    second[:100] = first[:100] + 0.5 * second[:100]
    second /= np.linalg.norm(second, axis=1, keepdims=True)
    exact, rounded = match_descriptors(first, second), match_descriptors(quantized(first), quantized(second))
    assert pairs(exact)[:100] == pairs(rounded)[:100] == [(i, i) for i in range(100)]
    np.testing.assert_allclose(rounded.distances[:100], exact.distances[:100], atol=0.02)


def test_duplicates_are_used_once() -> None:
    first = angles_to_unit(0, 0, 90)
    matches = match_descriptors(first, angles_to_unit(90, 0))
    assert pairs(matches) == [(0, 1), (2, 0)]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, [(0, 0), (1, 2)]),
        ({"max_distance": 0.2}, [(0, 0)]),  # 10 degrees are 0.174 apart, 20 degrees 0.347
        ({"max_ratio": 0.9}, [(0, 0), (1, 2)]),
        ({"max_ratio": 0.6}, [(1, 2)]),  # nearest to second: 10 to 16 degrees, and 20 to 80
    ],
)
def test_limits(limits: dict[str, float], expected: list[tuple[int, int]]) -> None:
    first, second = angles_to_unit(0, 106), angles_to_unit(-10, 16, 126)
    assert pairs(match_descriptors(first, second, **limits)) == expected


def test_ratio_passes_where_there_is_no_second_candidate() -> None:
    matches = match_descriptors(angles_to_unit(0, 90), angles_to_unit(10), max_ratio=0.1)
    assert pairs(matches) == [(0, 0)]


@pytest.mark.parametrize("counts", [(0, 5), (5, 0), (0, 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.int8])
@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_nothing_to_match(counts: tuple[int, int], dtype: type, convert: Convert) -> None:
    first, second = (convert(np.zeros((count, 8), dtype)) for count in counts)
    matches = match_descriptors(first, second, max_ratio=0.8)
    assert matches.indices.shape == (0, 2)
    assert matches.distances.shape == (0,)


@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_what_has_no_rows_fits_any_type_and_size(convert: Convert) -> None:
    some, none = convert(quantized(unit_vectors(0, 5, 8))), convert(np.zeros((0, 0), np.float32))
    assert len(match_descriptors(some, none)) == len(match_descriptors(none, some)) == 0


@pytest.mark.parametrize(
    ("first", "second", "limits", "message"),
    [
        (unit_vectors(0, 3, 8), unit_vectors(0, 3, 16), {}, "8 and 16"),
        (unit_vectors(0, 3, 8), quantized(unit_vectors(0, 3, 8)), {}, "float32 and int8"),
        (unit_vectors(0, 3, 8).astype(np.float64), unit_vectors(0, 3, 8), {}, "float64"),
        (unit_vectors(0, 3, 8)[0], unit_vectors(0, 3, 8), {}, r"\(N, D\)"),
        (np.full((2, 8), np.nan, np.float32), unit_vectors(0, 3, 8), {}, "finite"),
        (torch.zeros(3, 8), torch.zeros(3, 16), {}, "8 and 16"),
        (torch.zeros(3, 8), torch.zeros(3, 8, dtype=torch.float16), {}, "float16"),
        (torch.full((2, 8), torch.nan), torch.zeros(3, 8), {}, "finite"),
        (torch.zeros(3, 8), unit_vectors(0, 3, 8), {}, "Tensor and ndarray"),
        (torch.zeros(3, 8), torch.zeros(3, 8, device="meta"), {}, "cpu and meta"),
        (unit_vectors(0, 3, 8), unit_vectors(0, 3, 8), {"candidates": np.ones((3, 2), bool)}, r"shape \(3, 3\)"),
        (unit_vectors(0, 3, 8), unit_vectors(0, 3, 8), {"candidates": np.ones((3, 3), np.uint8)}, "bool, got uint8"),
        (torch.zeros(3, 8), torch.zeros(3, 8), {"candidates": torch.ones(3, 3)}, "bool, got torch.float32"),
        (np.zeros((3, 0), np.float32), np.zeros((3, 0), np.float32), {}, "size 0"),
        (torch.zeros(3, 0), torch.zeros(3, 0), {}, "size 0"),
        (unit_vectors(0, 3, 8), unit_vectors(0, 3, 8), {"max_ratio": 1.5}, "max_ratio"),
        (unit_vectors(0, 3, 8), unit_vectors(0, 3, 8), {"max_distance": -1.0}, "max_distance"),
    ],
)
def test_what_does_not_fit_is_refused(first: np.ndarray, second: np.ndarray, limits: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        match_descriptors(first, second, **limits)

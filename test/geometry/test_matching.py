"""Mutual nearest neighbours against a plain search and cases with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpoint_ros.geometry import Matches, match_descriptors


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


@given(seed=st.integers(0, 2**32 - 1), count0=st.integers(0, 40), count1=st.integers(0, 40))
def test_equals_a_plain_search(seed: int, count0: int, count1: int) -> None:
    first, second = unit_vectors(seed, count0), unit_vectors(seed + 1, count1)
    distances = np.linalg.norm(first[:, None].astype(float) - second[None], axis=2)
    expected = [
        (i, j)
        for i in range(count0)
        for j in range(count1)
        if distances[i, j] == distances[i].min() == distances[:, j].min()
    ]
    matches = match_descriptors(first, second)
    assert pairs(matches) == expected
    np.testing.assert_allclose(matches.distances, [distances[i, j] for i, j in expected], atol=1e-3)


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
def test_nothing_to_match(counts: tuple[int, int], dtype: type) -> None:
    matches = match_descriptors(np.zeros((counts[0], 8), dtype), np.zeros((counts[1], 8), dtype), max_ratio=0.8)
    assert matches.indices.shape == (0, 2)
    assert matches.distances.shape == (0,)


@pytest.mark.parametrize(
    ("first", "second", "limits", "message"),
    [
        (unit_vectors(0, 3, 8), unit_vectors(0, 3, 16), {}, "8 and 16"),
        (unit_vectors(0, 3, 8), quantized(unit_vectors(0, 3, 8)), {}, "float32 and int8"),
        (unit_vectors(0, 3, 8).astype(np.float64), unit_vectors(0, 3, 8), {}, "float64"),
        (unit_vectors(0, 3, 8)[0], unit_vectors(0, 3, 8), {}, r"\(N, D\)"),
        (np.full((2, 8), np.nan, np.float32), unit_vectors(0, 3, 8), {}, "finite"),
        (unit_vectors(0, 3, 8), unit_vectors(0, 3, 8), {"max_ratio": 1.5}, "max_ratio"),
        (unit_vectors(0, 3, 8), unit_vectors(0, 3, 8), {"max_distance": -1.0}, "max_distance"),
    ],
)
def test_what_does_not_fit_is_refused(first: np.ndarray, second: np.ndarray, limits: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        match_descriptors(first, second, **limits)

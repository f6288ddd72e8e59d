"""Trails against tracks followed by hand, and pictures of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from superpoint_ros.matching import Trails
from superpoint_ros.matching.overlay import draw_matches, draw_trails


def points(*rows: tuple[float, float]) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, 2)


def test_consecutive_frames_hand_trails_on() -> None:
    trails = Trails.start(points((1, 1), (2, 2)), length=3)
    trails = trails.into(points((20, 20), (9, 9), (10, 10)), np.array([[0, 2], [1, 0]]))
    assert trails.lengths.tolist() == [2, 1, 2]
    np.testing.assert_array_equal(trails.positions[2], [[np.nan] * 2, [1, 1], [10, 10]])
    np.testing.assert_array_equal(trails.positions[1], [[np.nan] * 2, [np.nan] * 2, [9, 9]])
    for step in range(3):  # the oldest positions fall off
        trails = trails.into(points((30 + step, 30)), np.array([[2 if step == 0 else 0, 0]]))
    assert trails.positions[0].tolist() == [[30, 30], [31, 30], [32, 30]]


def test_key_frames_keep_theirs_with_gaps() -> None:
    key = Trails.start(points((1, 1), (2, 2)), length=4)
    key = key.seen(points((5, 5), (6, 6)), np.array([[0, 1], [1, 0]]))
    key = key.seen(points((7, 7)), np.array([[1, 0]]))
    key = key.seen(points((8, 8)), np.array([[0, 0]]))
    np.testing.assert_array_equal(key.positions[0], [[1, 1], [6, 6], [np.nan] * 2, [8, 8]])
    np.testing.assert_array_equal(key.positions[1], [[2, 2], [5, 5], [7, 7], [np.nan] * 2])


@pytest.mark.parametrize("shape", [(60, 80), (60, 80, 3)])
def test_trails_are_drawn_where_they_are_and_fade(shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, np.uint8)
    trails = Trails(np.stack([[(10.0 * step, 30) for step in range(1, 7)]]).astype(np.float32))
    picture = draw_trails(image, trails, "")
    assert picture.shape == (60, 80, 3) and not image.any()
    brightness = picture[30].max(axis=1).astype(int)
    parts = [brightness[10 * step + 3 : 10 * step + 7].mean() for step in range(1, 6)]
    assert all(older < newer for older, newer in itertools.pairwise(parts)) and parts[0] > 20
    assert not brightness[:5].any() and not brightness[68:].any()


def test_what_is_not_seen_now_is_not_drawn() -> None:
    positions = np.array([[(10, 10), (20, 20), (np.nan, np.nan)], [(np.nan, np.nan)] * 2 + [(50, 50)]], np.float32)
    assert not draw_trails(np.zeros((60, 80), np.uint8), Trails(positions), "").any()


def test_images_of_different_sizes_stand_side_by_side() -> None:
    images = np.full((40, 50), 9, np.uint8), np.full((30, 20, 3), 7, np.uint8)
    picture = draw_matches(images, (points(), points()), np.empty(0, np.float32), np.empty(0, bool), "")
    assert picture.shape == (40, 70, 3)
    assert (picture[:, :50] == 9).all() and (picture[:30, 50:] == 7).all() and not picture[30:, 50:].any()


@pytest.mark.parametrize("count", [1, 500])
def test_the_images_shine_through_many_lines(count: int) -> None:
    images = np.zeros((300, 300), np.uint8), np.zeros((300, 300), np.uint8)
    ends = np.column_stack([np.linspace(250, 290, count), np.linspace(10, 290, count)]).astype(np.float32)
    picture = draw_matches(images, (ends, ends - [240, 0]), np.arange(count), np.ones(count, bool), "")
    between = picture[:, 294:300].max(axis=2)  # where lines are, but no dots
    assert between.any()
    assert (between.max() > 120) == (count == 1)

"""Intervals hold what they should, and know which pairs belong together."""

from __future__ import annotations

import numpy as np
import pytest

from superpoint_ros.evaluation.homography_benchmark import HomographyResult
from superpoint_ros.evaluation.pose_benchmark import PoseResult
from superpoint_ros.evaluation.resampling import compare_homographies, compare_poses, difference_intervals


def mean(values: np.ndarray) -> np.ndarray:
    return np.array([values.mean()])


def test_equal_detectors_do_not_differ() -> None:
    values = np.random.default_rng(0).uniform(size=50)
    value, interval = difference_intervals(mean, values, values, range(50))
    assert value == 0
    assert (interval == 0).all()


def test_the_interval_of_independent_pairs_is_that_of_the_normal_distribution() -> None:
    first = np.random.default_rng(1).normal(0.5, 1, 400)
    _, interval = difference_intervals(mean, first, np.zeros(400), range(400))
    half = 1.96 * first.std() / np.sqrt(400)
    assert interval[:, 0] == pytest.approx([first.mean() - half, first.mean() + half], abs=0.01)


def test_pairs_of_one_photograph_count_as_one() -> None:
    of_photographs = np.random.default_rng(2).normal(size=40)
    first, groups = np.repeat(of_photographs, 10), np.repeat(np.arange(40), 10).tolist()
    _, grouped = difference_intervals(mean, first, np.zeros(400), groups)
    _, alone = difference_intervals(mean, of_photographs, np.zeros(40), range(40))
    np.testing.assert_array_equal(grouped, alone)


def test_homographies_by_hand() -> None:
    def result(detector: str, pair: int, corner_error: float, accuracy: float) -> HomographyResult:
        return HomographyResult(
            detector,
            (240, 320),
            str(pair),
            f"scene {pair}",
            "both",
            9,
            5,
            0.5,
            1.0,
            (accuracy,) * 10,
            0.2,
            corner_error,
        )

    results = [
        result(name, pair, error, accuracy)
        for pair in range(4)
        for name, error, accuracy in (("A", 2.0, 0.75), ("B", np.inf, 0.5), ("C", 4.0, 0.75))
    ]
    comparisons = compare_homographies(results)
    assert [(one.first, one.second, one.shape) for one in comparisons] == [("A", name, (240, 320)) for name in "BC"]
    for comparison, expected in zip(comparisons, ((0, 1, 1, 0.25, 0.25, 0.25), (0, 1, 0, 0, 0, 0))):
        assert tuple(one.value for one in comparison.differences) == expected
        assert all(one.low == one.value == one.high for one in comparison.differences)  # all pairs are alike
    assert comparisons[0].differences[1].metric == "homography accuracy at 3 px"


def test_poses_without_any_result_are_the_worst() -> None:
    results = [
        PoseResult(detector, str(pair), 10, 5, 5, error, error)
        for pair in range(5)
        for detector, error in (("A", 0.0), ("B", np.inf))
    ]
    (comparison,) = compare_poses(results)
    assert [one.value for one in comparison.differences] == pytest.approx([1, 1, 1])
    assert compare_poses(results[::2]) == []

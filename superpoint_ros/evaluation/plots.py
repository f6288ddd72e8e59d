"""Plots of the results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..superpoint.files import replacing
from .homography_benchmark import CURVE_THRESHOLDS, HomographyResult, HomographySummary
from .metrics import share_within
from .pose_benchmark import PoseResult


def plot_homography(path: Path, results: Sequence[HomographyResult], summaries: Sequence[HomographySummary]) -> None:
    """Draw a row for each size: matching accuracy, homography accuracy, repeatability by category."""
    shapes = list(dict.fromkeys(result.shape for result in results))
    detectors = list(dict.fromkeys(result.detector for result in results))
    figure = Figure(figsize=(15, 4.5 * len(shapes)), layout="constrained")
    grid = figure.subplots(len(shapes), 3, squeeze=False)
    thresholds = np.linspace(0, 10, 201)
    for row, shape in zip(grid, shapes):
        for detector in detectors:
            chosen = [result for result in results if (result.shape, result.detector) == (shape, detector)]
            accuracy = np.mean([result.matching_accuracy for result in chosen], axis=0)
            row[0].plot(CURVE_THRESHOLDS, accuracy, marker=".", label=detector)
            row[1].plot(thresholds, share_within([result.corner_error for result in chosen], tuple(thresholds)))
        _label(row[0], f"{shape[0]}x{shape[1]}: matches within the distance", "distance [px]", "share of matches")
        _label(row[1], "homographies within the corner error", "mean corner error [px]", "share of pairs")
        of_shape = [summary for summary in summaries if summary.shape == shape]
        categories = list(dict.fromkeys(summary.category for summary in of_shape))
        for index, detector in enumerate(detectors):
            ratios = [summary.repeatability for summary in of_shape if summary.detector == detector]
            row[2].bar(np.arange(len(ratios)) + 0.8 * (index / len(detectors) - 0.5), ratios, 0.75 / len(detectors))
        row[2].set_xticks(range(len(categories)), categories)
        _label(row[2], "keypoints found again within 3 px", "", "repeatability")
        row[0].legend(loc="lower right")
    with replacing(path) as partial:
        figure.savefig(partial, dpi=110, format="png")


def plot_pose(path: Path, results: Sequence[PoseResult]) -> None:
    """Draw the share of pairs within each pose error."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    thresholds = np.linspace(0, 20, 401)
    for detector in dict.fromkeys(result.detector for result in results):
        errors = [result.error for result in results if result.detector == detector]
        axes.plot(thresholds, share_within(errors, tuple(thresholds)), label=detector)
    _label(axes, "relative poses within the error", "greater of rotation and direction error [deg]", "share of pairs")
    axes.legend(loc="lower right")
    with replacing(path) as partial:
        figure.savefig(partial, dpi=110, format="png")


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set(title=title, xlabel=x, ylabel=y, ylim=(0, 1))
    axes.grid(alpha=0.3)

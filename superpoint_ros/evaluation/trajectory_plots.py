"""Pictures of estimated trajectories against the truth."""

from __future__ import annotations

from collections.abc import Sequence as List
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..superpoint.files import replacing
from .odometry_benchmark import OdometryResult
from .sequences import MOST_TIME_DIFFERENCE, Sequence

_COLUMNS = 4


def plot_trajectories(path: Path, sequences: List[Sequence], results: List[OdometryResult], mode: str) -> None:
    """Draw each sequence from above, estimates aligned to the truth (monocular ones in scale too)."""
    rows = -(-len(sequences) // _COLUMNS)
    figure = Figure(figsize=(3.2 * min(len(sequences), _COLUMNS), 3.1 * rows), layout="constrained")
    grid = figure.subplots(rows, min(len(sequences), _COLUMNS), squeeze=False).ravel()
    colors = {name: f"C{index}" for index, name in enumerate(dict.fromkeys(result.detector for result in results))}
    for axes, sequence in zip(grid, sequences):
        true = np.array([pose.position for _, pose in sequence.truth])
        axes.plot(true[:, 0], true[:, 1], "k", linewidth=3, alpha=0.3, label="truth")
        for result in results:
            if (result.sequence, result.mode) == (sequence.name, mode) and len(result.estimated) > 2:
                aligned = align(sequence, result)
                axes.plot(
                    aligned[:, 0], aligned[:, 1], color=colors[result.detector], linewidth=1, label=result.detector
                )
        axes.set(title=sequence.name, aspect="equal")
        axes.margins(0.1)
        axes.grid(alpha=0.3)
    for axes in grid[len(sequences) :]:
        axes.set_visible(False)
    grid[0].legend(fontsize=7)
    figure.supxlabel("x [m]")
    figure.supylabel("y [m]")
    with replacing(path) as partial:
        figure.savefig(partial, dpi=80, format="png")


def align(sequence: Sequence, result: OdometryResult) -> NDArray[np.float64]:
    """Estimated positions (N, 3), moved (and scaled, if monocular) onto the truth: Umeyama 1991, as evo does it."""
    times = np.array([time for time, _ in sequence.truth])
    estimated = np.array([pose.position for _, pose in result.estimated])
    nearest = np.array([np.abs(times - time).argmin() for time, _ in result.estimated])
    close = np.abs(times[nearest] - [time for time, _ in result.estimated]) < MOST_TIME_DIFFERENCE
    if close.sum() < 3:
        return estimated
    true = np.array([pose.position for _, pose in sequence.truth])[nearest]
    mean_estimated, mean_true = estimated[close].mean(axis=0), true[close].mean(axis=0)
    from_center, to_center = estimated[close] - mean_estimated, true[close] - mean_true
    left, singular, right = np.linalg.svd(to_center.T @ from_center)
    sign = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
    rotation = left @ np.diag(sign) @ right
    scale = float((singular * sign).sum() / (from_center**2).sum()) if result.mode == "mono" else 1.0
    return np.asarray(mean_true + scale * (estimated - mean_estimated) @ rotation.T)

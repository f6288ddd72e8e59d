"""The learning curve of a training run."""

from __future__ import annotations

import csv
import sys
from importlib.util import find_spec
from pathlib import Path

PANELS = {
    "detector loss": ("metrics.csv", ("detector",)),
    "descriptor loss": ("metrics.csv", ("descriptor",)),
    "training: distances (px)": ("metrics.csv", ("distance", "reprojection_distance")),
    "homography accuracy": ("validation.csv", ("homography_1px", "homography_3px", "homography_5px")),
    "matching accuracy": ("validation.csv", ("matching_1px", "matching_3px", "matching_5px")),
    "localisation error (px)": ("validation.csv", ("localisation",)),
}


def read_columns(path: Path) -> dict[str, list[float]]:
    """Read a CSV of numbers as columns; empty if the file does not exist."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else ())}


def plot_run(folder: Path) -> None:
    """Draw ``learning_curve.png`` from the metrics in a run's folder, where matplotlib is installed."""
    if find_spec("matplotlib") is None:
        print("no learning curve: matplotlib is not installed", file=sys.stderr)
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (title, (file, names)) in zip(figure.subplots(2, 3).flat, PANELS.items()):
        columns = read_columns(folder / file)
        for name in names:
            if name in columns:
                axes.plot(columns["step"], columns[name], label=name)
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.3)
        if len(axes.lines) > 1:
            axes.legend()
    figure.savefig(folder / "learning_curve.png", dpi=100)

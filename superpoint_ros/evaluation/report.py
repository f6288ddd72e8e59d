"""Writes results as JSON and as Markdown tables."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..superpoint.files import replacing
from .homography_benchmark import HomographySummary
from .pose_benchmark import PoseSummary
from .resampling import Comparison


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content`, which may hold dataclasses; nan and inf, which JSON has not, become null."""
    text = json.dumps(_plain(content), indent=1, allow_nan=False)
    with replacing(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def software_versions() -> dict[str, str]:
    """Versions of the libraries that the figures depend on."""
    versions = {}
    for name in ("numpy", "opencv-python-headless", "opencv-python", "opencv-contrib-python", "torch", "pycolmap"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def homography_tables(summaries: Sequence[HomographySummary]) -> str:
    """One Markdown table for each size and category."""
    head = (
        "Detector",
        "Repeatability",
        "Localisation error [px]",
        "Matching accuracy 1 / 3 / 5 px",
        "Matching score",
        "Homography accuracy 1 / 3 / 5 px",
        "Keypoints",
        "Matches",
    )
    sections = []
    for shape, category in dict.fromkeys((summary.shape, summary.category) for summary in summaries):
        chosen = [summary for summary in summaries if (summary.shape, summary.category) == (shape, category)]
        rows = [
            (
                summary.detector,
                f"{summary.repeatability:.3f}",
                f"{summary.localization_error:.2f}",
                _shares(summary.matching_accuracy),
                f"{summary.matching_score:.3f}",
                _shares(summary.homography_accuracy),
                f"{summary.keypoints:.0f}",
                f"{summary.matches:.0f}",
            )
            for summary in chosen
        ]
        sections.append(f"### {shape[0]}x{shape[1]}, {category}, {chosen[0].pairs} pairs\n\n{_table(head, rows)}")
    return "\n".join(sections)


def pose_table(summaries: Sequence[PoseSummary]) -> str:
    """One Markdown table, one line for each detector."""
    head = ("Detector", "AUC 5 / 10 / 20 deg", "Median error [deg]", "No pose", "Inliers", "Matches", "Keypoints")
    rows = [
        (
            summary.detector,
            _shares(summary.auc),
            f"{summary.median_error:.2f}",
            f"{summary.failures} of {summary.pairs}",
            f"{summary.inliers:.0f}",
            f"{summary.matches:.0f}",
            f"{summary.keypoints:.0f}",
        )
        for summary in summaries
    ]
    return _table(head, rows)


def comparison_tables(comparisons: Sequence[Comparison]) -> str:
    """One Markdown table for each size: differences with their 95 % intervals, one column for each other detector."""
    sections = []
    for shape in dict.fromkeys(comparison.shape for comparison in comparisons):
        chosen = [comparison for comparison in comparisons if comparison.shape == shape]
        head = (f"{chosen[0].first} less", *(comparison.second for comparison in chosen))
        rows = [
            (same[0].metric, *(f"{one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f})" for one in same))
            for same in zip(*(comparison.differences for comparison in chosen))
        ]
        size = f"{shape[0]}x{shape[1]}, " if shape else ""
        sections.append(f"### {size}differences with 95 % intervals\n\n{_table(head, rows)}")
    return "\n".join(sections)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ("---", *["---:"] * (len(head) - 1)), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _shares(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.3f}" for value in values)

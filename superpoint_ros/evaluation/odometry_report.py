"""What came of odometry on sequences: files of finished runs, and tables."""

from __future__ import annotations

import json
from collections.abc import Sequence as List
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..geometry.pose import Pose
from .odometry_benchmark import OdometryResult
from .report import write_json


@dataclass(frozen=True)
class RunFile:
    """Keeps what came of a detector on a sequence, with the settings that it was made with."""

    path: Path
    setup: dict[str, Any]

    def write(self, results: List[OdometryResult]) -> None:
        """Replace the file."""
        rows = [
            {
                **asdict(result),
                "estimated": [[time, *pose.position, *pose.quaternion] for time, pose in result.estimated],
            }
            for result in results
        ]
        write_json(self.path, {"setup": self.setup, "results": rows})

    def read(self) -> list[OdometryResult] | None:
        """Take what was written; None if nothing was, or with other settings.

        Raises
        ------
        ValueError
            If the file holds something else.
        """
        if not self.path.is_file():
            return None
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return [_result(row) for row in content["results"]] if content["setup"] == self.setup else None
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ValueError(f"{self.path}: not a result of evaluate odometry ({error!r}); remove it") from None


def _result(row: dict[str, Any]) -> OdometryResult:
    errors = {key: float("nan") if row[key] is None else row[key] for key in ("ate", "rpe")}
    poses = tuple((line[0], Pose.from_quaternion(line[1:4], line[4:8])) for line in row["estimated"])
    return OdometryResult(**{**row, **errors, "estimated": poses})


def odometry_table(results: List[OdometryResult]) -> str:
    """Markdown tables, one a mode: a line for each sequence, and of each detector ATE, RPE and lost frames.

    Of several runs: the median and the range of ATE, the median of RPE, the sum of lost frames and losses.
    """
    sections = []
    for mode in dict.fromkeys(result.mode for result in results):
        runs: dict[tuple[str, str], list[OdometryResult]] = {}
        for result in results:
            if result.mode == mode:
                runs.setdefault((result.sequence, result.detector), []).append(result)
        detectors = list(dict.fromkeys(detector for _, detector in runs))
        sequences = list(dict.fromkeys(sequence for sequence, _ in runs))
        head = ["sequence", "way [m]", *detectors]
        rows = [head, ["---", *["---:"] * (len(head) - 1)]]
        for sequence in sequences:
            found = [runs[sequence, detector] for detector in detectors]
            rows.append([sequence, f"{found[0][0].way:.1f}", *map(_cell, found)])
        together = [[result for sequence in sequences for result in runs[sequence, name]] for name in detectors]
        rows.append(["**lost in all**", "", *map(_losses, together)])
        table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
        several = max(map(len, runs.values())) > 1
        how = " (range of the runs)" if several else ""
        text = f"### {mode}: ATE [cm]{how}, RPE [mm], lost frames (losses)\n\n{table}"
        sections.append("".join([text, "\n", *_comparisons(runs, sequences, detectors)]))
    return "\n".join(sections)


def _cell(runs: list[OdometryResult]) -> str:
    typical, lost = _typical_error(runs), _losses(runs)
    errors = [100 * result.ate for result in runs if np.isfinite(result.ate)]
    missing = f"{len(runs) - len(errors)} of {len(runs)} without a trajectory"
    if not np.isfinite(typical):
        return f"{missing}, {lost}"
    spread = f" ({min(errors):.2f} to {max(errors):.2f})" if len(runs) > 1 else ""
    none = f"; {missing}" if len(errors) < len(runs) else ""
    return f"{typical:.2f}{spread}{none}, {1000 * float(np.nanmedian([result.rpe for result in runs])):.1f}, {lost}"


def _losses(runs: list[OdometryResult]) -> str:
    lost = sum(result.lost for result in runs)
    return f"{lost} ({sum(result.losses for result in runs)})" if lost else "0"


def _typical_error(runs: list[OdometryResult]) -> float:
    """Median ATE in centimetres; a run without a trajectory is the worst of all."""
    errors = [100 * result.ate if np.isfinite(result.ate) else np.inf for result in runs]
    return float(np.median(errors))


def _comparisons(
    runs: dict[tuple[str, str], list[OdometryResult]], sequences: list[str], detectors: list[str]
) -> list[str]:
    """Say on how many sequences the first detector drifts less than each of the others."""
    first, *others = detectors
    lines = []
    for other in others:
        behind = [name for name in sequences if _typical_error(runs[name, first]) >= _typical_error(runs[name, other])]
        exceptions = f"; not on {', '.join(behind)}" if behind else ""
        lines.append(
            f"- {first} drifts less than {other} on {len(sequences) - len(behind)} of {len(sequences)}{exceptions}\n"
        )
    return lines

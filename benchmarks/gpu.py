"""Checks and times the GPU path of the extractor on one CUDA GPU, in less than five minutes.

    python benchmarks/gpu.py

Needs no ROS and no network: PyTorch with CUDA and the dependencies of the library; transformers is compared if it is
there. Prints progress, then JSON, then Markdown tables, and writes both into --output. Every measurement runs in a
process of its own, so that one that fails, hangs or loses the GPU shows up in the report and the others still run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.gpu_measurements import MEASUREMENTS, Bench, Row
from superpoint_ros.superpoint.files import replacing

TOTAL_SECONDS = 290.0
MEASUREMENT_SECONDS = 75.0
LONGER_SECONDS = {"correctness": 150.0}


@dataclass(frozen=True)
class Outcome:
    """What came of a measurement: rows, those before an error if there was one, and its text."""

    rows: list[Row]
    error: str = ""
    seconds: float = 0.0


def run_here(name: str, bench: Bench) -> Outcome:
    started = time.perf_counter()
    rows: list[Row] = []
    error = ""
    try:
        for row in MEASUREMENTS[name](bench):
            rows.append(row)
    except Exception:
        error = traceback.format_exc(limit=-6)
    return Outcome(rows, error, time.perf_counter() - started)


def run_apart(name: str, device: torch.device, timeout: float) -> Outcome:
    """Run a measurement in a process of its own."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "rows.json"
        command = [sys.executable, __file__, "--device", str(device), "--only", name, "--rows", str(result)]
        try:
            process = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
            error = process.stderr[-1500:] if process.returncode else ""
        except subprocess.TimeoutExpired:
            error = f"stopped after {timeout:.0f} s"
        rows = json.loads(result.read_text()) if result.exists() else []
    return Outcome(rows, error, time.perf_counter() - started)


def write_rows(name: str, bench: Bench, path: Path) -> None:
    """Write the rows of a measurement as they come, so that those of one that is stopped are there."""
    rows: list[Row] = []
    for row in MEASUREMENTS[name](bench):
        rows.append(row)
        with replacing(path) as partial:
            partial.write_text(json.dumps(rows, default=_as_json))


def markdown(outcomes: dict[str, Outcome]) -> str:
    parts = []
    for name, outcome in outcomes.items():
        columns = list(dict.fromkeys(column for row in outcome.rows for column in row))
        lines = [f"### {name}: {(MEASUREMENTS[name].__doc__ or '').strip()}"]
        if columns:
            lines += [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
            lines += [f"| {' | '.join(_cell(row.get(column, '')) for column in columns)} |" for row in outcome.rows]
        if outcome.error:
            lines += ["```", outcome.error.strip(), "```"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _cell(value: Any) -> str:
    is_number = isinstance(value, (float, np.floating))
    return (f"{value:.4g}" if abs(value) < 1e5 else f"{value:.3e}") if is_number else str(value).replace("|", "/")


def _as_json(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS), metavar="NAME")
    parser.add_argument("--output", type=Path, default=Path("benchmark_output"), help="folder of gpu.json and gpu.md")
    parser.add_argument("--device", default="cuda:0", help=argparse.SUPPRESS)  # cpu: only to see that this script runs
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)  # of one measurement in a process of its own
    args = parser.parse_args(arguments)
    bench = Bench(torch.device(args.device))
    if args.rows:
        write_rows(args.only[0], bench, args.rows)
        return 0
    if bench.on_gpu and not torch.cuda.is_available():
        print("no CUDA GPU is here, or this PyTorch is built without CUDA", file=sys.stderr)
        return 2
    begun = time.perf_counter()
    outcomes: dict[str, Outcome] = {}
    for name in args.only:
        left = TOTAL_SECONDS - (time.perf_counter() - begun)
        if not bench.on_gpu:
            outcomes[name] = run_here(name, bench)
        elif left < 10:
            outcomes[name] = Outcome([], "not measured: the time was up")
        else:
            limit = LONGER_SECONDS.get(name, MEASUREMENT_SECONDS)
            outcomes[name] = run_apart(name, bench.device, min(left, limit))
        state = "failed" if outcomes[name].error else "done"
        print(f"{name}: {state} after {outcomes[name].seconds:.0f} s", flush=True)
    record = {name: {"rows": outcome.rows, "error": outcome.error} for name, outcome in outcomes.items()}
    text, table = json.dumps(record, default=_as_json), markdown(outcomes)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "gpu.json").write_text(text + "\n", encoding="utf-8")
    (args.output / "gpu.md").write_text(table, encoding="utf-8")
    print(text, table, sep="\n\n")
    failed = [name for name, outcome in outcomes.items() if outcome.error]
    failed += [row["check"] for row in outcomes.get("correctness", Outcome([])).rows if row["outcome"] == "FAILED"]
    print(f"failed: {', '.join(failed)}" if failed else f"all done in {time.perf_counter() - begun:.0f} s")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

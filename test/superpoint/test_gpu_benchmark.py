"""benchmarks/gpu.py runs, small and on a CPU: that its numbers mean something needs a GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_measurement_runs_and_every_check_passes(script, tmp_path) -> None:
    names = [name for name in script.MEASUREMENTS if name != "transformers" or importlib.util.find_spec(name)]
    command = [sys.executable, SCRIPT, "--device", "cpu", "--output", tmp_path, "--only", *names]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]
    record = json.loads((tmp_path / "gpu.json").read_text())
    assert list(record) == names
    assert all(part["rows"] for part in record.values())
    assert {row["outcome"] for row in record["correctness"]["rows"]} == {"passed"}
    table = (tmp_path / "gpu.md").read_text()
    assert table in process.stdout
    assert all(f"### {name}:" in table for name in names)


def test_a_measurement_that_fails_is_reported_and_the_others_run(script, tmp_path, monkeypatch, capsys) -> None:
    def broken(bench: object) -> list[dict[str, object]]:
        """Broken."""
        raise RuntimeError("CUDA error: it broke")

    def sound(bench: object) -> list[dict[str, object]]:
        """Sound."""
        return [{"what": "answer", "value": 41.9996}]

    monkeypatch.setattr(script, "MEASUREMENTS", {"broken": broken, "sound": sound})
    assert script.main(["--device", "cpu", "--output", str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert "RuntimeError: CUDA error: it broke" in output
    assert "| answer | 42 |" in output
    assert output.endswith("failed: broken\n")


def test_rows_before_an_error_are_kept(script, tmp_path, monkeypatch) -> None:
    def broken(bench: object) -> Iterator[dict[str, object]]:
        yield {"check": "first", "outcome": "passed"}
        raise RuntimeError("CUDA error: it broke")

    monkeypatch.setitem(script.MEASUREMENTS, "broken", broken)
    outcome = script.run_here("broken", None)
    with pytest.raises(RuntimeError):
        script.write_rows("broken", None, tmp_path / "rows.json")
    assert outcome.rows == json.loads((tmp_path / "rows.json").read_text()) == [{"check": "first", "outcome": "passed"}]
    assert "it broke" in outcome.error


def test_a_measurement_apart_returns_rows_or_is_stopped(script) -> None:
    cpu = torch.device("cpu")
    outcome = script.run_apart("recording", cpu, 300)
    assert (outcome.rows, outcome.error) == ([{"what": "only on a GPU"}], "")
    assert "stopped" in script.run_apart("recording", cpu, 0.01).error


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_every_check_passes_on_a_gpu(tmp_path) -> None:
    """Features equal to the CPU's, graphs equal to single kernels, a full GPU that recovers, and more."""
    command = [sys.executable, SCRIPT, "--output", tmp_path, "--only", "correctness"]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-3000:]


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_without_a_gpu_it_says_so(script, capsys) -> None:
    assert script.main([]) == 2
    assert "no CUDA GPU" in capsys.readouterr().err

"""Training steps on the GPU."""

from __future__ import annotations

import gc
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from superpoint_ros.training.configuration import TrainingConfig
from superpoint_ros.training.train import Trainer
from superpoint_ros.training.yaml_files import read_dataclass

from .bench import REPOSITORY, Bench, Row, photographs


def training(bench: Bench) -> list[Row]:
    """Training steps of config/training/cuda.yaml on crops of photographs; waits are for how many points pairs have."""
    config = read_dataclass(REPOSITORY / "config" / "training" / "cuda.yaml", TrainingConfig)
    random = np.random.default_rng(0)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "crops.npy", np.stack(photographs((360, 480), 16)))
        points = np.concatenate([random.uniform(8, 350, (16, 400, 2)), random.random((16, 400, 1))], axis=2)
        np.save(folder / "labels.npy", points.astype(np.float32))
        config = replace(
            config,
            crops=str(folder / "crops.npy"),
            labels=str(folder / "labels.npy"),
            validation=replace(config.validation, pairs=0),
        )
        for phase in config.phases:
            phase = replace(phase, until=1.0) if bench.on_gpu else replace(phase, pairs=1, height=64, width=64)
            gc.collect()  # the trainer of the phase before
            rows.append(_phase(bench, replace(config, phases=(phase,)), folder / "run"))
    return rows


def _phase(bench: Bench, config: TrainingConfig, folder: Path) -> Row:
    """Measure steps of a configuration of one phase."""
    if bench.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    (phase,) = config.phases
    trainer = Trainer(config, folder, bench.device)
    for _ in range(bench.rounds(10)):
        trainer.train_step()
    bench.synchronise()
    started, steps = time.perf_counter(), bench.rounds(20)
    for _ in range(steps):
        trainer.train_step()
    bench.synchronise()
    row: Row = {"views": f"{phase.height}x{phase.width}", "pairs": phase.pairs}
    row["steps/s"] = steps / (time.perf_counter() - started)
    row["pairs/s"] = phase.pairs * row["steps/s"]
    row |= _parts(trainer, bench, steps)
    if bench.on_gpu:
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer.train_step()
        torch.cuda.set_sync_debug_mode("default")
        row["waits per step"] = sum("synchroniz" in str(warning.message) for warning in caught)
        row["GPU memory, MiB"] = torch.cuda.max_memory_allocated() / 2**20
    return row


def _parts(trainer: Trainer, bench: Bench, steps: int) -> Row:
    """What making pairs takes alone, and how long the host is busy with a step: either may limit the rate."""

    def milliseconds(work: Callable[[], object], to_the_end: bool) -> float:
        seconds = []
        for _ in range(steps):
            bench.synchronise()
            started = time.perf_counter()
            work()
            if to_the_end:
                bench.synchronise()
            seconds.append(time.perf_counter() - started)
        return 1e3 * float(np.median(seconds))

    return {
        "ms, pairs alone": milliseconds(trainer._sample, True),
        "ms, host": milliseconds(trainer.train_step, False),
    }

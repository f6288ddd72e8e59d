"""Training steps on the GPU."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from .bench import REPOSITORY, Bench, Row, photographs


def training(bench: Bench) -> list[Row]:
    """Training steps of config/training/cuda.yaml on random crops of photographs, and how often one waits."""
    import warnings

    from superpoint_ros.training.configuration import load_config
    from superpoint_ros.training.train import Trainer

    config = load_config(REPOSITORY / "config" / "training" / "cuda.yaml")
    random = np.random.default_rng(0)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "crops.npy", np.stack(photographs((288, 384), 16)))
        points = np.concatenate([random.uniform(8, 280, (16, 200, 2)), random.random((16, 200, 1))], axis=2)
        np.save(folder / "labels.npy", points.astype(np.float32))
        config = replace(
            config,
            crops=str(folder / "crops.npy"),
            labels=str(folder / "labels.npy"),
            validation=replace(config.validation, pairs=0),
        )
        for phase in config.phases:
            phase = replace(phase, until=1.0) if bench.on_gpu else replace(phase, pairs=1, height=64, width=64)
            trainer = Trainer(replace(config, phases=(phase,)), folder / "run", bench.device)
            for _ in range(bench.rounds(10)):
                trainer.train_step()
            bench.synchronise()
            started, steps = time.perf_counter(), bench.rounds(20)
            for _ in range(steps):
                trainer.train_step()
            bench.synchronise()
            row: Row = {"views": f"{phase.height}x{phase.width}", "pairs": phase.pairs}
            row["steps/s"] = steps / (time.perf_counter() - started)
            if bench.on_gpu:
                torch.cuda.set_sync_debug_mode("warn")
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    trainer.train_step()
                torch.cuda.set_sync_debug_mode("default")
                row["waits per step"] = sum("synchroniz" in str(warning.message) for warning in caught)
                row["GPU memory, MiB"] = torch.cuda.max_memory_allocated() / 2**20
            rows.append(row)
    return rows

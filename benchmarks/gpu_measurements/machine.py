"""The machine, and the memory taken on it."""

from __future__ import annotations

import gc
import platform
from typing import Any

import torch

from .bench import (
    OPTIONS,
    Bench,
    Row,
    extract,
    nvidia_smi,
    photographs,
    roofline,
)


def machine(bench: Bench) -> list[Row]:
    """Machine, and what it was measured to be capable of."""
    facts: dict[str, Any] = {"PyTorch": torch.__version__, "Python": platform.python_version()}
    if bench.on_gpu:
        properties = torch.cuda.get_device_properties(bench.device)
        facts |= {
            "GPU": properties.name,
            "driver": nvidia_smi("driver_version"),
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
            "multiprocessors": properties.multi_processor_count,
            "GPU memory, GB": properties.total_memory / 1e9,
        }
    return [{"what": name, "value": value} for name, value in (facts | roofline(bench)).items()]


def memory(bench: Bench) -> list[Row]:
    """GPU memory in MiB, 1024 keypoints; the driver's figure includes the CUDA context."""
    if not bench.on_gpu:
        return [{"what": "only on a GPU"}]
    before = float(nvidia_smi("memory.used"))
    torch.zeros(1, device=bench.device)
    rows: list[Row] = [{"what": "CUDA context", "driver": float(nvidia_smi("memory.used")) - before}]
    for size in bench.sizes:
        for slots in (1, 2):
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            pipeline = bench.pipeline(slots=slots)
            frame = photographs(size, 1)
            pipeline.prepare(frame, OPTIONS)
            for _ in range(20):
                extract(pipeline, frame)
            rows.append(
                {
                    "what": f"{size[0]}x{size[1]}, {slots} in flight",
                    "driver": float(nvidia_smi("memory.used")) - before,
                    "PyTorch, most allocated": torch.cuda.max_memory_allocated() / 2**20,
                    "PyTorch, reserved": torch.cuda.memory_reserved() / 2**20,
                }
            )
            del pipeline
    return rows

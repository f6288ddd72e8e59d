"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ..report import software_versions

_ARITHMETIC = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "bf16",
    "i8mm",
)
"""Flags of /proc/cpuinfo that say how fast each precision can be."""


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return processor, cores, arithmetic, GPU, load and operating system."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.replace("\t", "").split(":", 1) for line in cpuinfo.partition("\n\n")[0].splitlines())
    flags = f"{fields.get('flags', '')} {fields.get('Features', '')}".split()
    return {
        "processor": fields.get("model name", platform.processor()).strip(),
        "cores": os.cpu_count(),
        "arithmetic": [flag for flag in _ARITHMETIC if flag in flags],
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "load at start": round(os.getloadavg()[0], 1),
        "system": platform.platform(),
    }


def describe_software() -> dict[str, str]:
    """Return the versions of what the figures depend on."""
    extra = {name: version(name) for name in ("transformers", "openvino") if find_spec(name)}
    return {"python": platform.python_version()} | software_versions() | extra

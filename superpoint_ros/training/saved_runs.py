"""The checkpoint of a training run, as ``train`` and ``export`` read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..superpoint.config import SuperPointConfig
from ..superpoint.state_dicts import find_mismatch


def read_run(path: Path, config: SuperPointConfig) -> dict[str, Any]:
    """Read what `Trainer.save` has written of a network of `config`, to the CPU.

    Raises
    ------
    ValueError
        If the file is damaged, something else or of another network; the message names it.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception:  # a damaged file can make the reader raise anything
        state = None
    if not isinstance(state, dict) or not isinstance(state.get("result"), dict):
        raise ValueError(f"{path}: not the checkpoint of a training run, or a damaged one")
    mismatch = find_mismatch(state["result"], config)
    if mismatch:
        raise ValueError(f"{path}: of another configuration, or broken: {mismatch}")
    return state

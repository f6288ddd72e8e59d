"""The checkpoint of a training run, as ``train`` and ``export`` read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def read_run(path: Path) -> dict[str, Any]:
    """Read what `Trainer.save` has written, to the CPU.

    Raises
    ------
    ValueError
        If the file is damaged or something else; the message names it.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception:  # a damaged file can make the reader raise anything
        state = None
    if not isinstance(state, dict) or "result" not in state:
        raise ValueError(f"{path}: not the checkpoint of a training run, or a damaged one")
    return state

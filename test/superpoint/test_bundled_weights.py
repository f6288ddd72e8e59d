"""The bundled weights are those that the model card describes."""

import hashlib
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from superpoint_ros.superpoint import load_checkpoint
from superpoint_ros.superpoint.checkpoints import BUNDLED_WEIGHTS

MODEL_CARD = Path(__file__).parents[2] / "docs" / "model_card.md"


@pytest.mark.parametrize("name", BUNDLED_WEIGHTS)
def test_the_model_card_records_size_and_hash(name: str) -> None:
    content = (BUNDLED_WEIGHTS[name] / "model.safetensors").read_bytes()
    assert f"{len(content):,} bytes, float32, SHA-256 `{hashlib.sha256(content).hexdigest()}`" in MODEL_CARD.read_text()


def test_the_small_model_has_a_quarter_of_the_arithmetic() -> None:
    assert _arithmetic("small") <= _arithmetic("default") / 4


@torch.no_grad()
def _arithmetic(name: str) -> int:
    with FlopCounterMode(display=False) as counter:
        load_checkpoint(name).network()(torch.zeros(1, 1, 480, 640))
    return counter.get_total_flops()

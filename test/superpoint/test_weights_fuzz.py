"""Damaged and hostile weights files: refused with a reason, never executed."""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from full_counts import repetitions
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from superpoint_ros.superpoint.checkpoints import (
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    random_checkpoint,
    save_pretrained,
)
from superpoint_ros.superpoint.config import SuperPointConfig

SMALL = SuperPointConfig(encoder_hidden_sizes=(2, 2, 2, 2), decoder_hidden_size=4, descriptor_decoder_dim=8)


def fuzz(full: int, short: int) -> settings:
    return settings(
        max_examples=repetitions(full, short),
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with a small model."""
    folder = tmp_path_factory.mktemp("weights")
    save_pretrained(folder, random_checkpoint(SMALL))
    return folder


@pytest.fixture(scope="module")
def magic_leap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the layout of superpoint_v1.pth."""
    inputs = {"conv1a": 1, "conv1b": 64, "conv2a": 64, "conv2b": 64, "conv3a": 64, "conv3b": 128, "conv4a": 128}
    inputs |= {"conv4b": 128, "convPa": 128, "convPb": 256, "convDa": 128, "convDb": 256}
    outputs = {"conv1a": 64, "conv1b": 64, "conv2a": 64, "conv2b": 64, "convPa": 256, "convPb": 65, "convDa": 256}
    state = {}
    for name, channels in inputs.items():
        kernel = 1 if name in ("convPb", "convDb") else 3
        count = outputs.get(name, 256 if name == "convDb" else 128)
        state[f"{name}.weight"] = torch.full((count, channels, kernel, kernel), 0.01)
        state[f"{name}.bias"] = torch.zeros(count)
    path = tmp_path_factory.mktemp("weights") / "superpoint_v1.pth"
    torch.save(state, path)
    load_checkpoint(path)
    return path


def refused_or_sound(source: Path) -> bool:
    """Load weights; returns whether they were refused. Anything but weights or a CheckpointError fails the test."""
    try:
        checkpoint = load_checkpoint(source)
    except CheckpointError as error:
        assert str(source) in str(error)
        return True
    assert isinstance(checkpoint, Checkpoint)
    assert all(torch.isfinite(value).all() for value in checkpoint.state.values())
    return False


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Functions that cut, flip, overwrite or lengthen bytes; positions favour the start, where the structure is."""
    kind = draw(st.sampled_from(["cut", "flip", "overwrite", "insert", "append"]))
    where = draw(st.one_of(st.floats(0, 1), st.floats(0, 0.01)))
    bits, data = draw(st.lists(st.integers(0, 2**14), min_size=1, max_size=8)), draw(st.binary(min_size=1, max_size=64))

    def damage(content: bytes) -> bytes:
        changed, position = bytearray(content), int(where * (len(content) - 1))
        if kind == "cut":
            del changed[position:]
        elif kind == "flip":
            for bit in bits:
                changed[(position + bit // 8) % len(changed)] ^= 1 << bit % 8
        elif kind == "overwrite":
            changed[position : position + len(data)] = data
        elif kind == "insert":
            changed[position:position] = data
        else:
            changed += data
        return bytes(changed)

    return damage


@seed(1)
@fuzz(full=3000, short=200)
@given(name=st.sampled_from(["model.safetensors", "config.json", "preprocessor_config.json"]), damage=damages())
def test_a_damaged_folder_is_refused_or_sound(name: str, damage: Callable[[bytes], bytes], folder: Path) -> None:
    original = (folder / name).read_bytes()
    try:
        (folder / name).write_bytes(damage(original))
        try:
            load_checkpoint(folder)
        except CheckpointError as error:
            assert str(folder) in str(error)
    finally:
        (folder / name).write_bytes(original)


@seed(2)
@fuzz(full=300, short=10)
@given(damage=damages())
def test_a_damaged_pth_file_is_refused_or_sound(damage: Callable[[bytes], bytes], magic_leap: Path) -> None:
    damaged = magic_leap.with_name("damaged.pth")
    damaged.write_bytes(damage(magic_leap.read_bytes()))
    refused_or_sound(damaged)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.9, 0.999])
def test_truncated_files_are_refused(share: float, folder: Path, magic_leap: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.pth"
    content = magic_leap.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert refused_or_sound(path)
    for name in ("config.json", "model.safetensors"):
        content = (folder / name).read_bytes()
        for other in ("config.json", "model.safetensors"):
            (tmp_path / other).write_bytes((folder / other).read_bytes())
        (tmp_path / name).write_bytes(content.rstrip()[: int(share * len(content.rstrip()))])
        assert refused_or_sound(tmp_path)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=6,
)
NESTED_JSON = st.builds(
    lambda kind, depth: kind[0] * depth + kind[1] * depth,
    st.sampled_from([("[", "]"), ('{"a":', "}"), ("[", "")]),
    st.one_of(st.integers(1, 20), st.integers(100, 100_000)),
)


@seed(3)
@fuzz(full=1000, short=150)
@given(key=st.sampled_from(list(SMALL.__dataclass_fields__)), value=st.one_of(JSON.map(json.dumps), NESTED_JSON))
def test_any_configuration_is_refused_or_sound(key: str, value: str, folder: Path) -> None:
    original = (folder / "config.json").read_text()
    try:
        others = {name: kept for name, kept in json.loads(original).items() if name != key}
        (folder / "config.json").write_text(f'{json.dumps(others)[:-1]}, "{key}": {value}}}')
        try:
            load_checkpoint(folder)
        except CheckpointError as error:
            assert str(folder) in str(error)
    finally:
        (folder / "config.json").write_text(original)


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**40, 2**63, 2**64 - 1])
def test_a_safetensors_header_of_absurd_length_is_refused(length: int, folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(struct.pack("<Q", length) + weights.read_bytes()[8:])
    assert refused_or_sound(tmp_path)


# Wrong tensors


@seed(4)
@fuzz(full=300, short=15)
@given(
    name=st.sampled_from(["conv1a.weight", "conv3b.bias", "convDb.weight"]),
    shape=st.lists(st.integers(0, 70), max_size=5),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.int64, torch.bool, torch.complex64]),
)
def test_wrong_shapes_and_types_are_refused(name: str, shape: list[int], dtype: torch.dtype, magic_leap: Path) -> None:
    state = torch.load(magic_leap, weights_only=True)
    if list(state[name].shape) == shape:
        return
    state[name] = torch.zeros((), dtype=dtype).expand(shape)  # of any size, without the memory
    path = magic_leap.with_name("wrong.pth")
    torch.save(state, path)
    assert refused_or_sound(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused(value: float, magic_leap: Path, tmp_path: Path) -> None:
    state = torch.load(magic_leap, weights_only=True)
    state["conv2a.weight"][0, 0, 0, 0] = value
    torch.save(state, tmp_path / "infinite.pth")
    assert refused_or_sound(tmp_path / "infinite.pth")


# Code


class Payload:
    """Runs a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


def _payloads(witness: Path) -> dict[str, Any]:
    import builtins
    import os
    import subprocess

    touch = f"open({str(witness)!r}, 'w').close()"
    return {
        "os.system": Payload(os.system, f"touch {witness}"),
        "builtins.exec": Payload(builtins.exec, touch),
        "builtins.eval": Payload(builtins.eval, touch),
        "builtins.open": Payload(builtins.open, str(witness), "w"),
        "subprocess.Popen": Payload(subprocess.Popen, ["touch", str(witness)]),
        "Path.touch": Payload(Path.touch, witness),
        "torch.save": Payload(torch.save, {}, str(witness)),
        "torch.hub": Payload(torch.hub.load_state_dict_from_url, f"file://{witness}"),
    }


def _containers(payload: Any, protocol: int) -> dict[str, bytes]:
    def saved(content: Any, **options: Any) -> bytes:
        buffer = io.BytesIO()
        torch.save(content, buffer, pickle_protocol=max(protocol, 2), **options)
        return buffer.getvalue()

    state = {"conv1a.weight": torch.zeros(64, 1, 3, 3), "extra": payload}
    return {
        "pickle": pickle.dumps(payload, protocol),
        "zip": saved(payload),
        "zip, inside": saved({"state_dict": state}),
        "legacy": saved(state, _use_new_zipfile_serialization=False),
    }


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", list(_payloads(Path("witness"))))
def test_code_in_a_file_is_never_executed(name: str, protocol: int, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    payload = _payloads(witness)[name]
    for kind, content in _containers(payload, protocol).items():
        for suffix in (".pth", ".pt", ".bin", ".safetensors", ""):
            path = tmp_path / f"weights{suffix}"
            path.write_bytes(content)
            assert refused_or_sound(path), f"{kind} as {suffix}"
            assert not witness.exists(), f"{kind} as {suffix} was executed"


def test_the_payloads_do_what_they_say_where_they_are_executed(tmp_path: Path) -> None:
    for name in ("os.system", "builtins.exec", "builtins.open", "Path.touch"):
        witness = tmp_path / name
        pickle.loads(pickle.dumps(_payloads(witness)[name]))
        assert witness.exists(), name

"""Weights of every known layout are read; everything else is refused with the reason."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from superpoint_ros.superpoint import CheckpointError, SuperPointConfig, SuperPointNetwork, load_checkpoint
from superpoint_ros.superpoint.checkpoints import random_checkpoint, save_pretrained
from superpoint_ros.superpoint.network import fold_batch_norm

SMALL = SuperPointConfig((4, 8, 12, 16), 20, descriptor_decoder_dim=24)
LAYERS = {
    **{f"conv{i + 1}{ab}": f"encoder.conv_blocks.{i}.conv_{ab}" for i in range(4) for ab in "ab"},
    **{f"convP{ab}": f"keypoint_decoder.conv_score_{ab}" for ab in "ab"},
    **{f"convD{ab}": f"descriptor_decoder.conv_descriptor_{ab}" for ab in "ab"},
}


def magic_leap_state(config: SuperPointConfig = SMALL) -> dict[str, torch.Tensor]:
    state = random_checkpoint(config).state
    return {f"{old}.{kind}": state[f"{new}.{kind}"] for old, new in LAYERS.items() for kind in ("weight", "bias")}


class RpautratBlock(nn.Sequential):
    """Convolution, activation and batch norm under the names of that repository's blocks."""

    def __init__(self, before: int, after: int, kernel: int, relu: bool = True) -> None:
        super().__init__()
        self.add_module("conv", nn.Conv2d(before, after, kernel, padding=kernel // 2))
        self.add_module("activation", nn.ReLU() if relu else nn.Identity())
        self.add_module("bn", nn.BatchNorm2d(after, eps=0.001))


def rpautrat_network() -> nn.ModuleDict:
    sizes = SMALL.encoder_hidden_sizes
    blocks = []
    for index, (before, after) in enumerate(zip((1, *sizes), sizes)):
        pool = [nn.MaxPool2d(2)] if index < 3 else []
        blocks.append(nn.Sequential(RpautratBlock(before, after, 3), RpautratBlock(after, after, 3), *pool))
    hidden = SMALL.decoder_hidden_size
    heads = {
        name: nn.Sequential(RpautratBlock(sizes[-1], hidden, 3), RpautratBlock(hidden, size, 1, relu=False))
        for name, size in (("detector", 65), ("descriptor", SMALL.descriptor_decoder_dim))
    }
    network = nn.ModuleDict({"backbone": nn.Sequential(*blocks), **heads}).eval()
    randomise_batch_norm(network)
    return network


def randomise_batch_norm(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.running_var):
                values.data.uniform_(0.5, 2.0)
            for values in (module.bias, module.running_mean):
                values.data.normal_(std=0.3)


def test_magic_leap_file_is_read_with_its_widths_and_its_descriptor_grid(tmp_path: Path) -> None:
    torch.save(magic_leap_state(), tmp_path / "superpoint_v1.pth")
    checkpoint = load_checkpoint(tmp_path / "superpoint_v1.pth")
    assert checkpoint.config == SMALL
    assert checkpoint.name.startswith("superpoint_v1@")
    expected = random_checkpoint(SMALL)
    assert checkpoint.state.keys() == expected.state.keys()
    assert all(torch.equal(checkpoint.state[name], expected.state[name]) for name in expected.state)


@torch.no_grad()
def test_rpautrat_file_computes_what_its_network_does(tmp_path: Path) -> None:
    reference = rpautrat_network()
    path = tmp_path / "superpoint_v6_from_tf.pth"
    torch.save(reference.state_dict(), path)
    checkpoint = load_checkpoint(path)
    assert checkpoint.config == replace(SMALL, batch_norm="after_relu", descriptor_grid="cell_centers")
    image = torch.rand(1, 1, 32, 40)
    features = reference["backbone"](image)
    output = checkpoint.network()(image)
    torch.testing.assert_close(output.keypoint_logits, reference["detector"](features))
    torch.testing.assert_close(output.descriptor_map, reference["descriptor"](features))


@torch.no_grad()
def test_folded_network_computes_what_the_trained_one_did() -> None:
    network = SuperPointNetwork(replace(SMALL, batch_norm="before_relu", initializer_range=0.2)).eval()
    randomise_batch_norm(network)
    folded = fold_batch_norm(network)
    image = torch.rand(2, 1, 32, 40)
    for ours, theirs in zip(folded(image)[:2], network(image)[:2]):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="behind the ReLU"):
        fold_batch_norm(SuperPointNetwork(replace(SMALL, batch_norm="after_relu")))


def test_saved_folder_reads_back_the_same(tmp_path: Path) -> None:
    config = replace(
        SMALL, nms_radius=3, keypoint_threshold=0.2, subpixel="soft_argmax", descriptor_grid="cell_centers"
    )
    checkpoint = random_checkpoint(config)
    save_pretrained(tmp_path / "model", checkpoint)
    again = load_checkpoint(str(tmp_path / "model"))
    assert again.config == config
    assert again.preprocessor == checkpoint.preprocessor
    assert again.name.partition("@")[2] == checkpoint.name.partition("@")[2]
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]


def test_random_weights_are_always_the_same() -> None:
    assert load_checkpoint("random").name == load_checkpoint("random").name
    assert random_checkpoint(SMALL, 1).name != random_checkpoint(SMALL, 2).name


class Malicious:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code was executed')",))


def make(path: Path, kind: str) -> Path:
    """Write weights that are broken in the way `kind` says, and return where."""
    state = magic_leap_state()
    if kind == "missing key":
        del state["conv3b.bias"]
    elif kind == "foreign key":
        state["conv9.weight"] = torch.zeros(1)
    elif kind == "wrong shape":
        state["convPb.weight"] = torch.zeros(64, 20, 1, 1)
    elif kind == "not finite":
        state["convPa.weight"][0] = torch.nan
    elif kind == "foreign model":
        state = {"fc.weight": torch.zeros(3)}
    elif kind == "no tensors":
        state = {"conv1a.weight": 3}
    file = path / "weights.pth"
    torch.save(state, file)
    if kind == "truncated":
        file.write_bytes(file.read_bytes()[:-1000])
    elif kind == "pickle":
        file.write_bytes(pickle.dumps(Malicious()))
    elif kind == "text":
        file.write_text("hello")
    elif kind == "empty":
        file.write_bytes(b"")
    return file


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("missing key", "encoder.conv_blocks.2.conv_b.bias is missing"),
        ("foreign key", "conv9.weight is not part of the network"),
        ("wrong shape", r"conv_score_b.weight has shape \(64, 20, 1, 1\), expected \(65, 20, 1, 1\)"),
        ("not finite", "conv_score_a.weight contains values that are not finite"),
        ("foreign model", "holds no SuperPoint weights .*'fc.weight'"),
        ("no tensors", "does not hold a state dict"),
        ("truncated", "cannot be read as weights"),
        ("pickle", "cannot be read as weights"),
        ("text", "cannot be read as weights"),
        ("empty", "cannot be read as weights"),
    ],
)
def test_a_bad_file_is_refused_with_name_reason_and_what_is_understood(tmp_path, kind, reason) -> None:
    file = make(tmp_path, kind)
    with pytest.raises(CheckpointError, match=f"(?s){file}.*{reason}.*superpoint_v1.pth"):
        load_checkpoint(file)


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("config.json", None, "the folder has no config.json"),
        ("model.safetensors", None, "the folder has no model.safetensors"),
        ("config.json", "{", "cannot be read as JSON"),
        ("config.json", "[]", "must hold a JSON object, got list"),
        ("config.json", json.dumps({"nms_radius": -4}), "nms_radius must be an integer of at least 0"),
        ("config.json", json.dumps({"decoder_hidden_size": 10**21}), "decoder_hidden_size must be .* at most 65536"),
        ("config.json", json.dumps({"encoder_hidden_sizes": [64, 64]}), "encoder_hidden_sizes"),
        ("config.json", json.dumps({"descriptor_decoder_dim": 7}), "conv_.*expected"),
        ("preprocessor_config.json", json.dumps({"size": {"shortest_edge": 3}}), "size must be"),
        ("preprocessor_config.json", json.dumps({"do_rescale": 1}), "do_rescale must be true or false"),
        ("model.safetensors", "garbage", "cannot be read as weights"),
    ],
)
def test_a_bad_folder_is_refused(tmp_path, file, content, reason) -> None:
    save_pretrained(tmp_path, random_checkpoint(SMALL))
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(content)
    with pytest.raises(CheckpointError, match=f"(?s){tmp_path}.*{reason}"):
        load_checkpoint(tmp_path)


def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch) -> None:
    save_pretrained(tmp_path, random_checkpoint(SMALL, 1))
    before = load_checkpoint(tmp_path).name
    (tmp_path / "model.safetensors").chmod(0o444)
    after_relu = replace(random_checkpoint(SMALL), config=replace(SMALL, batch_norm="after_relu"))
    with pytest.raises(ValueError, match="behind the ReLU"):
        save_pretrained(tmp_path, after_relu)
    assert load_checkpoint(tmp_path).name == before


def test_the_weights_file_of_a_folder_stands_for_the_folder(tmp_path) -> None:
    config = replace(SMALL, subpixel="soft_argmax", descriptor_grid="cell_centers")
    save_pretrained(tmp_path, random_checkpoint(config))
    assert load_checkpoint(tmp_path / "model.safetensors").config == config
    (tmp_path / "model.safetensors").rename(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"must be called model\.safetensors and lie beside config\.json"):
        load_checkpoint(tmp_path / "other.safetensors")


def test_weights_used_with_another_descriptor_grid_have_another_name() -> None:
    grids = ("magicleap", "cell_centers")
    assert len({random_checkpoint(replace(SMALL, descriptor_grid=grid)).name for grid in grids}) == 2


@pytest.mark.parametrize("source", ["no/such/file.pth", "models/superpoint_v1.pth", "~nobody-like-this/x"])
def test_a_missing_path_of_any_form_is_no_model_id(source) -> None:
    with pytest.raises(CheckpointError, match=f"^{source}: (no such file or folder|Could not determine home)"):
        load_checkpoint(source)


def test_a_model_id_that_cannot_be_had_says_how_to_get_it_by_hand(monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match=r"some-owner/some-model: .*by hand"):
        load_checkpoint("some-owner/some-model")

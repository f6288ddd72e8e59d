import hashlib
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from superpoint_ros.__main__ import main
from superpoint_ros.superpoint import SuperPointConfig, load_checkpoint
from superpoint_ros.superpoint.checkpoints import Checkpoint, random_checkpoint, save_pretrained
from superpoint_ros.superpoint.config import PreprocessorConfig
from superpoint_ros.superpoint.network import SuperPointNetwork
from superpoint_ros.training import train
from superpoint_ros.training.configuration import (
    LossWeights,
    Phase,
    ReleasedWeights,
    TrainingConfig,
    ValidationOptions,
)
from superpoint_ros.training.initial_weights import insert_batch_norm
from superpoint_ros.training.optimizer import orthogonalise
from superpoint_ros.training.plots import read_columns
from superpoint_ros.training.train import Trainer
from superpoint_ros.training.yaml_files import read_dataclass

SMALL = TrainingConfig(
    name="small",
    steps=6,
    muon_lr=0.02,
    warmup_steps=2,
    synthetic_size=(96, 128),
    phases=(Phase(until=0.5, height=64, width=64, pairs=2), Phase(height=64, width=96, pairs=2)),
    validation=ValidationOptions(pairs=0),
    network=SuperPointConfig(
        encoder_hidden_sizes=(8, 8, 8, 8),
        decoder_hidden_size=16,
        descriptor_decoder_dim=16,
        batch_norm="before_relu",
        descriptor_grid="cell_centers",
    ),
)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = Trainer(SMALL, tmp_path / "whole", CPU)
    whole.train()
    Trainer(SMALL, tmp_path / "parts", CPU).train(stop_after=2)
    torch.rand(10)  # the global generator must not matter
    Trainer(SMALL, tmp_path / "parts", CPU).train(stop_after=3)
    resumed = Trainer(SMALL, tmp_path / "parts", CPU)
    resumed.train()
    assert resumed.step == whole.step == 6
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    assert torch.equal(whole.log_inverse_temperature, resumed.log_inverse_temperature)


def test_a_run_of_another_device_goes_on_with_other_random_numbers(tmp_path: Path) -> None:
    Trainer(SMALL, tmp_path, CPU).train(stop_after=2)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    state["generator"] = torch.zeros(16, dtype=torch.uint8)  # as large as a GPU's
    torch.save(state, tmp_path / "checkpoint.pt")
    resumed = Trainer(SMALL, tmp_path, CPU)
    assert resumed.step == 2
    assert resumed.generator.initial_seed() == SMALL.seed + 2
    resumed.train()
    assert resumed.step == 6


def test_resuming_keeps_the_moving_average(tmp_path: Path) -> None:
    config = replace(SMALL, average=0.5)
    whole = Trainer(config, tmp_path / "whole", CPU)
    whole.train()
    Trainer(config, tmp_path / "parts", CPU).train(stop_after=2)
    resumed = Trainer(config, tmp_path / "parts", CPU)
    resumed.train()
    states = [trainer.result.state_dict() for trainer in (whole, resumed)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    name = "keypoint_decoder.conv_score_b.weight"
    assert not torch.equal(states[0][name], whole.network.state_dict()[name])


def test_steps_may_be_lowered_before_the_learning_rate_falls(tmp_path: Path) -> None:
    """A run cut short is the run that was planned short."""
    planned = replace(SMALL, decay_steps=2, phases=(Phase(height=64, width=64, pairs=2),))
    short = Trainer(planned, tmp_path / "short", CPU)
    short.train()
    Trainer(replace(planned, steps=60), tmp_path / "cut", CPU).train(stop_after=4)
    cut = Trainer(planned, tmp_path / "cut", CPU)
    cut.train()
    for name, value in short.network.state_dict().items():
        assert torch.equal(value, cut.network.state_dict()[name]), name


def test_a_broken_batch_does_not_end_the_run(tmp_path: Path) -> None:
    trainer = Trainer(replace(SMALL, average=0.5), tmp_path, CPU)
    trainer.train_step()
    before = {name: value.clone() for name, value in trainer.network.named_parameters()}
    hook = trainer.network.keypoint_decoder.conv_score_b.weight.register_hook(lambda gradient: gradient * torch.inf)
    assert not torch.isfinite(trainer.train_step()["gradient_norm"])
    hook.remove()
    assert torch.isfinite(trainer.train_step()["gradient_norm"])
    for network in (trainer.network, trainer.result):
        assert all(torch.isfinite(value).all() for value in network.state_dict().values())
    assert any(not torch.equal(before[name], value) for name, value in trainer.network.named_parameters())


def test_training_goes_on_from_released_weights(tmp_path: Path) -> None:
    network = SuperPointNetwork(replace(SMALL.network, batch_norm="none")).eval()
    for parameter in network.parameters():
        torch.nn.init.uniform_(parameter, -0.3, 0.3)
    weights = Checkpoint("x", network.config, PreprocessorConfig(), network.state_dict())
    save_pretrained(tmp_path / "weights", weights)
    found = hashlib.sha256((tmp_path / "weights/model.safetensors").read_bytes()).hexdigest()
    config = replace(SMALL, init=ReleasedWeights(str(tmp_path / "weights"), found))
    trainer = Trainer(config, tmp_path / "run", CPU)
    images = torch.rand(3, 1, 48, 64)
    with torch.inference_mode():
        expected, output = network(images), trainer.network.eval()(images)
    torch.testing.assert_close(output.keypoint_logits, expected.keypoint_logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output.descriptor_map, expected.descriptor_map, atol=1e-4, rtol=1e-4)
    trainer.network.train()
    trainer.train(stop_after=1)
    with pytest.raises(ValueError, match="SHA-256"):
        Trainer(replace(config, init=ReleasedWeights(str(tmp_path / "weights"), "0" * 64)), tmp_path / "other", CPU)
    wider = replace(config, network=replace(SMALL.network, decoder_hidden_size=32))
    with pytest.raises(
        ValueError, match=r"init: .*weights: expected weights of the sizes of `network`, but .*conv_score_a"
    ):
        Trainer(wider, tmp_path / "other", CPU)


def test_a_student_learns_the_teachers_output(tmp_path: Path) -> None:
    teacher = random_checkpoint(replace(SMALL.network, batch_norm="none"))
    save_pretrained(tmp_path / "teacher", teacher)
    found = hashlib.sha256((tmp_path / "teacher/model.safetensors").read_bytes()).hexdigest()
    released = ReleasedWeights(str(tmp_path / "teacher"), found)
    config = replace(
        SMALL, steps=30, muon_lr=0.0, lr=0.01, teacher=released, phases=(Phase(height=64, width=64, pairs=2),)
    )
    trainer = Trainer(config, tmp_path / "run", CPU)
    records = []
    for _ in range(30):
        records.append(trainer.train_step())
        trainer.step += 1
    for loss in ("detector", "descriptor"):
        assert sum(r[loss] for r in records[-5:]) < 0.8 * sum(r[loss] for r in records[:5]), loss


def test_losses_without_weight_change_no_weights_and_keep_their_columns(tmp_path: Path) -> None:
    config = replace(SMALL, loss=LossWeights(descriptor=0.0))
    trainer = Trainer(config, tmp_path, CPU)
    before = {name: value.clone() for name, value in trainer.network.named_parameters()}
    losses = trainer.train_step()
    changed = {name for name, value in trainer.network.named_parameters() if not torch.equal(before[name], value)}
    assert changed
    assert not any(name.startswith("descriptor_decoder") for name in changed)
    assert list(losses) == list(Trainer(SMALL, tmp_path, CPU).train_step())
    assert {name for name, value in losses.items() if value.isnan()} == {"descriptor", "accuracy"}


def test_batch_norm_in_training_mode_changes_little_on_the_images_it_was_measured_on() -> None:
    network = SuperPointNetwork(replace(SMALL.network, batch_norm="none")).eval()
    for parameter in network.parameters():
        torch.nn.init.uniform_(parameter, -0.3, 0.3)
    images = torch.rand(4, 1, 48, 64)
    with torch.inference_mode():
        expected, output = network(images), insert_batch_norm(network, images)(images)
    torch.testing.assert_close(output.keypoint_logits, expected.keypoint_logits, atol=0.02, rtol=0.02)


def test_the_command_trains_into_the_named_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "name: tiny\nsteps: 2\nsynthetic_size: [64, 64]\nvalidation: {pairs: 0}\n"
        "phases: [{height: 32, width: 32, pairs: 1}]\n"
    )
    assert main(["train", "--config", str(config), "--run", str(tmp_path / "run"), "--device", "cpu"]) == 0
    assert (tmp_path / "run/checkpoint.pt").is_file()
    assert main(["train", "--config", str(tmp_path / "absent.yaml")]) == 1
    assert "absent.yaml" in capsys.readouterr().err


def test_the_command_makes_a_pause_and_a_budget_in_minutes_replaces_one_in_steps(tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "name: tiny\nsteps: 1000000\ndecay_steps: 10\nsynthetic_size: [64, 64]\nvalidation: {pairs: 0}\n"
        "phases: [{height: 32, width: 32, pairs: 1}]\n"
        "network: {encoder_hidden_sizes: [8, 8, 8, 8], decoder_hidden_size: 8, descriptor_decoder_dim: 8}\n"
    )

    def train(*more: str) -> int:
        command = ["train", "--config", str(config), "--run", str(tmp_path / "run"), "--device", "cpu", *more]
        assert main(command) == 0
        return int(torch.load(tmp_path / "run/checkpoint.pt", weights_only=True)["step"])

    first = train("--pause-after", "0.0001")
    assert train("--pause-after", "0.0001") > first >= 1
    assert train("--minutes", "0.0001") >= first  # spent already


@pytest.mark.parametrize(("option", "value"), [("minutes", "-1"), ("pause-after", "0"), ("threads", "-1")])
def test_impossible_arguments_are_refused(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--config", "x.yaml", f"--{option}={value}"])
    assert f"--{option}: must be a" in capsys.readouterr().err


def test_training_without_data_says_how_to_get_it_and_leaves_nothing(tmp_path: Path) -> None:
    config = replace(SMALL, synthetic_size=(), crops=str(tmp_path / "crops.npy"))
    with pytest.raises(ValueError, match=r"crops\.npy: no such file; .* prepare-data"):
        Trainer(config, tmp_path / "run", CPU)
    assert not (tmp_path / "run").exists()


def test_kill_while_saving_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(SMALL, tmp_path, CPU)
    trainer.train(stop_after=2)

    def die(state: object, path: Path) -> None:
        path.write_bytes(b"half a checkpoint")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", die)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(stop_after=1)
    monkeypatch.undo()
    assert Trainer(SMALL, tmp_path, CPU).step == 2


@pytest.mark.parametrize("content", [b"", b"no checkpoint", 0.5])
def test_damaged_checkpoint_is_named(
    tmp_path: Path, content: bytes | float, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a real checkpoint a share is left, or there is something else."""
    config, file = tmp_path / "tiny.yaml", tmp_path / "checkpoint.pt"
    config.write_text("name: tiny\nsteps: 1\nsynthetic_size: [64, 64]\nvalidation: {pairs: 0}\n")
    if isinstance(content, float):
        Trainer(read_dataclass(config, TrainingConfig), tmp_path, CPU).save()
        content = file.read_bytes()[: int(content * file.stat().st_size)]
    file.write_bytes(content)
    arguments = ["--config", str(config), "--run", str(tmp_path)]
    for command in (
        ["train", *arguments, "--device", "cpu"],
        ["export", *arguments, "--output", str(tmp_path / "out")],
    ):
        assert main(command) == 1
        assert "checkpoint.pt: not the checkpoint of a training run, or a damaged one\n" in capsys.readouterr().err
    assert file.read_bytes() == content
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ("network: {encoder_hidden_sizes: [8, 8, 8, 16]}", "or broken: encoder.*weight has shape"),
        ("network: {batch_norm: none}", "or broken: .*conv_a_bn.* is not part of the network"),
        ("average: 0.9", "without average"),
        ("muon_lr: 0.02", "without muon_lr"),
    ],
)
def test_checkpoint_of_another_configuration_is_named_and_kept(
    tmp_path: Path, other: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config, run = tmp_path / "tiny.yaml", tmp_path / "run"
    text = "name: tiny\nsteps: 1\nsynthetic_size: [64, 64]\nvalidation: {pairs: 0}\n"
    config.write_text(text)
    trainer = Trainer(read_dataclass(config, TrainingConfig), run, CPU)
    trainer.save()
    trainer._log("metrics.csv", {"detector": 0.5})
    before = {path: path.read_bytes() for path in run.iterdir()}
    config.write_text(text + other + "\n")
    commands = [["train", "--device", "cpu"]]
    if other.startswith("network"):  # what is exported is the network
        commands.append(["export", "--output", str(tmp_path / "out")])
    for command in commands:
        assert main([*command, "--config", str(config), "--run", str(run)]) == 1
        assert re.search(rf"run/checkpoint\.pt: of another configuration, {reason}", capsys.readouterr().err)
    assert {path: path.read_bytes() for path in run.iterdir()} == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("muon_lr", [0.0, 0.03])
def test_training_lowers_the_losses(tmp_path: Path, muon_lr: float) -> None:
    config = replace(SMALL, steps=60, muon_lr=muon_lr, phases=(Phase(height=64, width=64, pairs=3),))
    trainer = Trainer(config, tmp_path, CPU)
    records = []
    while trainer.progress < 1:
        records.append(trainer.train_step())
        trainer.step += 1
    for loss in ("detector", "descriptor"):
        early = sum(record[loss] for record in records[:10])
        late = sum(record[loss] for record in records[-10:])
        assert late < 0.9 * early, loss


def test_metrics_and_curve_are_written(tmp_path: Path) -> None:
    config = replace(SMALL, steps=50, phases=(Phase(height=32, width=32, pairs=1),))
    Trainer(config, tmp_path, CPU).train()
    columns = read_columns(tmp_path / "metrics.csv")
    assert columns["step"] == [50]
    assert columns["detector"][0] > 0
    assert (tmp_path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")


def test_training_without_matplotlib_draws_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    Trainer(SMALL, tmp_path, CPU).train(stop_after=1)
    assert "no learning curve: matplotlib is not installed" in capsys.readouterr().err
    assert (tmp_path / "checkpoint.pt").is_file() and not (tmp_path / "learning_curve.png").exists()


def test_resuming_drops_rows_that_come_again(tmp_path: Path) -> None:
    config = replace(SMALL, steps=200_000, phases=(Phase(height=32, width=32, pairs=1),))
    trainer = Trainer(config, tmp_path, CPU)
    trainer.step = 100_049
    trainer.train(stop_after=1)  # and then, until it is killed:
    for step in (100_100, 100_150):
        trainer.step = step
        for name in ("metrics.csv", "validation.csv"):
            trainer._log(name, {"detector": 0.5})
    resumed = Trainer(config, tmp_path, CPU)
    resumed.train(stop_after=50)
    assert read_columns(tmp_path / "metrics.csv")["step"] == [100_050, 100_100]
    assert not (tmp_path / "validation.csv").exists()


def test_a_run_killed_before_its_first_checkpoint_begins_its_rows_anew(tmp_path: Path) -> None:
    killed = Trainer(SMALL, tmp_path, CPU)
    for killed.step in (50, 100):
        for name in ("metrics.csv", "validation.csv"):
            killed._log(name, {"detector": 0.5})
    begun_anew = Trainer(SMALL, tmp_path, CPU)
    begun_anew.step = 50
    begun_anew._log("metrics.csv", {"detector": 0.5, "descriptor": 0.5})
    assert read_columns(tmp_path / "metrics.csv") == {
        "step": [50],
        "minutes": [0],
        "detector": [0.5],
        "descriptor": [0.5],
    }
    assert not (tmp_path / "validation.csv").exists()


def test_an_interrupted_run_validates_when_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed just before a validation it makes that at once when it goes on; the next start knows that it was made."""
    monkeypatch.setattr(Trainer, "_validation_pairs", lambda trainer: "pairs")
    monkeypatch.setattr(train, "validate", lambda *_: {"homography_3px": 0.5})
    config = replace(SMALL, steps=100, validation=ValidationOptions(minutes=10.0))
    killed = Trainer(config, tmp_path, CPU)
    killed.seconds = 599.999
    killed.save()
    due = []
    monkeypatch.setattr(Trainer, "_log", lambda trainer, name, values: due.append((name, trainer.step)))
    for _ in range(2):
        Trainer(config, tmp_path, CPU).train(stop_after=3)
    assert due == [("validation.csv", step) for step in (1, 3, 6)]  # and each time at the end


def test_a_finished_run_is_validated_in_place(tmp_path: Path, photographs: np.ndarray) -> None:
    np.save(tmp_path / "crops.npy", photographs)
    options = ValidationOptions(pairs=2, height=64, width=96)
    config = replace(SMALL, steps=2, validation=options, validation_crops=str(tmp_path / "crops.npy"))
    for _ in range(2):
        Trainer(config, tmp_path, CPU).train()
    columns = read_columns(tmp_path / "validation.csv")
    assert columns["step"] == [2]
    assert {"homography_3px", "matching_3px", "localisation", "keypoints"} < columns.keys()


def test_exported_folder_loads_as_the_trained_network(tmp_path: Path) -> None:
    trainer = Trainer(SMALL, tmp_path / "run", CPU)
    trainer.train(stop_after=3)
    config = tmp_path / "small.yaml"
    config.write_text(
        "name: small\nnetwork: {encoder_hidden_sizes: [8, 8, 8, 8], decoder_hidden_size: 16, "
        "descriptor_decoder_dim: 16}\n"
    )
    arguments = ["--config", config, "--run", tmp_path / "run", "--output", tmp_path / "out", "--threshold", "0.02"]
    assert main(["export", *map(str, arguments)]) == 0
    loaded = load_checkpoint(tmp_path / "out")
    assert loaded.config.keypoint_threshold == 0.02
    assert loaded.config.descriptor_grid == "cell_centers"
    image = torch.rand(1, 1, 40, 48)
    with torch.inference_mode():
        expected = trainer.network.eval()(image)
        found = loaded.network()(image)
    torch.testing.assert_close(found.keypoint_logits, expected.keypoint_logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.descriptor_map, expected.descriptor_map, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nlearning_rate: 1\n", r"x\.yaml: unknown field learning_rate"),
        ("name: x\nloss: {detektor: 1}\n", r"x\.yaml: loss: unknown field detektor"),
        ("name: x\nnetwork: {decoder_hidden_size: 0}\n", "network: decoder_hidden_size"),
        ("steps: 3\n", "missing field name"),
        ("- name\n", "expected a mapping"),
        ("name: [x\n", "not a YAML file: .* line 2"),
        ("name: x\nlr: 3e-3\n", r"lr: expected a number such as .* 3\.0e-3, got '3e-3'"),
        ("name: x\nsteps: twelve\n", "steps: expected a whole number, got 'twelve'"),
        ("name: x\nloss: {detector: 0, localisation: 0, descriptor: 0}\n", "loss: expected a weight other than 0"),
        ("name: x\nloss: {detector: [1]}\n", r"loss: detector: expected a number .*, got \[1\]"),
        ("name: x\nphases: []\n", "phases: expected at least one"),
        ("name: x\nphases: {pairs: 1}\n", "phases: expected a list, got"),
        ("name: x\nphases: [{scale: [1.0]}]\n", "phases: number 1: scale: expected a list of 2, got"),
        ("name: x\nsteps: -3\n", "expected steps above 0, or minutes above 0, got -3"),  # would never end
        ("name: x\nminutes: 0\n", "expected steps above 0, or minutes above 0, got 0 and 0"),
        ("name: x\nminutes: 3\ndecay_steps: 10\n", "decay_steps: 10 .* steps, which are 0"),
    ],
)
def test_faulty_configuration_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        read_dataclass(path, TrainingConfig)
    assert "x.yaml" in str(error.value)


def test_a_mapping_changes_only_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("name: x\nnetwork: {decoder_hidden_size: 96}\n")
    expected = replace(TrainingConfig("x").network, decoder_hidden_size=96)
    assert read_dataclass(path, TrainingConfig).network == expected


@pytest.mark.parametrize("path", sorted(Path("config/training").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configurations_are_valid(path: Path) -> None:
    if path.name != "data.yaml":
        assert read_dataclass(path, TrainingConfig).name == path.stem


def test_orthogonalise_evens_out_singular_values() -> None:
    matrix = torch.randn(12, 40, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.logspace(-1, 1, 40))
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert float(values.min()) > 0.6 and float(values.max()) < 1.3
    torch.testing.assert_close(orthogonalise(matrix.T), orthogonalise(matrix).T, atol=1e-4, rtol=0)

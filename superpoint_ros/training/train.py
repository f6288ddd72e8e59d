"""``train``: joint training of detector and descriptors on homography pairs, resumable at any moment."""

from __future__ import annotations

import argparse
import csv
import math
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..superpoint.arguments import non_negative_int, positive_float
from ..superpoint.backends import resolve_device
from ..superpoint.files import replacing
from ..superpoint.network import NetworkOutput, SuperPointNetwork
from ..superpoint.options import DetectionOptions
from ..superpoint.state_dicts import find_mismatch
from .configuration import Phase, TrainingConfig
from .dataset import CropStore, PairBatch, load_prepared
from .gpu import PairStream, use_fast_arithmetic
from .initial_weights import insert_batch_norm, load_released_weights, new_network
from .moving_average import MovingAverage
from .objectives import distillation_losses, pair_losses, weighted_sum
from .optimizer import build_optimizers
from .plots import plot_run
from .saved_runs import read_run
from .synthetic_shapes import SyntheticShapes
from .validation import ValidationPairs, validate, validation_pairs
from .yaml_files import read_dataclass


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``train``."""
    parser.add_argument(
        "--config", type=Path, required=True, help="YAML of the model, e.g. config/training/default.yaml"
    )
    parser.add_argument(
        "--run", dest="run_folder", type=Path, help="folder of checkpoints and metrics (default: runs/<name>)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda:N")
    parser.add_argument("--minutes", type=positive_float, help="replaces the budget of the configuration")
    parser.add_argument(
        "--pause-after",
        type=positive_float,
        metavar="MINUTES",
        help="save and stop then; the same command goes on where it was",
    )
    parser.add_argument(
        "--threads", type=non_negative_int, default=0, help="CPU threads; 0 leaves the choice to PyTorch"
    )


def run(args: argparse.Namespace) -> int:
    """Run ``train`` and return the exit status."""
    config = read_dataclass(args.config, TrainingConfig)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.minutes:
        config = replace(config, minutes=args.minutes, steps=0, decay_steps=0)  # which counts from the end of the steps
    trainer = Trainer(config, args.run_folder or Path("runs") / config.name, resolve_device(args.device))
    trainer.train(pause_after=60 * args.pause_after if args.pause_after else math.inf)
    return 0


class Trainer:
    """One training run in one folder; picks up where a previous one in the same folder stopped.

    Parameters
    ----------
    config : TrainingConfig
    folder : Path
        Holds ``checkpoint.pt``, ``metrics.csv`` and ``validation.csv``.
    device : torch.device
    """

    def __init__(self, config: TrainingConfig, folder: Path, device: torch.device) -> None:
        self.config, self.folder, self.device = config, folder, device
        use_fast_arithmetic(device)
        torch.manual_seed(config.seed)
        self.generator = torch.Generator(device).manual_seed(config.seed)
        self.store = self._store()
        self._on_pair_stream = PairStream(device)
        self.network = self._initial_network().to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = MovingAverage(self.network, config.average) if config.average else None
        self.teacher = load_released_weights(config.teacher).to(device) if config.teacher.folder else None
        self.log_inverse_temperature = nn.Parameter(
            torch.tensor(math.log(config.loss.inverse_temperature), device=device)
        )
        self.optimizers = build_optimizers(
            self.network, [self.log_inverse_temperature], config.lr, config.muon_lr, config.weight_decay
        )
        self.step, self.seconds, self.validated = 0, 0.0, 0.0  # the last in the run's own seconds
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "checkpoint.pt").exists():
            self.load()
        for name in ("metrics.csv", "validation.csv"):
            drop_rows_after(folder / name, self.step)

    @property
    def result(self) -> SuperPointNetwork:
        """The network to validate and export: the moving average, if there is one."""
        return self.average.network if self.average else self.network

    @property
    def progress(self) -> float:
        """Share of the budget that is spent, 0 to 1."""
        if self.config.steps:
            return self.step / self.config.steps
        return self.seconds / (60 * self.config.minutes)

    def train(self, save_every: float = 120.0, stop_after: int | None = None, pause_after: float = math.inf) -> None:
        """Train until the budget is spent, or for `stop_after` steps or `pause_after` seconds.

        Parameters
        ----------
        save_every : float
            Seconds between checkpoints; there is one at the end too.
        stop_after : int, optional
            Steps to make now.
        pause_after : float
            Seconds to train now; validation afterwards comes on top.
        """
        pairs = self._validation_pairs()
        began = last_save = time.monotonic()
        bar = tqdm(desc=self.config.name, initial=self.step, total=self.config.steps or None, mininterval=10)
        records: list[dict[str, Tensor]] = []
        first_step, clock = self.step, time.monotonic()
        while self.progress < 1 and (stop_after is None or self.step - first_step < stop_after):
            records.append(self.train_step())
            self.step += 1
            self.seconds, clock = self.seconds + time.monotonic() - clock, time.monotonic()
            bar.update()
            if self.step % 50 == 0:
                means = {key: float(torch.stack([record[key] for record in records]).mean()) for key in records[0]}
                bar.set_postfix({key: f"{value:.3g}" for key, value in means.items()}, refresh=False)
                self._log("metrics.csv", means)
                records = []
            if time.monotonic() - began > pause_after:
                break
            if time.monotonic() - last_save > save_every:
                self.save()
                last_save = time.monotonic()
            if pairs and self.seconds - self.validated > 60 * self.config.validation.minutes:
                self.validate(pairs)
                self.validated = self.seconds + time.monotonic() - clock
        bar.close()
        self.save()
        if pairs:
            self.validate(pairs)
        plot_run(self.folder)

    def train_step(self) -> dict[str, Tensor]:
        """Make one optimisation step and return its losses, on the device: the step does not wait for a GPU."""
        config = self.config
        self._set_learning_rates()
        batch = self._on_pair_stream(self._sample)
        images = batch.images.to(memory_format=torch.channels_last)
        autocast = torch.autocast(self.device.type, torch.bfloat16) if _fast_bf16(self.device) else nullcontext()
        with autocast:
            output = self.network(images)
            target = self._teach(images)
        if target:
            losses = distillation_losses(output, target)
        else:
            inverse_temperature = self.log_inverse_temperature.exp().clamp(max=100)
            grid = config.network.descriptor_grid
            losses = pair_losses(output, batch, config.loss, grid, inverse_temperature, self.generator)
        total = weighted_sum(losses, config.loss)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)
        self._drop_broken_gradients()
        for optimizer in self.optimizers:
            optimizer.step()
        if self.average:
            self.average.update(self.network)
        return {key: value.detach() for key, value in losses.items()} | {"gradient_norm": norm}

    def _sample(self) -> PairBatch:
        phase = self._phase()
        pairs = replace(self.config.pairs, first=replace(self.config.pairs.first, scale=phase.scale))
        return self.store.sample(phase.pairs, (phase.height, phase.width), pairs, self.generator)

    def _drop_broken_gradients(self) -> None:
        """Let a broken batch, which must not end the run, change nothing but momentum.

        One infinite or undefined value makes the norm so, and clipping by it leaves zeros and NaN only.
        """
        for parameter in (*self.network.parameters(), self.log_inverse_temperature):
            if parameter.grad is not None:
                parameter.grad.nan_to_num_(0.0)

    @torch.no_grad()
    def _teach(self, images: Tensor) -> NetworkOutput | None:
        return self.teacher(images) if self.teacher else None

    def validate(self, pairs: ValidationPairs) -> dict[str, float]:
        """Measure on `pairs` and write the result to ``validation.csv``, in place of an earlier one at this step."""
        options = DetectionOptions(threshold=self.config.validation.threshold, subpixel="soft_argmax")
        metrics = validate(self.result, pairs, options, self.config.network.descriptor_grid)
        drop_rows_after(self.folder / "validation.csv", self.step - 1)
        self._log("validation.csv", metrics)
        plot_run(self.folder)
        tqdm.write(f"step {self.step}: " + ", ".join(f"{key} {value:.3f}" for key, value in metrics.items()))
        return metrics

    def save(self) -> None:
        """Write everything needed to go on as if never interrupted."""
        state = {
            "network": self.network.state_dict(),
            "result": self.result.state_dict(),
            "averaged": self.average.updates if self.average else None,
            "log_inverse_temperature": self.log_inverse_temperature.detach(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "generator": self.generator.get_state(),
            "step": self.step,
            "seconds": self.seconds,
            "validated": self.validated,
        }
        with replacing(self.folder / "checkpoint.pt") as partial:
            torch.save(state, partial)

    def load(self) -> None:
        """Go back to the last `save`, which may be one of a run on another kind of device.

        Random numbers begin anew there: a CPU has no use for the state of a GPU's generator, nor a GPU for a CPU's.

        Raises
        ------
        ValueError
            If that is damaged, or of a run with another network, or with or without `average` or `muon_lr`
            unlike this one; the message names the file.
        """
        path = self.folder / "checkpoint.pt"
        # To the CPU first: Adam's step counters stay where they are loaded to, and on a GPU each is waited for.
        state = read_run(path, self.network.config)
        for name, theirs, ours in (
            ("average", state["averaged"] is not None, self.average is not None),
            ("muon_lr", len(state["optimizers"]) > 1, len(self.optimizers) > 1),
        ):
            if theirs != ours:
                raise ValueError(f"{path}: of another configuration, {'with' if theirs else 'without'} {name}")
        self.network.load_state_dict(state["network"])
        if self.average:
            self.average.network.load_state_dict(state["result"])
            self.average.updates = int(state["averaged"])
        self.log_inverse_temperature.data.copy_(state["log_inverse_temperature"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]
        if state["generator"].shape == self.generator.get_state().shape:
            self.generator.set_state(state["generator"])
        else:
            self.generator.manual_seed(self.config.seed + self.step)  # the seed alone would bring the first pairs again
        self.validated = state.get("validated", 0.0)  # which older checkpoints lack

    def _initial_network(self) -> SuperPointNetwork:
        init, phase = self.config.init, self.config.phases[0]
        if not init.folder:
            return new_network(self.config)
        released = load_released_weights(init)
        mismatch = find_mismatch(released.state_dict(), replace(self.config.network, batch_norm="none"))
        if mismatch:
            raise ValueError(f"init: {init.folder}: expected weights of the sizes of `network`, but {mismatch}")
        batch = self.store.sample(32, (phase.height, phase.width), self.config.pairs, self.generator)
        return insert_batch_norm(released, batch.images.cpu())

    def _store(self) -> CropStore | SyntheticShapes:
        if self.config.synthetic_size:
            height, width = self.config.synthetic_size
            return SyntheticShapes((height, width), self.device)
        return CropStore(Path(self.config.crops), Path(self.config.labels), self.device)

    def _phase(self) -> Phase:
        return next((phase for phase in self.config.phases if self.progress < phase.until), self.config.phases[-1])

    def _set_learning_rates(self) -> None:
        warmup = min(1.0, (self.step + 1) / max(1, self.config.warmup_steps))
        if self.config.decay_steps:
            share = min(1.0, (self.config.steps - self.step) / self.config.decay_steps)
        else:
            share = 0.5 + 0.5 * math.cos(math.pi * min(1.0, self.progress))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * max(share, 0.005) * warmup

    def _validation_pairs(self) -> ValidationPairs | None:
        options, path = self.config.validation, Path(self.config.validation_crops)
        if not options.pairs:
            return None
        return validation_pairs(load_prepared(path), options.pairs, (options.height, options.width), options.seed)

    def _log(self, name: str, values: dict[str, float]) -> None:
        row = {"step": self.step, "minutes": round(self.seconds / 60, 2), **values}
        path = self.folder / name
        is_new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row.keys())
            if is_new:
                writer.writeheader()
            writer.writerow({key: value if isinstance(value, int) else f"{value:.5g}" for key, value in row.items()})


def drop_rows_after(path: Path, step: int) -> None:
    """Drop the rows of later steps from a CSV of `Trainer`, if there is one: a resumed run makes these steps again.

    Where none is left the file goes, whose columns may be those of another configuration.
    """
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines[1:] if float(line.split(b",")[0]) <= step]
    if not kept:
        path.unlink()
        return
    with replacing(path) as partial:
        partial.write_bytes(b"".join(lines[:1] + kept))


def _fast_bf16(device: torch.device) -> bool:
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()

"""``evaluate odometry``: the same odometry on the features of each detector; docs/odometry.md states the protocol."""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import asdict
from pathlib import Path

from ..simulation.flights import FLIGHTS
from ..superpoint.files import replacing
from .detectors import Detector
from .odometry_benchmark import OdometryResult, check_evo, odometry_table, run_odometry_benchmark, write_tum
from .recorded_sequences import open_sequence
from .report import software_versions, write_json
from .sequences import Sequence, simulated_sequences


def add_odometry_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what is special to ``evaluate odometry``."""
    parser.add_argument(
        "--dataset",
        default=["simulated"],
        nargs="+",
        metavar="simulated|DIR",
        help="simulated flights, or folders in TUM RGB-D or EuRoC layout (default: simulated)",
    )
    parser.add_argument(
        "--flights", nargs="+", choices=tuple(FLIGHTS), default=list(FLIGHTS), help="simulated: which (default: all)"
    )
    parser.add_argument(
        "--seconds", type=float, default=6.0, help="simulated: of each flight, 10 frames each (default: %(default)s)"
    )
    parser.add_argument("--width", type=int, default=480, help="simulated: of 4:3 images (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="simulated: of the room (default: %(default)s)")
    parser.add_argument(
        "--modes", nargs="+", choices=("stereo", "mono"), default=["stereo", "mono"], help="default: both"
    )
    parser.add_argument("--max-keypoints", type=int, default=1000, metavar="N", help="best ones (default: %(default)s)")


def odometry_sequences(args: argparse.Namespace) -> list[Sequence]:
    """Open everything that ``--dataset`` names; raises ``ValueError`` if evo is missing or a folder is malformed."""
    check_evo()
    sequences: list[Sequence] = []
    for name in args.dataset:
        if name == "simulated":
            size = args.width, round(args.width * 3 / 4)
            sequences += simulated_sequences(args.flights, args.seconds, size, args.seed)
        else:
            sequences.append(open_sequence(Path(name)))
    return sequences


def evaluate_odometry(args: argparse.Namespace, detectors: list[Detector]) -> None:
    """Run the benchmark and write odometry.json, odometry.md, the trajectories and their plots."""
    sequences = odometry_sequences(args)
    results = run_odometry_benchmark(sequences, detectors, args.modes, args.max_keypoints)
    descriptions = {detector.name: detector.description for detector in detectors}
    text = odometry_table(results) + "".join(f"\n- {name}: {text}" for name, text in descriptions.items()) + "\n"
    figures = [{key: value for key, value in asdict(result).items() if key != "estimated"} for result in results]
    head = {"detectors": descriptions, "software": software_versions(), "max_keypoints": args.max_keypoints}
    write_json(args.output / "odometry.json", {**head, "results": figures})
    with replacing(args.output / "odometry.md") as partial:
        partial.write_text(text, encoding="utf-8")
    _write_trajectories(args.output / "trajectories", sequences, results)
    if importlib.util.find_spec("matplotlib") is not None:
        from .trajectory_plots import plot_trajectories

        for mode in args.modes:
            plot_trajectories(args.output / f"odometry_{mode}.png", sequences, results, mode)
    print(text)
    print(f"written to {args.output}: odometry.json, odometry.md, trajectories/ (TUM format, for evo), plots")


def _write_trajectories(folder: Path, sequences: list[Sequence], results: list[OdometryResult]) -> None:
    for sequence in sequences:
        with replacing(folder / f"{sequence.name}_truth.txt") as partial:
            write_tum(partial, sequence.truth)
    for result in results:
        if result.estimated:
            with replacing(folder / f"{result.sequence}_{result.detector}_{result.mode}.txt") as partial:
                write_tum(partial, result.estimated)

"""``evaluate odometry``: the same odometry on the features of each detector; docs/odometry.md states the protocol."""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import asdict
from itertools import product
from pathlib import Path

from ..simulation.flights import FLIGHTS
from ..superpoint.arguments import non_negative_int, positive_float, positive_int
from ..superpoint.files import replacing
from .detectors import Detector
from .odometry_benchmark import OdometryResult, check_evo, fly, write_tum
from .odometry_report import RunFile, odometry_table
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
        "--seconds",
        type=positive_float,
        default=6.0,
        help="simulated: of each flight, 10 frames each (default: %(default)s)",
    )
    parser.add_argument(
        "--width", type=positive_int, default=480, help="simulated: of 4:3 images (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=non_negative_int, default=0, help="simulated: of the room (default: %(default)s)"
    )
    parser.add_argument(
        "--modes", nargs="+", choices=("stereo", "mono"), default=["stereo", "mono"], help="default: both"
    )
    parser.add_argument(
        "--runs",
        type=positive_int,
        default=1,
        metavar="N",
        help="of each sequence, with other noise, moving objects and RANSAC samples; the median counts (default: 1)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="keep what is finished, in OUTPUT/runs, and had the same settings"
    )
    parser.add_argument(
        "--max-keypoints", type=positive_int, default=1000, metavar="N", help="best ones (default: %(default)s)"
    )


def odometry_sequences(args: argparse.Namespace) -> list[Sequence]:
    """Open everything that ``--dataset`` names.

    Raises
    ------
    ValueError
        If evo is missing, a folder is malformed, or two sequences would share a name, and so their results.
    """
    check_evo()
    opened = [(place, sequence) for place in args.dataset for sequence in _open(place, args)]
    places: dict[str, str] = {}
    for place, sequence in opened:
        if sequence.name in places:
            raise ValueError(
                f"--dataset: {places[sequence.name]} and {place} both have a sequence {sequence.name!r}, and results "
                "go by this name; rename a folder, or evaluate each into another --output"
            )
        places[sequence.name] = place
    return [sequence for _, sequence in opened]


def _open(place: str, args: argparse.Namespace) -> list[Sequence]:
    if place != "simulated":
        return [open_sequence(Path(place))]
    size = args.width, round(args.width * 3 / 4)
    return simulated_sequences(args.flights, args.seconds, size, args.seed)


def evaluate_odometry(args: argparse.Namespace, sequences: list[Sequence], detectors: list[Detector]) -> None:
    """Run the benchmark and write runs/, odometry.json, odometry.md, the trajectories and their plots."""
    results = _all_runs(args, sequences, detectors)
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

        drawn = [result for result in results if result.run == 0]
        for mode in args.modes:
            plot_trajectories(args.output / f"odometry_{mode}.png", sequences, drawn, mode)
    print(text)
    print(f"written to {args.output}: odometry.json, odometry.md, runs/, trajectories/ (TUM format, for evo), plots")


def _all_runs(args: argparse.Namespace, sequences: list[Sequence], detectors: list[Detector]) -> list[OdometryResult]:
    """Fly every sequence as often as asked for; what came of each is written before the next one begins."""
    results = []
    for sequence in sequences:
        flown = list(product(detectors, range(args.runs)))
        files = [_run_file(args, sequence, detector, run) for detector, run in flown]
        found = [file.read() if args.resume else None for file in files]
        missing = [index for index, finished in enumerate(found) if finished is None]
        if missing:
            new = fly(sequence, [flown[index] for index in missing], args.modes, args.max_keypoints)
            for index, finished in zip(missing, new):
                files[index].write(finished)
                found[index] = finished
        results += [result for finished in found for result in finished or ()]
    return results


def _run_file(args: argparse.Namespace, sequence: Sequence, detector: Detector, run: int) -> RunFile:
    setup = {
        "sequence": sequence.description,
        "detector": detector.description,
        "modes": args.modes,
        "max_keypoints": args.max_keypoints,
        "software": software_versions(),
    }
    return RunFile(args.output / "runs" / f"{sequence.name}_{_file_name(detector.name)}_{run}.json", setup)


def _file_name(detector: str) -> str:
    return detector.replace("/", "_")  # weights are named by their path


def _write_trajectories(folder: Path, sequences: list[Sequence], results: list[OdometryResult]) -> None:
    for sequence in sequences:
        with replacing(folder / f"{sequence.name}_truth.txt") as partial:
            write_tum(partial, sequence.truth)
    for result in results:
        if result.estimated:
            suffix = f"_run{result.run}" if result.run else ""
            name = _file_name(result.detector)
            with replacing(folder / f"{result.sequence}_{name}_{result.mode}{suffix}.txt") as partial:
                write_tum(partial, result.estimated)

"""Command ``benchmark``: how fast whole extractors are, image in, features out, in paired runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from ...superpoint import load_checkpoint
from ...superpoint.arguments import positive_int
from ...superpoint.backends import resolve_device
from ...superpoint.files import make_output_folder, replacing
from ..report import write_json
from .contestants import make_contestants
from .machine import describe_machine, describe_software
from .peers import PEERS
from .timing import Images, Setting, Timing, time_contestants


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``benchmark``."""
    parser.description = (
        "The first value of each option makes the setting that all others are compared with: they vary one at a time."
    )
    parser.add_argument("--images", type=Path, help="folder of photographs (default: those of scikit-image)")
    parser.add_argument("--sizes", nargs="+", default=["480x640"], metavar="HxW", help="default: 480x640")
    parser.add_argument("--batches", nargs="+", type=positive_int, default=[1], help="images per call (default: 1)")
    parser.add_argument("--max-keypoints", nargs="+", type=int, default=[1024], help="default: 1024")
    parser.add_argument("--threads", nargs="+", type=positive_int, default=[2], help="CPU threads (default: 2)")
    parser.add_argument("--rounds", type=positive_int, default=15, help="rounds of all contestants (default: 15)")
    parser.add_argument("--weights", default="default", help="used by all SuperPoint contestants")
    parser.add_argument("--device", default="cpu", help="of the SuperPoint contestants: cpu or cuda:N")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME:FOLDER",
        help=f"another implementation to measure ({', '.join(PEERS)}) and the folder of its source; may be repeated",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("benchmark_output"),
        help="folder of speed.json, speed.md and, where something varies, speed.png",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run ``benchmark``; returns the exit status."""
    photographs = _read_photographs(arguments.images)
    checkpoint = load_checkpoint(arguments.weights)
    device = resolve_device(arguments.device)
    machine = describe_machine(device)
    timings: list[Timing] = []
    for setting in _settings(arguments):
        contestants = make_contestants(setting, checkpoint, device, arguments.peer)
        make_output_folder(arguments.output)  # not before: what is wrong with the contestants leaves nothing behind
        timings += time_contestants(setting, contestants, photographs, arguments.rounds)
    record = {
        "machine": machine,
        "software": describe_software(),
        "weights": checkpoint.name,
        "rounds": arguments.rounds,
    }
    table = _table(timings)
    write_json(arguments.output / "speed.json", {**record, "timings": [asdict(timing) for timing in timings]})
    text = f"{table}\n{json.dumps(record)}\n"
    with replacing(arguments.output / "speed.md") as partial:
        partial.write_text(text, encoding="utf-8")
    if len({timing.setting for timing in timings}) > 1 and find_spec("matplotlib"):
        from .plots import plot_speed

        plot_speed(arguments.output / "speed.png", timings)
    print(table)
    return 0


def _settings(arguments: argparse.Namespace) -> list[Setting]:
    """Return the setting of the first value of each option, and all that differ from it in one option."""
    sizes = [_parse_size(size) for size in arguments.sizes]
    base = Setting(*sizes[0], arguments.batches[0], arguments.max_keypoints[0], arguments.threads[0])
    return [
        base,
        *(replace(base, height=height, width=width) for height, width in sizes[1:]),
        *(replace(base, batch=batch) for batch in arguments.batches[1:]),
        *(replace(base, max_keypoints=limit) for limit in arguments.max_keypoints[1:]),
        *(replace(base, threads=threads) for threads in arguments.threads[1:]),
    ]


def _read_photographs(folder: Path | None) -> Images:
    """Read colour photographs as RGB, with their pixels as they are stored, as all of the evaluation does.

    Raises
    ------
    ValueError
        If there are none.
    """
    if folder is None:
        try:
            import skimage
        except ImportError:
            raise ValueError("the default photographs are those of scikit-image: install it or give --images") from None
        folder = Path(skimage.__file__).parent / "data"
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    read = (cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) for path in paths)
    images = [
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in read if image is not None and min(image.shape[:2]) > 250
    ]
    if not images:
        raise ValueError(f"{folder}: no photographs (.png, .jpg) of at least 250 pixels")
    return [np.asarray(image, np.uint8) for image in images]


def _parse_size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise ValueError(f"--sizes takes HEIGHTxWIDTH such as 480x640, got {text!r}")
    return int(height), int(width)


def _table(timings: Sequence[Timing]) -> str:
    """Return a Markdown table."""
    lines = [
        "| size | batch | keypoints | threads | extractor | ms per image | network | decoding "
        "| times as fast as transformers (quartiles) |",
        "| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for timing in timings:
        setting = timing.setting
        network, decoding = (f"{timing.stages[name]:.1f}" if timing.stages else "" for name in ("network", "decoding"))
        ratio = "{1:.1f} ({0:.1f} to {2:.1f})".format(*timing.ratios) if timing.ratios else ""
        lines.append(
            f"| {setting.height}x{setting.width} | {setting.batch} | {setting.max_keypoints} | {setting.threads} "
            f"| {timing.name} | {timing.milliseconds:.1f} | {network} | {decoding} | {ratio} |"
        )
    return "\n".join(lines) + "\n"

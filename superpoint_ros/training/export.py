"""``export``: a training run becomes a Hugging Face folder, weights an ONNX file or a Hugging Face folder."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import get_args

from ..superpoint.checkpoints import Checkpoint, load_checkpoint, save_pretrained
from ..superpoint.config import PreprocessorConfig, Subpixel
from ..superpoint.onnx_export import export_onnx
from .configuration import TrainingConfig
from .saved_runs import read_run
from .yaml_files import read_dataclass


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``export``."""
    source = parser.add_argument_group("what to export")
    source.add_argument("--weights", help="'default' (if nothing is said), 'small', a file, a folder or a model id")
    source.add_argument("--config", type=Path, help="instead of weights: YAML that a run was trained with")
    source.add_argument("--run", dest="run_folder", type=Path, help="folder of the run (default: runs/<name>)")
    source.add_argument("--threshold", type=float, help="keypoint threshold to recommend (default of a run: 0.005)")
    source.add_argument("--subpixel", choices=get_args(Subpixel), help="refinement to recommend (run: soft_argmax)")
    source.add_argument("--max-keypoints", type=int, help="limit per image to recommend, -1 for all (run: 1024)")

    target = parser.add_argument_group("as what")
    form = target.add_mutually_exclusive_group(required=True)
    form.add_argument("--output", type=Path, metavar="FOLDER", help="Hugging Face folder, batch normalisation folded")
    form.add_argument("--onnx", type=Path, metavar="FILE", help="ONNX file with dense outputs, see docs/onnx.md")
    target.add_argument("--height", type=int, help="of the ONNX input in pixels, a multiple of 8 (default: 480)")
    target.add_argument("--width", type=int, help="of the ONNX input in pixels, a multiple of 8 (default: 640)")
    target.add_argument("--dynamic", action="store_true", help="let batch, height and width of the ONNX input vary")


def run(args: argparse.Namespace) -> int:
    """Run ``export`` and return the exit status."""
    if (args.weights and args.config) or (args.run_folder and not args.config):
        raise ValueError("give either --weights or --config, and --run only with --config")
    if args.onnx and args.config:  # its name would differ from that of the folder, and so of the same descriptors
        raise ValueError(
            "export the run to a folder first: --config ... --output FOLDER, then --weights FOLDER --onnx FILE"
        )
    sized = args.height is not None or args.width is not None
    if args.dynamic and sized:
        raise ValueError("give either --dynamic or --height and --width")
    if args.output and (args.dynamic or sized):
        raise ValueError("--dynamic, --height and --width are for --onnx; weights in a folder have no size")
    if args.onnx and args.onnx.is_dir():
        raise ValueError(f"{args.onnx}: is a folder; --onnx takes a file")
    if args.output and args.output.is_file():
        raise ValueError(f"{args.output}: is a file; --output takes a folder")
    checkpoint = _trained(args) if args.config else load_checkpoint(args.weights or "default")
    given = {"keypoint_threshold": args.threshold, "subpixel": args.subpixel, "max_keypoints": args.max_keypoints}
    chosen = {name: value for name, value in given.items() if value is not None}
    checkpoint = replace(checkpoint, config=replace(checkpoint.config, **chosen))
    if args.onnx:
        height, width = (default if side is None else side for side, default in ((args.height, 480), (args.width, 640)))
        export_onnx(checkpoint, args.onnx, None if args.dynamic else (height, width))
    else:
        save_pretrained(args.output, checkpoint)
    print(f"wrote {args.onnx or args.output}")
    return 0


def _trained(args: argparse.Namespace) -> Checkpoint:
    config = read_dataclass(args.config, TrainingConfig)
    file = (args.run_folder or Path("runs") / config.name) / "checkpoint.pt"
    if not file.is_file():
        raise ValueError(f"{file}: no such file; train first, or name the run with --run")
    state = read_run(file, config.network)["result"]
    recommended = replace(config.network, keypoint_threshold=0.005, subpixel="soft_argmax", max_keypoints=1024)
    return Checkpoint(config.name, recommended, PreprocessorConfig(do_grayscale=True), state)

"""``export``: turn a training run into a Hugging Face folder with folded batch normalisation."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch

from ..superpoint.checkpoints import Checkpoint, save_pretrained
from ..superpoint.config import PreprocessorConfig, Subpixel
from .configuration import load_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``export``."""
    parser.add_argument("--config", type=Path, required=True, help="YAML that the run was trained with")
    parser.add_argument("--run", dest="run_folder", type=Path, help="folder of the run (default: runs/<name>)")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--threshold", type=float, default=0.005, help="recommended keypoint threshold")
    parser.add_argument("--subpixel", default="soft_argmax", choices=get_args(Subpixel), help="recommended refinement")
    parser.add_argument("--max-keypoints", type=int, default=1024, help="recommended limit per image, -1 for all")


def run(args: argparse.Namespace) -> int:
    """Run ``export`` and return the exit status."""
    config = load_config(args.config)
    checkpoint = (args.run_folder or Path("runs") / config.name) / "checkpoint.pt"
    if not checkpoint.is_file():
        raise ValueError(f"{checkpoint}: no such file; train first, or name the run with --run")
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["result"]
    decided = replace(
        config.network,
        keypoint_threshold=args.threshold,
        subpixel=args.subpixel,
        max_keypoints=args.max_keypoints,
    )
    save_pretrained(args.output, Checkpoint(config.name, decided, PreprocessorConfig(do_grayscale=True), state))
    print(f"wrote {args.output}")
    return 0

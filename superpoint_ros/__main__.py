"""Command line: ``python -m superpoint_ros COMMAND``."""

from __future__ import annotations

import argparse
import importlib
import sys

COMMANDS = {
    "extract": ("superpoint_ros.superpoint.extract", "find keypoints in images, write them and a picture of them"),
    "match": ("superpoint_ros.matching.match", "find what two images have in common"),
    "bag": ("superpoint_ros.bags.command", "add keypoints to the images of a recorded bag"),
    "prepare-data": ("superpoint_ros.training.prepare", "fetch freely licensed pictures and build the training data"),
    "train": ("superpoint_ros.training.train", "train a model"),
    "export": (
        "superpoint_ros.training.export",
        "write a training run as a weights folder, or weights as an ONNX file",
    ),
    "quantize": ("superpoint_ros.superpoint.quantize", "make the 8-bit model that precision int8 runs"),
    "evaluate": ("superpoint_ros.evaluation.evaluate", "measure weights against classical detectors"),
    "benchmark": ("superpoint_ros.evaluation.speed.benchmark", "time whole extractors against transformers and OpenCV"),
}

EXTRAS = {"bag": "bags", "evaluate": "evaluation"}
"""Of pyproject.toml, by the commands that cannot start without."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit status; a command's module is imported only when it is called."""
    parser = argparse.ArgumentParser(
        prog="python -m superpoint_ros", description="SuperPoint keypoints and descriptors."
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    given = sys.argv[1:] if arguments is None else arguments
    for name, (module_name, summary) in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if given[:1] == [name]:
            try:
                module = importlib.import_module(module_name)
            except ModuleNotFoundError as error:
                extra = f"pip install '.[{EXTRAS[name]}]' brings it" if name in EXTRAS else "see README.md"
                print(f"{parser.prog}: {name} needs the Python package {error.name}, {extra}", file=sys.stderr)
                return 1
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    parsed = parser.parse_args(given)
    try:
        return int(parsed.run(parsed))
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except ValueError as error:  # what the user gave; anything else is a fault of ours
        reason = str(error)
    print(f"{parser.prog}: {reason}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

"""The command ``evaluate``: detectors compared on homographies or relative poses; see docs/evaluation.md."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..superpoint import SuperPointExtractor
from ..superpoint.arguments import non_negative_int, positive_int
from ..superpoint.files import make_output_folder, replacing
from .datasets import HomographyDataset, HPatches, WarpedPhotos, find_photos
from .detectors import Detector, SuperPointDetector, classical_detector, installed_detectors
from .evaluate_odometry import add_odometry_arguments, evaluate_odometry, odometry_sequences
from .homography_benchmark import HomographyProtocol, run_homography_benchmark
from .homography_benchmark import summarize as summarize_homography
from .pose_benchmark import PoseProtocol, read_pairs, run_pose_benchmark
from .pose_benchmark import summarize as summarize_pose
from .precision_benchmark import precision_table, run_precision_benchmark
from .precision_benchmark import summarize as summarize_precision
from .rendered_pairs import write_rendered_pairs
from .report import comparison_tables, homography_tables, pose_table, software_versions, write_json
from .resampling import compare_homographies, compare_poses

SUPERPOINT = "superpoint"
KEYPOINT_BUDGETS = {(240, 320): 300, (480, 640): 1000}
PRECISIONS = (("torch", "fp32"), ("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"))
EVERY = "all"
DEFAULT_DETECTORS = (SUPERPOINT, "sift", "orb", "akaze")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``evaluate``."""
    benchmarks = parser.add_subparsers(dest="benchmark", required=True)
    homography = benchmarks.add_parser("homography", help="image pairs with known homographies")
    _add_homography_arguments(homography)
    _add_common_arguments(homography)
    precision = benchmarks.add_parser("precision", help="what bf16 and int8 change against PyTorch in fp32, on a CPU")
    _add_homography_arguments(precision)
    precision.add_argument("--weights", default="default", help="(default: %(default)s)")
    _add_output_argument(precision)
    pose = benchmarks.add_parser("pose", help="image pairs with intrinsics and known relative pose")
    pose.add_argument(
        "--pairs", type=Path, metavar="FILE", help="pair list in SuperGlue's format (default: pairs rendered in a room)"
    )
    pose.add_argument("--images", type=Path, metavar="DIR", help="folder that its names refer to (default: the list's)")
    pose.add_argument("--count", type=positive_int, default=60, help="rendered: number of pairs (default: %(default)s)")
    pose.add_argument(
        "--seed", type=non_negative_int, default=0, help="rendered: of rooms and poses (default: %(default)s)"
    )
    pose.add_argument(
        "--resize", type=non_negative_int, default=640, help="longer side in pixels, 0: native (default: %(default)s)"
    )
    pose.add_argument("--max-keypoints", type=positive_int, default=1024, metavar="N", help="default: %(default)s")
    pose.add_argument("--max-error", type=float, default=1.0, help="epipolar distance in pixels (default: %(default)s)")
    _add_common_arguments(pose)
    odometry = benchmarks.add_parser("odometry", help="the same odometry on the features of each detector")
    add_odometry_arguments(odometry)
    _add_common_arguments(odometry)


def _add_homography_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", default="warped", metavar="warped|hpatches:DIR", help="default: %(default)s")
    parser.add_argument("--images", type=Path, help="warped: folder or .npy of photographs (default: validation)")
    parser.add_argument("--pairs", type=positive_int, help="number of pairs (default: warped 150, hpatches all)")
    parser.add_argument("--seed", type=non_negative_int, default=0, help="of the random warps (default: %(default)s)")
    parser.add_argument(
        "--sizes",
        type=_shape,
        nargs="+",
        default=list(KEYPOINT_BUDGETS),
        metavar="HxW",
        help="default: 240x320 480x640",
    )
    parser.add_argument(
        "--max-keypoints",
        type=positive_int,
        nargs="+",
        metavar="N",
        help="best keypoints used, a number for each size (default: 300 at 240x320, 1000 at 480x640)",
    )


def _add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--detectors",
        nargs="+",
        default=None,
        choices=(SUPERPOINT, *installed_detectors(), EVERY),
        help=f"default: those of {', '.join(DEFAULT_DETECTORS)} that are installed; {EVERY}: each one that is",
    )
    superpoint = parser.add_argument_group("SuperPoint", "detection options not given are what the weights recommend")
    superpoint.add_argument(
        "--weights",
        nargs="+",
        default=["default"],
        help="default, small, random, a file, a folder or a Hugging Face id; several are compared (default: default)",
    )
    superpoint.add_argument("--threshold", type=float, help="lowest score of a keypoint")
    superpoint.add_argument("--nms-radius", type=int, help="of its non-maximum suppression, in pixels")
    superpoint.add_argument("--border", type=int, help="in pixels, without keypoints")
    superpoint.add_argument("--subpixel", choices=("none", "quadratic", "soft_argmax"), help="refinement of keypoints")
    superpoint.add_argument("--device", default="auto", help="auto, cpu or cuda:N (default: %(default)s)")
    superpoint.add_argument("--backend", default="torch", help="what runs the network (default: %(default)s)")
    superpoint.add_argument("--precision", default="fp32", help="of the network (default: %(default)s)")
    _add_output_argument(parser)


def _add_output_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, default=Path("evaluation_output"), help="folder (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Run ``evaluate``; returns the exit status."""
    {
        "homography": _run_homography,
        "precision": _run_precision,
        "pose": _run_pose,
        "odometry": _run_odometry,
    }[args.benchmark](args)
    return 0


def _run_homography(args: argparse.Namespace) -> None:
    dataset = _homography_dataset(args)
    detectors = make_detectors(args)
    protocol = _homography_protocol(args)
    make_output_folder(args.output)
    results = run_homography_benchmark(dataset, detectors, protocol)
    summaries, comparisons = summarize_homography(results), compare_homographies(results)
    contents = {"protocol": protocol, "summaries": summaries, "comparisons": comparisons, "pairs": results}
    tables = f"{homography_tables(summaries)}\n{comparison_tables(comparisons)}"
    _write_report(args.output, "homography", dataset.description, detectors, contents, tables)
    if _has_matplotlib():
        from .plots import plot_homography

        plot_homography(args.output / "homography.png", results, summaries)


def _run_precision(args: argparse.Namespace) -> None:
    protocol = _homography_protocol(args)
    dataset = _homography_dataset(args)
    extractors: dict[str, SuperPointExtractor] = {}
    for backend, precision in PRECISIONS:
        try:
            extractors[f"{backend} {precision}"] = SuperPointExtractor.from_pretrained(
                args.weights, device="cpu", backend=backend, precision=precision, max_keypoints=-1
            )
        except ValueError as error:
            print(f"left out: {backend} {precision}: {error}", file=sys.stderr)
    make_output_folder(args.output)
    results = run_precision_benchmark(dataset, extractors, protocol)
    summaries = summarize_precision(results)
    detectors = [SuperPointDetector(name, extractor) for name, extractor in extractors.items()]
    contents = {"protocol": protocol, "summaries": summaries, "pairs": results}
    _write_report(args.output, "precision", dataset.description, detectors, contents, precision_table(summaries))


def _homography_protocol(args: argparse.Namespace) -> HomographyProtocol:
    budgets = args.max_keypoints or [KEYPOINT_BUDGETS[shape] for shape in args.sizes if shape in KEYPOINT_BUDGETS]
    if len(budgets) != len(args.sizes):
        raise ValueError(f"--max-keypoints must give a number for each of the {len(args.sizes)} sizes")
    return HomographyProtocol(shapes=tuple(args.sizes), max_keypoints=tuple(budgets))


def _run_pose(args: argparse.Namespace) -> None:
    path = args.pairs
    pairs = read_pairs(path, args.images or path.parent) if path else []
    detectors = make_detectors(args)
    make_output_folder(args.output)
    if path is None:
        path = write_rendered_pairs(args.output / "rendered_pairs", args.count, args.seed)
        pairs = read_pairs(path, args.images or path.parent)
    protocol = PoseProtocol(args.resize, args.max_keypoints, args.max_error)
    results = run_pose_benchmark(pairs, detectors, protocol)
    summaries, comparisons = summarize_pose(results), compare_poses(results)
    contents = {"protocol": protocol, "summaries": summaries, "comparisons": comparisons, "pairs": results}
    tables = f"{pose_table(summaries)}\n{comparison_tables(comparisons)}"
    rendered = "" if args.pairs else f"rendered, seed {args.seed}, "
    description = f"{rendered}{path.name}: {len(pairs)} pairs"
    _write_report(args.output, "pose", description, detectors, contents, tables)
    if _has_matplotlib():
        from .plots import plot_pose

        plot_pose(args.output / "pose.png", results)


def _run_odometry(args: argparse.Namespace) -> None:
    sequences = odometry_sequences(args)  # what is wrong with the data set or evo shows before models load
    if args.detectors is None:
        args.detectors = [name for name in (SUPERPOINT, "orb", "sift") if name in (SUPERPOINT, *installed_detectors())]
    detectors = make_detectors(args)
    make_output_folder(args.output)
    evaluate_odometry(args, sequences, detectors)


def _homography_dataset(args: argparse.Namespace) -> HomographyDataset:
    kind, _, folder = args.dataset.partition(":")
    if kind == "hpatches" and folder:
        return HPatches(Path(folder), args.pairs)
    if args.dataset == "warped":
        return WarpedPhotos(find_photos(args.images), args.pairs or 150, args.seed)
    raise ValueError(f"--dataset must be warped or hpatches:DIR, got {args.dataset!r}")


def make_detectors(args: argparse.Namespace) -> list[Detector]:
    """Load the detectors that the command line asks for.

    Raises
    ------
    ValueError
        If weights cannot be read (`CheckpointError`) or an option is out of range.
    """
    installed = (SUPERPOINT, *installed_detectors())
    wanted = args.detectors or [key for key in DEFAULT_DETECTORS if key in installed]
    detectors: list[Detector] = []
    for key in installed if EVERY in wanted else wanted:
        if key == SUPERPOINT:
            detectors += [_superpoint(weights, args) for weights in dict.fromkeys(args.weights)]
        else:
            detectors.append(classical_detector(key))
    return detectors


def _superpoint(weights: str, args: argparse.Namespace) -> SuperPointDetector:
    extractor = SuperPointExtractor.from_pretrained(
        weights,
        device=args.device,
        backend=args.backend,
        precision=args.precision,
        threshold=args.threshold,
        nms_radius=args.nms_radius,
        border=args.border,
        subpixel=args.subpixel,
        max_keypoints=-1,
    )
    return SuperPointDetector("SuperPoint" if len(args.weights) == 1 else f"SuperPoint {weights}", extractor)


def _write_report(
    folder: Path,
    name: str,
    description: str,
    detectors: Sequence[Detector],
    contents: dict[str, Any],
    tables: str,
) -> None:
    """Write NAME.json and NAME.md and print the tables."""
    descriptions = {detector.name: detector.description for detector in detectors}
    head = {"dataset": description, "detectors": descriptions, "software": software_versions()}
    lines = [f"- {detector}: {text}\n" for detector, text in descriptions.items()]
    text = f"## {description}\n\n{tables}\n{''.join(lines)}"
    write_json(folder / f"{name}.json", {**head, **contents})
    with replacing(folder / f"{name}.md") as partial:
        partial.write_text(text, encoding="utf-8")
    print(text)
    print(f"written to {folder}: {name}.json (every pair), {name}.md")


def _has_matplotlib() -> bool:
    if importlib.util.find_spec("matplotlib") is None:
        print("no plots: matplotlib is not installed", file=sys.stderr)
        return False
    return True


def _shape(text: str) -> tuple[int, int]:
    """Parse HEIGHTxWIDTH."""
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and min(int(height), int(width)) >= 32):
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH of at least 32 pixels, such as 240x320, got {text!r}")
    return int(height), int(width)

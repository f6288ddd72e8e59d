"""Command ``match``: what two image files have in common, as text, JSON or a picture."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from ..superpoint import Features
from ..superpoint.arguments import add_extractor_arguments, extractor_from
from ..superpoint.files import make_output_folder
from ..superpoint.image_files import read_image, require_images, require_picture_name, write_image
from .overlay import draw_matches
from .pairs import FrameMatch, MatchOptions, View, match_views


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    defaults = MatchOptions()
    parser.add_argument("images", nargs=2, type=Path, metavar="IMAGE", help="two image files")
    parser.add_argument("--overlay", type=Path, help="picture of both images with lines between what matches")
    parser.add_argument("--json", action="store_true", help="print the matches as JSON instead of a summary")
    parser.add_argument(
        "--estimate",
        choices=("none", "homography"),
        default="homography",
        help="what right matches agree with; a homography fits flat scenes and pure rotation (default)",
    )
    parser.add_argument(
        "--max-error", type=float, default=defaults.max_error, help="of an inlier, in pixels (default: %(default)s)"
    )
    parser.add_argument(
        "--max-ratio",
        type=float,
        default=defaults.max_ratio,
        help="of the distances to the nearest and the second nearest; 1 lets all pass (default: %(default)s)",
    )
    parser.add_argument(
        "--max-distance",
        type=float,
        default=defaults.max_distance,
        help="between descriptors; 2 lets all pass (default: %(default)s)",
    )
    add_extractor_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Match, print and draw; returns the exit status."""
    require_images(arguments.images)
    picture = arguments.overlay
    if picture:
        require_picture_name(picture)
    if not 0 < arguments.max_error < math.inf:
        raise ValueError(f"--max-error must be a number greater than 0, got {arguments.max_error:g}")
    names = ("max_ratio", "max_distance", "estimate", "max_error")
    options = MatchOptions(**{name: getattr(arguments, name) for name in names})
    first, second = map(read_image, arguments.images)
    extractor = extractor_from(arguments)
    if picture:
        make_output_folder(picture.parent)
    features = [extractor(image) for image in (first, second)]
    views = [View(each.keypoints, each.descriptors, extractor.model_name) for each in features]
    result = match_views(views[0], views[1], options)
    summary = _summary(features, result)
    if picture:
        rows, columns = result.matches.indices.T
        points = features[0].keypoints[rows], features[1].keypoints[columns]
        overlay = draw_matches((first, second), points, result.matches.distances, result.inliers, summary)
        write_image(picture, overlay)
    if arguments.json:
        print(json.dumps(_as_json(arguments.images, extractor.model_name, features, result), indent=2))
    else:
        print(f"{arguments.images[0]}, {arguments.images[1]}: {summary} ({extractor.model_name})")
    return 0


def _summary(features: list[Features], result: FrameMatch) -> str:
    text = f"{len(result.matches)} matches of {len(features[0])} and {len(features[1])} keypoints"
    if result.kind == "none":
        return text
    found = f"{int(result.inliers.sum())} agree with a {result.kind}" if result.matrix is not None else "none agrees"
    return f"{text}, {found}"


def _as_json(paths: list[Path], model: str, features: list[Features], result: FrameMatch) -> dict[str, Any]:
    rows = zip(
        features[0].keypoints[result.matches.indices[:, 0]].tolist(),
        features[1].keypoints[result.matches.indices[:, 1]].tolist(),
        result.matches.indices.tolist(),
        result.matches.distances.tolist(),
        result.inliers.tolist(),
    )
    return {
        "images": [str(path) for path in paths],
        "model": model,
        "keypoints": [len(each) for each in features],
        "homography": None if result.matrix is None else result.matrix.tolist(),
        "inliers": int(result.inliers.sum()),
        "matches": [
            {"indices": indices, "point0": point0, "point1": point1, "distance": distance, "inlier": inlier}
            for point0, point1, indices, distance, inlier in rows
        ],
    }

"""Command ``extract``: keypoints of image files, as arrays and as a picture."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from .arguments import add_extractor_arguments, extractor_from
from .features import Features
from .files import make_output_folder, replacing
from .image_files import read_image, require_images, require_picture_name, write_image
from .overlay import draw_overlay


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files")
    parser.add_argument("--output", type=Path, help="folder for one IMAGE.npz each: keypoints, scores, descriptors")
    parser.add_argument("--overlay", type=Path, help="picture of the keypoints; a folder if there are several images")
    add_extractor_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Extract, write and print a line per image; returns the exit status."""
    require_images(arguments.images)
    _check_outputs(arguments)
    extractor = extractor_from(arguments)
    several = len(arguments.images) > 1
    if arguments.output:
        make_output_folder(arguments.output)
    is_folder = bool(arguments.overlay) and (several or arguments.overlay.is_dir())
    if arguments.overlay:
        make_output_folder(arguments.overlay if is_folder else arguments.overlay.parent)
    for path in tqdm(arguments.images, unit="image", disable=not several):
        image = read_image(path)
        features = extractor(image)
        tqdm.write(f"{path}: {len(features)} keypoints ({extractor.model_name})")
        if arguments.output:
            _save_features(arguments.output / f"{path.stem}.npz", features, extractor.model_name)
        if arguments.overlay:
            picture = arguments.overlay / f"{path.stem}.png" if is_folder else arguments.overlay
            write_image(picture, draw_overlay(image, features))
    return 0


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse what could not be written, or would overwrite itself, before anything is computed."""
    stems = [path.stem for path in arguments.images]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice and (arguments.output or arguments.overlay):
        raise ValueError(f"two images are called {twice!r}: their outputs would overwrite each other")
    if arguments.output and arguments.output.is_file():
        raise ValueError(f"{arguments.output}: is a file; --output takes a folder")
    picture = arguments.overlay
    if not picture or picture.is_dir():
        return
    if len(stems) == 1:
        require_picture_name(picture)
    elif picture.is_file() or cv2.haveImageWriter(str(picture)):
        raise ValueError(f"{picture}: --overlay takes a folder if there are several images")


def _save_features(path: Path, features: Features, model: str) -> None:
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            keypoints=features.keypoints,
            scores=features.scores,
            descriptors=features.descriptors,
            image_size=np.array(features.image_size),
            model=np.array(model),
        )

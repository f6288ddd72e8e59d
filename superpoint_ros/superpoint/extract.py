"""Command ``extract``: keypoints of image files, as arrays and as a picture."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from .arguments import add_extractor_arguments, extractor_from
from .features import Features
from .files import replacing
from .overlay import draw_overlay


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files")
    parser.add_argument("--output", type=Path, help="folder for one IMAGE.npz each: keypoints, scores, descriptors")
    parser.add_argument("--overlay", type=Path, help="picture of the keypoints; a folder if there are several images")
    add_extractor_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Extract, write and print a line per image; returns the exit status."""
    missing = next((path for path in arguments.images if not path.is_file()), None)
    if missing:
        raise ValueError(f"{missing}: no such file")
    _check_outputs(arguments)
    extractor = extractor_from(arguments)
    several = len(arguments.images) > 1
    for path in tqdm(arguments.images, unit="image", disable=not several):
        image = read_image(path)
        features = extractor(image)
        tqdm.write(f"{path}: {len(features)} keypoints ({extractor.model_name})")
        if arguments.output:
            arguments.output.mkdir(parents=True, exist_ok=True)
            _save_features(arguments.output / f"{path.stem}.npz", features, extractor.model_name)
        if arguments.overlay:
            is_folder = several or arguments.overlay.is_dir()
            picture = arguments.overlay / f"{path.stem}.png" if is_folder else arguments.overlay
            picture.parent.mkdir(parents=True, exist_ok=True)
            write_image(picture, draw_overlay(image, features))
    return 0


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse what could not be written, or would overwrite itself, before anything is computed."""
    stems = [path.stem for path in arguments.images]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice and (arguments.output or arguments.overlay):
        raise ValueError(f"two images are called {twice!r}: their outputs would overwrite each other")
    picture = arguments.overlay
    if picture and len(stems) == 1 and not picture.is_dir() and not cv2.haveImageWriter(str(picture)):
        raise ValueError(f"{picture}: the suffix must be that of an image format, such as .png")


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as (H, W, 3) uint8 RGB.

    Raises
    ------
    ValueError
        If it is not an image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: not an image that OpenCV reads")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an (H, W, 3) RGB image in the format of the file's suffix.

    Raises
    ------
    ValueError
        If the image cannot be written in that format.
    """
    succeeded, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not succeeded:
        raise ValueError(f"{path}: the image cannot be written in this format")
    with replacing(path) as partial:
        partial.write_bytes(encoded.tobytes())


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

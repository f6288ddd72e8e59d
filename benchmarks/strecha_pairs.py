"""Writes the pair list for `evaluate pose` of the image sets of Strecha et al. 2008, as docs/evaluation.md describes.

    python benchmarks/strecha_pairs.py FOLDER          # writes FOLDER/strecha_pairs.txt

FOLDER holds the sets, each with `images/NAME.jpg` and `gt_dense_cameras/NAME.jpg.camera`. Each image is paired with the
next three of its set.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from superpoint_ros.superpoint.files import replacing

SETS = ("fountain-P11", "Herz-Jesus-P25", "entry-P10", "castle-P30")
NEXT_IMAGES = 3


def read_camera(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return intrinsics (3, 3), in pixels, and the transform (4, 4) from the set's frame to the camera's.

    Of a `.camera` file, lines 1 to 3 are the intrinsics, the columns of lines 5 to 7 the axes, line 8 the position.
    """
    rows = [[float(number) for number in line.split()] for line in path.read_text().splitlines() if line.strip()]
    rotation, position = np.array(rows[4:7]).T, np.array(rows[7])
    to_camera = np.eye(4)
    to_camera[:3, :3], to_camera[:3, 3] = rotation, -rotation @ position
    return np.array(rows[:3]), to_camera


def pair_lines(folder: Path, name: str) -> Iterator[str]:
    """Yield the lines of one set."""
    images = sorted((folder / name / "images").glob("*.jpg"))
    if not images:
        raise SystemExit(f"{folder / name / 'images'}: no such folder, or no .jpg in it")
    cameras = [read_camera(folder / name / "gt_dense_cameras" / f"{image.name}.camera") for image in images]
    for first in range(len(images)):
        for second in range(first + 1, min(first + 1 + NEXT_IMAGES, len(images))):
            (intrinsics0, to_camera0), (intrinsics1, to_camera1) = cameras[first], cameras[second]
            motion = to_camera1 @ np.linalg.inv(to_camera0)
            numbers = np.concatenate([part.ravel() for part in (intrinsics0, intrinsics1, motion)])
            names = [image.relative_to(folder).as_posix() for image in (images[first], images[second])]
            yield " ".join([*names, "0", "0", *(f"{number:.10g}" for number in numbers)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    lines = [line for name in SETS for line in pair_lines(folder, name)]
    with replacing(folder / "strecha_pairs.txt") as partial:
        partial.write_text("\n".join(lines) + "\n")
    print(f"{folder / 'strecha_pairs.txt'}: {len(lines)} pairs")


if __name__ == "__main__":
    main()

"""Image pairs with exact relative pose, rendered in the simulated room, as a pair list in SuperGlue's format."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..geometry.pose import Pose, rotation_matrix
from ..simulation.flights import FREE_SPACE
from ..simulation.flights import Path as FlightPath
from ..simulation.rendering import PinholeCamera, render
from ..simulation.scene import Face, build_room
from ..simulation.visibility import shared_view

CAMERA = PinholeCamera(640, 480, 500.0)

_PAIRS_PER_ROOM = 10
_ROTATION_DEG = (3.0, 30.0)
_DISTANCE = (0.25, 1.2)  # metres
_LEAST_OVERLAP = 0.4  # share of the first image
_LARGEST_PLANE = 0.8  # share of the overlap
_GAMMA = (0.74, 1.35)
_GAIN = (0.8, 1.2)
_MOST_NOISE = 4.0  # grey levels


def write_rendered_pairs(folder: Path, count: int, seed: int) -> Path:
    """Render `count` pairs as all that is in `folder`; returns the pair list there.

    The first camera stands anywhere in the room, roughly level; the second one is 0.25 to 1.2 m away and turned by 3 to
    30 degrees about any axis. At least 40 % of the first image can be seen in the second one, and at most 80 % of that
    lies on one plane: a single plane fits two motions equally well. Both images get their own gamma, gain and noise.
    The same seed gives the same pairs. An interrupted call leaves `folder` as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.partial-") as scratch:
        complete = Path(scratch) / "complete"
        complete.mkdir()
        _render_pairs(complete, count, seed)
        # As a whole: images of one seed beside the list of another would be wrong without looking so.
        folder.rename(Path(scratch) / "earlier")
        complete.rename(folder)
    return folder / "pairs.txt"


def _render_pairs(folder: Path, count: int, seed: int) -> None:
    lines = []
    for index in tqdm(range(count), desc="rendering", unit="pair"):
        if index % _PAIRS_PER_ROOM == 0:
            room = build_room(seed + index // _PAIRS_PER_ROOM, colour=False)
        rng = np.random.default_rng([seed, index, 5])
        poses = _draw_poses(rng, room)
        names = [f"{index:03d}{side}.png" for side in "ab"]
        for name, pose in zip(names, poses):
            image = _expose(rng, render(room, CAMERA, pose))
            (folder / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
        motion = poses[1].inverse() @ poses[0]
        numbers = [*CAMERA.matrix.ravel(), *CAMERA.matrix.ravel(), *motion.matrix.ravel()]
        lines.append(" ".join([*names, "0", "0", *(repr(float(number)) for number in numbers)]))
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _draw_poses(rng: np.random.Generator, room: Sequence[Face]) -> tuple[Pose, Pose]:
    low, high = np.array(FREE_SPACE)
    while True:
        first = FlightPath(int(rng.integers(1 << 30))).pose(0.0)
        direction, axis = rng.normal(size=(2, 3))
        position = first.position + direction / np.linalg.norm(direction) * rng.uniform(*_DISTANCE)
        turn = axis / np.linalg.norm(axis) * np.radians(rng.uniform(*_ROTATION_DEG))
        second = Pose(first.rotation @ rotation_matrix(turn), position)
        if ((position >= low) & (position <= high)).all():
            view = shared_view(room, CAMERA, first, second)
            if view.overlap >= _LEAST_OVERLAP and view.largest_plane <= _LARGEST_PLANE:
                return first, second


def _expose(rng: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    gamma, gain = (float(np.exp(rng.uniform(*np.log(limits)))) for limits in (_GAMMA, _GAIN))
    light = 255 * gain * (image / 255.0) ** gamma + rng.uniform(0, _MOST_NOISE) * rng.standard_normal(image.shape)
    return np.asarray(np.rint(np.clip(light, 0, 255)), np.uint8)

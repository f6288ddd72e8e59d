"""The room: rectangles textured with photographs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from .photographs import PHOTOGRAPHS, load_photograph

Vector = NDArray[np.float64]
Image = NDArray[np.uint8]

ROOM_SIZE = (6.0, 5.0, 3.0)
"""Length (x), width (y) and height (z) in metres; the origin is the middle of the floor, z points up."""

_TEXELS_PER_METRE = 350
_TILE_SIZE = (1.0, 0.75)  # metres a photograph takes on a wall, about
_CRATES = 5
_SMALLEST_LEVEL = 16  # pixels of the shorter side


@dataclass(frozen=True)
class Face:
    """A textured rectangle, seen from one side only.

    Attributes
    ----------
    corner : ndarray, (3,)
        Where the top-left corner of the texture lies, in metres in the world.
    across, down : ndarray, (3,)
        From there to the top-right and to the bottom-left corner of the texture.
    levels : tuple of ndarray
        The texture, (H, W) or (H, W, 3), and the same at a half, a quarter ... of the size.
    """

    corner: Vector
    across: Vector
    down: Vector
    levels: tuple[Image, ...]

    def moved(self, offset: Vector) -> Face:
        """The same rectangle, `offset` (3,) further."""
        return replace(self, corner=self.corner + offset)


def build_room(seed: int, colour: bool = True) -> tuple[Face, ...]:
    """Build a closed room with crates in it.

    The crates stand at the walls; see `flights.FREE_SPACE`.

    Parameters
    ----------
    seed : int
        Chooses which photographs hang where, and the crates.
    colour : bool
        Whether textures are BGR or grey.
    """
    rng = np.random.default_rng([seed, 1])
    half_x, half_y, height = ROOM_SIZE[0] / 2, ROOM_SIZE[1] / 2, ROOM_SIZE[2]
    low, high = np.array([-half_x, -half_y, 0.0]), np.array([half_x, half_y, height])
    walls = [_textured(rng, *rectangle, colour) for rectangle in _box(low, high, inwards=True)]
    crates = [face for _ in range(_CRATES) for face in _crate(rng, colour)]
    return (*walls, *crates)


def build_board(rng: np.random.Generator, size: float, colour: bool) -> tuple[Face, ...]:
    """Build a box around the origin, `size` metres long, that can be moved about."""
    half = size * np.array([0.5, 0.5, 0.35])
    return tuple(_textured(rng, *rectangle, colour) for rectangle in _box(-half, half))


def _crate(rng: np.random.Generator, colour: bool) -> list[Face]:
    """A box that stands at a wall."""
    size = rng.uniform((0.4, 0.4, 0.5), (0.7, 0.7, 1.4))
    room = np.array(ROOM_SIZE[:2]) / 2
    center = rng.uniform(-room + size[:2] / 2, room - size[:2] / 2)
    axis = int(rng.integers(2))
    center[axis] = rng.choice([-1, 1]) * (room[axis] - size[axis] / 2)
    low, high = np.array([*(center - size[:2] / 2), 0.0]), np.array([*(center + size[:2] / 2), size[2]])
    return [_textured(rng, *rectangle, colour) for rectangle in _box(low, high)]


def _box(low: Vector, high: Vector, inwards: bool = False) -> list[tuple[Vector, Vector, Vector]]:
    """The six faces of an axis-aligned box as (corner, across, down), to be seen from outside or from inside."""
    x, y, z = np.diag(high - low)
    faces = [
        (high - x - y, x, -z),  # at the lowest y, seen from lower y: x to the right
        (high, -x, -z),  # highest y
        (high - x, -y, -z),  # lowest x
        (high - y, y, -z),  # highest x
        (high - x, x, -y),  # top
        (low, x, y),  # bottom
    ]
    return [(corner + across, -across, down) for corner, across, down in faces] if inwards else faces


def _textured(rng: np.random.Generator, corner: Vector, across: Vector, down: Vector, colour: bool) -> Face:
    width, height = float(np.linalg.norm(across)), float(np.linalg.norm(down))
    return Face(corner, across, down, _levels(_mosaic(rng, width, height, colour)))


def _mosaic(rng: np.random.Generator, width: float, height: float, colour: bool) -> Image:
    """Cover `width` x `height` metres with cuttings of photographs, no two alike."""
    columns, rows = (max(1, round(length / tile)) for length, tile in zip((width, height), _TILE_SIZE))
    shape = round(height / rows * _TEXELS_PER_METRE), round(width / columns * _TEXELS_PER_METRE)
    return np.vstack([np.hstack([_tile(rng, shape, colour) for _ in range(columns)]) for _ in range(rows)])


def _tile(rng: np.random.Generator, shape: tuple[int, int], colour: bool) -> Image:
    """Cut a random part out of a random photograph, turned and mirrored at random."""
    photo = _photograph(PHOTOGRAPHS[rng.integers(len(PHOTOGRAPHS))], colour)
    photo = np.rot90(photo, int(rng.integers(4)))
    if rng.integers(2):
        photo = photo[:, ::-1]
    fitting = min(photo.shape[0] / shape[0], photo.shape[1] / shape[1])
    size = np.array(shape) * fitting * rng.uniform(0.6, 1.0)
    top, left = (rng.uniform(size=2) * (np.array(photo.shape[:2]) - size)).astype(int)
    cutting = np.ascontiguousarray(photo[top : top + int(size[0]), left : left + int(size[1])])
    interpolation = cv2.INTER_AREA if size[0] > shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(cutting, shape[::-1], interpolation=interpolation), np.uint8)


@lru_cache(maxsize=2 * len(PHOTOGRAPHS))
def _photograph(name: str, colour: bool) -> Image:
    photo = load_photograph(name)
    return photo if colour else np.asarray(cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY), np.uint8)


def _levels(texture: Image) -> tuple[Image, ...]:
    """Halve a texture again and again, averaging over areas."""
    levels = [texture]
    while min(levels[-1].shape[:2]) >= 2 * _SMALLEST_LEVEL:
        height, width = levels[-1].shape[:2]
        half = cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(half, np.uint8))
    return tuple(levels)

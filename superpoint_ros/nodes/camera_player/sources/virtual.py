"""A virtual camera that moves in front of a wall of real photographs."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from superpoint_ros.simulation.photographs import PhotographError, load_photograph

from .frames import DEFAULT_RATE, CameraCalibration, Frame, SourceError

PHOTOGRAPHS = ("camera.png", "coffee.png", "chelsea.png", "rocket.jpg", "brick.png", "gravel.png")
"""Photographs in the scikit-image package that their authors dedicated to the public domain, see docs/consuming.md."""

COLUMNS = 3
TILE_WIDTH, TILE_HEIGHT = 640, 480
"""Size of one photograph on the wall in pixels; at the mean distance one of them fills the image."""

FOCAL_LENGTH = 0.9
"""In image widths: a horizontal field of view of 58 degrees."""


@dataclass(frozen=True)
class VirtualCamera:
    """An endless, smooth flight along a wall of photographs, with exact calibration.

    The camera is an ideal pinhole: it pans along the wall, comes closer and goes back, rolls and tilts. The frames
    depend on the attributes and the frame index alone.

    Attributes
    ----------
    width, height : int
        Image size in pixels.
    rate : float
        Frames per second.
    seed : int
        Chooses the order of the photographs and the path.
    """

    width: int = 640
    height: int = 480
    rate: float = DEFAULT_RATE
    seed: int = 0

    def title(self) -> str:
        return "a virtual camera"

    def __iter__(self) -> Iterator[Frame]:
        for index in itertools.count():
            time = index / self.rate
            image = cv2.warpPerspective(
                self.wall, self.homography(time), (self.width, self.height), borderMode=cv2.BORDER_REFLECT_101
            )
            yield Frame(np.asarray(image, np.uint8), time, self.calibration)

    @cached_property
    def calibration(self) -> CameraCalibration:
        """Pinhole calibration, the same for all frames."""
        return CameraCalibration.pinhole(self.width, self.height, FOCAL_LENGTH * self.width)

    @cached_property
    def wall(self) -> NDArray[np.uint8]:
        """The photographs side by side, uint8 BGR; at the mean distance about as finely sampled as the image."""
        detail = min(1.0, self.width / TILE_WIDTH)
        size = round(TILE_WIDTH * detail), round(TILE_HEIGHT * detail)
        names = list(PHOTOGRAPHS)
        random.Random(self.seed).shuffle(names)
        tiles = [_tile(name, size) for name in names]
        rows = [np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]
        return np.vstack(rows)

    def homography(self, time: float) -> NDArray[np.float64]:
        """3x3 matrix that maps pixels of the wall to pixels of the image, `time` seconds after the first frame."""
        phases = random.Random(self.seed).choices(range(360), k=6)

        def swing(index: int, period: float) -> float:
            return math.sin(2 * math.pi * time / period + math.radians(phases[index]))

        wall_height, wall_width = self.wall.shape[:2]
        distance = FOCAL_LENGTH * (wall_width / COLUMNS) * (1.0 + 0.25 * swing(2, 13.0))  # in pixels of the wall
        centre = np.array(
            [wall_width * (0.5 + 0.28 * swing(0, 23.0)), wall_height * (0.5 + 0.15 * swing(1, 17.0)), -distance]
        )
        rotation = _rotation(pan=0.15 * swing(3, 11.0), tilt=0.1 * swing(4, 14.0), roll=0.25 * swing(5, 19.0))
        intrinsics = np.reshape(self.calibration.k, (3, 3))
        wall_to_camera = np.column_stack([np.eye(3)[:, :2], -centre])  # the wall is the plane z = 0
        return np.asarray(intrinsics @ rotation @ wall_to_camera)


def _rotation(pan: float, tilt: float, roll: float) -> NDArray[np.float64]:
    """Rotation from wall axes to camera axes (x right, y down, z forward), angles in radians."""
    about_y, about_x, about_z = (
        cv2.Rodrigues(np.array(axis, float))[0] for axis in ((0, pan, 0), (tilt, 0, 0), (0, 0, roll))
    )
    return np.asarray(about_z @ about_x @ about_y)


def _tile(name: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Crop the middle of a photograph to the aspect ratio of `size` (width, height) and resize it."""
    try:
        image = load_photograph(name)
    except PhotographError as error:
        raise SourceError(f"virtual camera: {error}") from None
    height, width = image.shape[:2]
    scale = min(width / size[0], height / size[1])
    cropped = cv2.getRectSubPix(
        image, (int(size[0] * scale), int(size[1] * scale)), ((width - 1) / 2, (height - 1) / 2)
    )
    return np.asarray(
        cv2.resize(cropped, size, interpolation=cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC), np.uint8
    )

"""Image sequences with true trajectories, and the simulated ones among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as List
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..geometry import CameraModel
from ..geometry.pose import Pose
from ..odometry import OdometryCamera, Rectifier
from ..simulation.camera import SimulatedCamera
from ..simulation.flights import FLIGHTS
from ..simulation.rendering import PinholeCamera
from .datasets import DatasetError

Image = NDArray[np.uint8]

SIMULATED_RATE = 10.0
"""Frames per second of simulated flights."""
SIMULATED_BASELINE = 0.12
"""Metres."""
SIMULATED_FOCAL_LENGTH = 0.65
"""In image widths."""
MOST_TIME_DIFFERENCE = 0.02
"""Seconds between an image and the true pose that it is compared with."""


@dataclass(frozen=True)
class Sequence:
    """Images of one or two cameras with times, and the true trajectory.

    Attributes
    ----------
    name : str
    description : str
        What it is exactly.
    frames : callable
        Takes numbers of runs and gives an iterator of (seconds, images of each run): one image a camera, the left one
        first. Simulated noise and moving objects differ from run to run, recorded images are the same.
    length : int
        Number of frames.
    camera : OdometryCamera
    rectifiers : tuple of Rectifier
        One a camera.
    truth : tuple of (float, Pose)
        Seconds and pose of a point fixed to the camera, in any frame, while there are images.
    """

    name: str
    description: str
    frames: Callable[[List[int]], Iterator[tuple[float, List[tuple[Image, ...]]]]]
    length: int
    camera: OdometryCamera
    rectifiers: tuple[Rectifier, ...]
    truth: tuple[tuple[float, Pose], ...]


def simulated_sequences(names: list[str], seconds: float, size: tuple[int, int], room: int) -> list[Sequence]:
    """The flights of the simulated stereo camera through the room of this seed; `size` is (width, height)."""
    pinhole = PinholeCamera(*size, SIMULATED_FOCAL_LENGTH * size[0])
    model = CameraModel(pinhole.matrix, "plumb_bob", np.zeros(0), size)
    rectifier = Rectifier(model, np.eye(3), pinhole.matrix)
    camera = OdometryCamera(pinhole.matrix, SIMULATED_BASELINE)
    times = [index / SIMULATED_RATE for index in range(max(2, round(seconds * SIMULATED_RATE)))]
    sequences = []
    for name in names:
        if name not in FLIGHTS:
            raise DatasetError(f"no flight {name!r}; expected some of {', '.join(FLIGHTS)}")
        flight = SimulatedCamera(FLIGHTS[name], pinhole, SIMULATED_RATE, SIMULATED_BASELINE, room, colour=False)

        def frames(
            runs: List[int], flight: SimulatedCamera = flight
        ) -> Iterator[tuple[float, List[tuple[Image, ...]]]]:
            for index, time in enumerate(times):
                yield time, [frame.images for frame in flight.variants(index, runs)]

        description = f"{FLIGHTS[name]}, room {room}, {size[0]}x{size[1]}, {len(times)} frames"
        truth = tuple((time, FLIGHTS[name].path.pose(time)) for time in times)
        sequences.append(Sequence(name, description, frames, len(times), camera, (rectifier, rectifier), truth))
    return sequences

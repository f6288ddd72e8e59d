"""The simulated room as a source."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from superpoint_ros.simulation.camera import SimulatedCamera
from superpoint_ros.simulation.flights import FLIGHTS
from superpoint_ros.simulation.photographs import PhotographError
from superpoint_ros.simulation.rendering import PinholeCamera

from .frames import CameraCalibration, Frame, SourceError

DEFAULT_RATE = 10.0
"""Frames per second; rendering takes its time."""

FOCAL_LENGTH = 0.65
"""In image widths: a horizontal field of view of 75 degrees."""

BASELINE = 0.12
"""Metres between the two cameras of a stereo pair."""


@dataclass(frozen=True)
class Room:
    """An endless flight through the room, with exact poses.

    Attributes
    ----------
    flight : str
        One of `FLIGHTS`.
    width, height : int
        Image size in pixels.
    rate : float
        Frames per second.
    seed : int
        Chooses the room's photographs.
    stereo : bool
        Whether frames have a right one.
    """

    flight: str = "stroll"
    width: int = 640
    height: int = 480
    rate: float = DEFAULT_RATE
    seed: int = 0
    stereo: bool = False

    def __post_init__(self) -> None:
        if self.flight not in FLIGHTS:
            raise SourceError(f"room:{self.flight}: no such flight; expected room or room: with {', '.join(FLIGHTS)}")

    def title(self) -> str:
        return f"the flight {self.flight!r} through a simulated room"

    @property
    def camera(self) -> SimulatedCamera:
        """What renders the frames."""
        pinhole = PinholeCamera(self.width, self.height, FOCAL_LENGTH * self.width)
        baseline = BASELINE if self.stereo else 0.0
        return SimulatedCamera(FLIGHTS[self.flight], pinhole, self.rate, baseline, self.seed)

    def __iter__(self) -> Iterator[Frame]:
        camera = self.camera
        calibration = CameraCalibration.pinhole(self.width, self.height, FOCAL_LENGTH * self.width)
        for index in itertools.count():
            try:
                simulated = camera.frame(index)
            except PhotographError as error:
                raise SourceError(f"simulated room: {error}") from None
            left, *right = (Frame(image, simulated.time, calibration, simulated.pose) for image in simulated.images)
            if right:
                left = replace(left, right=replace(right[0], calibration=calibration.right_of(BASELINE), pose=None))
            yield left

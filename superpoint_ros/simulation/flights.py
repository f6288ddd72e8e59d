"""Paths through the room, from slow to violent, and what disturbs the images on the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry.pose import Pose, rotation_matrix

FREE_SPACE = ((-1.6, -1.1, 0.9), (1.6, 1.1, 1.9))
"""Lowest and highest x, y, z that a camera takes, in metres; `scene.build_room` keeps it free of crates."""

_CAMERA_AXES = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # a camera that looks along x, z up


@dataclass(frozen=True)
class Path:
    """A smooth, endless path in the free space, exactly known at every time.

    Position and direction swing along each axis, with periods that follow from the speeds, so that the path
    does not repeat itself.

    Attributes
    ----------
    seed : int
        Chooses phases and the relation of the periods.
    speed : float
        Greatest speed along each axis, in m/s.
    turn_rate : float
        Greatest rate of yaw, in rad/s; pitch and roll swing at about half of it.
    """

    seed: int
    speed: float = 0.3
    turn_rate: float = 0.3

    def pose(self, time: float) -> Pose:
        """Pose of the (left) camera's optical frame in the room after `time` seconds."""
        rng = np.random.default_rng([self.seed, 2])
        low, high = np.array(FREE_SPACE)
        amplitudes = np.array([*(high - low) / 2, 1.4, 0.25, 0.2])  # x, y, z in metres; yaw, pitch, roll in radians
        rates = np.array([self.speed] * 3 + [self.turn_rate] * 3) * rng.uniform((0.7,) * 4 + (0.4,) * 2, 1.0)
        rates[2] *= 0.4
        swings = amplitudes * np.sin(rates / amplitudes * time + rng.uniform(0, 2 * np.pi, 6))
        yaw, pitch, roll = swings[3:] + (rng.uniform(0, 2 * np.pi), 0.05, 0)
        rotation = rotation_matrix([0, 0, yaw]) @ rotation_matrix([0, pitch, 0]) @ rotation_matrix([roll, 0, 0])
        return Pose(rotation @ _CAMERA_AXES, (low + high) / 2 + swings[:3])


@dataclass(frozen=True)
class Disturbances:
    """What makes real images worse than rendered ones; the defaults disturb nothing.

    Attributes
    ----------
    noise : float
        Standard deviation of additive noise, in grey levels of 255.
    shutter : float
        Seconds that the shutter is open around a frame's time: motion blur.
    exposure : float
        Strength of changes of exposure: the gain swings and jumps between exp(-exposure) and exp(exposure).
    moving_objects : int
        Textured boxes that fly through the room.
    """

    noise: float = 0.0
    shutter: float = 0.0
    exposure: float = 0.0
    moving_objects: int = 0


@dataclass(frozen=True)
class Flight:
    """A path and its disturbances."""

    path: Path
    disturbances: Disturbances = Disturbances(noise=2.0)


FLIGHTS = {
    "slow": Flight(Path(1, speed=0.2, turn_rate=0.15)),
    "stroll": Flight(Path(2, speed=0.4, turn_rate=0.25)),
    "straight": Flight(Path(3, speed=0.7, turn_rate=0.1)),
    "brisk": Flight(Path(4, speed=0.8, turn_rate=0.5)),
    "turning": Flight(Path(5, speed=0.2, turn_rate=1.0)),
    "fast": Flight(Path(6, speed=1.4, turn_rate=1.0)),
    "noisy": Flight(Path(7, speed=0.4, turn_rate=0.4), Disturbances(noise=15.0)),
    "blurred": Flight(Path(8, speed=0.6, turn_rate=0.6), Disturbances(noise=2.0, shutter=0.04)),
    "very_blurred": Flight(Path(9, speed=0.8, turn_rate=1.0), Disturbances(noise=2.0, shutter=0.06)),
    "smeared": Flight(Path(14, speed=0.6, turn_rate=0.8), Disturbances(noise=2.0, shutter=0.1)),
    "flicker": Flight(Path(10, speed=0.4, turn_rate=0.4), Disturbances(noise=3.0, exposure=1.0)),
    "dark_and_bright": Flight(Path(11, speed=0.5, turn_rate=0.5), Disturbances(noise=5.0, exposure=1.8)),
    "blinding": Flight(Path(15, speed=0.5, turn_rate=0.5), Disturbances(noise=5.0, exposure=3.0)),
    "crowded": Flight(Path(12, speed=0.4, turn_rate=0.4), Disturbances(noise=2.0, moving_objects=4)),
    "everything": Flight(
        Path(13, speed=0.6, turn_rate=0.6), Disturbances(noise=8.0, shutter=0.03, exposure=1.0, moving_objects=2)
    ),
}
"""Flights by name, of rising difficulty: motion first, then each disturbance, then all together."""

"""The simulated camera: a flight through the room as a sequence of images with exact poses."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..geometry.pose import Pose, rotation_matrix, rotation_vector
from .flights import FREE_SPACE, Flight
from .rendering import PinholeCamera, render
from .scene import Face, Image, build_board, build_room

_BLUR_STEP = 2.0  # pixels of motion between two of the images that a blurred one is the mean of
_MOST_SUBFRAMES = 24
_SCENE_DISTANCE = 1.5  # metres, for that estimate of motion
_BOARD_SIZE = 0.5  # metres
_SMALLEST_DISTANCE = 0.8  # metres between the camera and a moving object's middle


@dataclass(frozen=True)
class SimulatedFrame:
    """One moment of a flight.

    Attributes
    ----------
    time : float
        Seconds since the start; the middle of the exposure.
    pose : Pose
        Of the (left) camera's optical frame (x right, y down, z forward) in the room, in metres.
    images : tuple of ndarray, each (H, W) or (H, W, 3), uint8
        The left or only image and, of a stereo camera, the right one.
    """

    time: float
    pose: Pose
    images: tuple[Image, ...]


@dataclass(frozen=True)
class SimulatedCamera:
    """An endless sequence of frames, which depend on the attributes, the frame's index and a seed alone.

    Attributes
    ----------
    flight : Flight
    camera : PinholeCamera
        Of both eyes.
    rate : float
        Frames per second.
    baseline : float
        Metres from the left to the right camera, along the left one's x axis; 0 for a monocular camera.
    room_seed : int
        Chooses the room.
    colour : bool
        Whether images are BGR or grey.
    """

    flight: Flight
    camera: PinholeCamera
    rate: float
    baseline: float = 0.0
    room_seed: int = 0
    colour: bool = True

    def __iter__(self) -> Iterator[SimulatedFrame]:
        return (self.frame(index) for index in itertools.count())

    def frame(self, index: int, seed: int = 0) -> SimulatedFrame:
        """Make the frame of this index, 0 being the first; `seed` chooses noise and ways of the moving objects."""
        return self.variants(index, (seed,))[0]

    def variants(self, index: int, seeds: Sequence[int]) -> list[SimulatedFrame]:
        """Make the frame of this index once for each seed; what all of them share is rendered once."""
        time = index / self.rate
        pose, offsets = self.flight.path.pose(time), (0.0, self.baseline) if self.baseline else (0.0,)
        frames: list[SimulatedFrame] = []
        light: list[NDArray[np.float64]] = []
        for seed in seeds:
            if not light or self.flight.disturbances.moving_objects:
                light = [self._expose(time, np.array([offset, 0, 0]), seed) for offset in offsets]
            rng = np.random.default_rng([self.flight.path.seed, self.room_seed, index, seed])
            frames.append(SimulatedFrame(time, pose, tuple(self._digitise(eye, rng) for eye in light)))
        return frames

    @cached_property
    def _room(self) -> tuple[Face, ...]:
        return build_room(self.room_seed, self.colour)

    @cached_property
    def _boards(self) -> list[tuple[Face, ...]]:
        rng = np.random.default_rng([self.room_seed, 3])
        return [build_board(rng, _BOARD_SIZE, self.colour) for _ in range(self.flight.disturbances.moving_objects)]

    def _expose(self, time: float, offset: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
        """The light, in grey levels, that falls into the eye which is `offset` (3,) from the left one."""
        disturbances = self.flight.disturbances
        count = self._subframes(time)
        times = time + ((np.arange(count) + 0.5) / count - 0.5) * disturbances.shutter
        light = np.mean([self._render(moment, offset, seed, 2 if count == 1 else 1) for moment in times], axis=0)
        return np.asarray(light * exposure_gain(time, disturbances.exposure))

    def _digitise(self, light: NDArray[np.float64], rng: np.random.Generator) -> Image:
        noise = self.flight.disturbances.noise
        noisy = light + noise * rng.standard_normal(light.shape, np.float32) if noise else light
        return np.asarray(np.rint(np.clip(noisy, 0, 255)), np.uint8)

    def _subframes(self, time: float) -> int:
        """How many images show the motion while the shutter is open without steps."""
        shutter = self.flight.disturbances.shutter
        motion = self.flight.path.pose(time - shutter / 2).inverse() @ self.flight.path.pose(time + shutter / 2)
        angle = float(np.linalg.norm(rotation_vector(motion.rotation)))
        shift = float(np.linalg.norm(motion.position)) / _SCENE_DISTANCE
        return int(np.clip(np.ceil((angle + shift) * self.camera.focal_length / _BLUR_STEP), 1, _MOST_SUBFRAMES))

    def _render(self, time: float, offset: NDArray[np.float64], seed: int, supersampling: int) -> Image:
        pose = self.flight.path.pose(time)
        moving = [
            face.moved(place)
            for board, place in zip(self._boards, _board_places(time, pose.position, len(self._boards), seed))
            for face in board
        ]
        eye = Pose(pose.rotation, pose.to_reference(offset[None])[0])
        return render([*self._room, *moving], self.camera, eye, supersampling)


def exposure_gain(time: float, strength: float) -> float:
    """Factor on all grey levels: it swings slowly and jumps every few seconds."""
    return float(np.exp(strength * (0.5 * np.sin(2.1 * time) + 0.5 * np.sign(np.sin(1.3 * time + 0.5)))))


def _board_places(time: float, camera: NDArray[np.float64], count: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Where the moving objects are: on swings through the free space, keeping out of the camera's way."""
    low, high = np.array(FREE_SPACE)
    for index in range(count):
        rng = np.random.default_rng([index, 4, seed])
        phases, rates = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.3, 1.0, 3)
        place = (low + high) / 2 + 0.6 * (high - low) * np.sin(rates * time + phases)
        away = (place - camera) * (1, 1, 0) + rotation_matrix([0, 0, phases[0]])[0] * 1e-3
        distance = float(np.linalg.norm(away))
        if distance < _SMALLEST_DISTANCE:
            place = place + away / distance * (_SMALLEST_DISTANCE - distance)
        yield place

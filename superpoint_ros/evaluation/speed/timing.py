"""Extractors timed in turn, round after round, so that ratios hold whatever else the machine does."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...superpoint import SuperPointExtractor

Images = Sequence[NDArray[np.uint8]]
"""Each (H, W, 3), RGB."""
Run = Callable[[Images], Any]
"""Extracts features from a batch."""
REFERENCE = "transformers"
"""Name of the contestant that the others are compared with."""

_PAUSE = 0.02
"""Seconds after which threads of the contestant before, which spin when they are done, have gone to sleep."""


@dataclass(frozen=True)
class Setting:
    """What all contestants do alike.

    Attributes
    ----------
    height, width : int
        Of the images, in pixels.
    batch : int
        Images per call.
    max_keypoints : int
    threads : int
        CPU threads of each library.
    """

    height: int
    width: int
    batch: int
    max_keypoints: int
    threads: int


@dataclass(frozen=True)
class Timing:
    """One contestant in one setting.

    Attributes
    ----------
    name : str
    setting : Setting
    milliseconds : float
        Median per image.
    ratios : tuple of float
        First quartile, median and third quartile of how many times as fast as the reference it was in
        the same round; empty without reference.
    stages : dict of float
        Median milliseconds per image of "preprocessing", "network" and "decoding"; of our own contestants on a CPU,
        else empty.
    """

    name: str
    setting: Setting
    milliseconds: float
    ratios: tuple[float, ...]
    stages: dict[str, float]


def time_contestants(setting: Setting, contestants: dict[str, Run], photographs: Images, rounds: int) -> list[Timing]:
    """Run all contestants in turn, round after round, so that all meet the same moods of the machine."""
    size = (setting.width, setting.height)
    images = [np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8) for image in photographs]
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    stages: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    label = f"{setting.height}x{setting.width}, batch {setting.batch}, {setting.max_keypoints} keypoints"
    for index in tqdm(range(-2, rounds), desc=label, unit="round"):
        batch = [images[(index + offset) % len(images)] for offset in range(setting.batch)]
        for name, contestant in contestants.items():
            time.sleep(_PAUSE)
            started = time.perf_counter()
            contestant(batch)
            if index >= 0:
                seconds[name].append(time.perf_counter() - started)
                if isinstance(contestant, SuperPointExtractor):
                    stages[name].append(contestant.last_timings)
    reference = seconds.get(REFERENCE)
    return [
        Timing(
            name,
            setting,
            1e3 * float(np.median(values)) / setting.batch,
            tuple(np.percentile(np.divide(reference, values), (25, 50, 75)).tolist()) if reference else (),
            _medians(stages[name], 1e3 / setting.batch),
        )
        for name, values in seconds.items()
    ]


def _medians(rows: Sequence[dict[str, float]], factor: float) -> dict[str, float]:
    return {name: factor * float(np.median([row[name] for row in rows])) for name in (rows[0] if rows else ())}

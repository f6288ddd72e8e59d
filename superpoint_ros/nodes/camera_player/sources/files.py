"""Video files, image folders and V4L2 cameras, all read with OpenCV."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .frames import DEFAULT_RATE, Frame, SourceError

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def silence_opencv() -> None:
    """Keep OpenCV and FFmpeg from printing why they cannot read something, before the first video is opened."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


def is_image(path: Path) -> bool:
    """Whether `path` is a file with the name of an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


@dataclass(frozen=True)
class VideoFile:
    """The frames of a video file, at `rate` frames per second or, where that is 0, at the file's own rate."""

    path: Path
    rate: float = 0.0

    def title(self) -> str:
        return f"the video {self.path}"

    def __iter__(self) -> Iterator[Frame]:
        capture = cv2.VideoCapture(str(self.path))
        try:
            if not capture.isOpened():
                raise SourceError(f"{self.path}: not a video file that OpenCV can read")
            rate = self.rate or _plausible_rate(capture.get(cv2.CAP_PROP_FPS))
            index = 0
            while (image := _read(capture)) is not None:
                yield Frame(image, index / rate)
                index += 1
            if index == 0:
                raise SourceError(f"{self.path}: the video has no frame that OpenCV can read")
        finally:
            capture.release()


@dataclass(frozen=True)
class ImageFiles:
    """The images of a folder in natural order of their names (or a single image file), at `rate` frames per second."""

    path: Path
    rate: float = 0.0

    def title(self) -> str:
        return f"the images of {self.path}"

    def __iter__(self) -> Iterator[Frame]:
        rate = self.rate or DEFAULT_RATE
        for index, path in enumerate(self._paths()):
            image = cv2.imread(str(path), cv2.IMREAD_ANYCOLOR)
            if image is None:
                raise SourceError(f"{path}: not an image that OpenCV can read")
            yield Frame(np.asarray(image, np.uint8), index / rate)

    def _paths(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        paths = [path for path in self.path.iterdir() if is_image(path)]
        if not paths:
            raise SourceError(f"{self.path}: the folder has no images ({', '.join(IMAGE_SUFFIXES)})")
        return sorted(paths, key=_natural_order)


@dataclass(frozen=True)
class CameraDevice:
    """A V4L2 camera such as /dev/video0; `rate`, `width` and `height` (0: the driver's choice) are asked of the driver.

    Offsets are those at which the frames arrived.
    """

    path: Path
    rate: float = 0.0
    width: int = 0
    height: int = 0

    def title(self) -> str:
        return f"the camera {self.path}"

    def __iter__(self) -> Iterator[Frame]:
        capture = cv2.VideoCapture(str(self.path), cv2.CAP_V4L2)
        try:
            if not capture.isOpened():
                raise SourceError(
                    f"{self.path}: cannot be opened as a V4L2 camera; is it one, is it free, "
                    f"and may this user read it (group video)?"
                )
            wanted = (
                (cv2.CAP_PROP_FRAME_WIDTH, self.width),
                (cv2.CAP_PROP_FRAME_HEIGHT, self.height),
                (cv2.CAP_PROP_FPS, self.rate),
            )
            for prop, value in wanted:
                if value:
                    capture.set(prop, value)
            start = None
            while (image := _read(capture)) is not None:
                now = time.monotonic()
                start = now if start is None else start
                yield Frame(image, now - start)
            raise SourceError(f"{self.path}: the camera stopped delivering images")
        finally:
            capture.release()


def _read(capture: cv2.VideoCapture) -> NDArray[np.uint8] | None:
    valid, image = capture.read()
    return np.asarray(image, np.uint8) if valid else None


def _plausible_rate(rate: float) -> float:
    return rate if math.isfinite(rate) and 0.1 <= rate <= 1000 else DEFAULT_RATE


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Sort frame2.png before frame10.png."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]

"""What every image source yields: frames with their time and their calibration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from superpoint_ros.geometry.pose import Pose

DEFAULT_RATE = 30.0
"""Frames per second of sources that have no timing of their own."""


class SourceError(ValueError):
    """An image source cannot be opened or read; the message names the source and what was expected."""


@dataclass(frozen=True)
class CameraCalibration:
    """Pinhole calibration with the fields of sensor_msgs/CameraInfo, lengths in pixels.

    Attributes
    ----------
    width, height : int
        Size of the images that the calibration holds for.
    k : tuple of 9 float
        Intrinsic matrix, row-major. The centre of the top-left pixel is (0, 0).
    d : tuple of float
        Distortion coefficients of `distortion_model`.
    r : tuple of 9 float
        Rectification rotation, row-major.
    p : tuple of 12 float
        Projection matrix of the rectified image, row-major.
    """

    width: int
    height: int
    k: tuple[float, ...]
    d: tuple[float, ...]
    r: tuple[float, ...]
    p: tuple[float, ...]
    distortion_model: str = "plumb_bob"

    @classmethod
    def pinhole(cls, width: int, height: int, focal_length: float) -> CameraCalibration:
        """Calibration of an undistorted camera with square pixels and the principal point in the image centre."""
        cx, cy = (width - 1) / 2, (height - 1) / 2
        return cls(
            width,
            height,
            k=(focal_length, 0.0, cx, 0.0, focal_length, cy, 0.0, 0.0, 1.0),
            d=(0.0,) * 5,
            r=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
            p=(focal_length, 0.0, cx, 0.0, 0.0, focal_length, cy, 0.0, 0.0, 0.0, 1.0, 0.0),
        )

    @classmethod
    def uncalibrated(cls, width: int, height: int) -> CameraCalibration:
        """All zero, which is how CameraInfo says that a camera is not calibrated."""
        return cls(width, height, k=(0.0,) * 9, d=(), r=(0.0,) * 9, p=(0.0,) * 12, distortion_model="")

    @classmethod
    def from_yaml(cls, location: str) -> CameraCalibration:
        """Read the YAML that camera_calibration writes, from a path or a file:// URL.

        Raises
        ------
        SourceError
            If the file is missing, is no such YAML, or lacks a field; the message names file and field.
        """
        path = Path(unquote(urlparse(location).path) if location.startswith("file://") else location)
        try:
            fields = yaml.safe_load(path.read_text())
            return cls(
                int(fields["image_width"]),
                int(fields["image_height"]),
                k=_numbers(fields, "camera_matrix", 9),
                d=_numbers(fields, "distortion_coefficients"),
                r=_numbers(fields, "rectification_matrix", 9),
                p=_numbers(fields, "projection_matrix", 12),
                distortion_model=str(fields["distortion_model"]),
            )
        except OSError as error:
            raise SourceError(f"camera calibration {path}: {error.strerror or error}") from None
        except KeyError as error:
            raise SourceError(f"camera calibration {path}: the field {error} is missing") from None
        except (yaml.YAMLError, UnicodeDecodeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise SourceError(f"camera calibration {path}: not the YAML of camera_calibration: {reason}") from None

    def right_of(self, baseline: float) -> CameraCalibration:
        """The calibration of a second, rectified camera, `baseline` metres to the right of this one."""
        shifted = (*self.p[:3], -self.p[0] * baseline, *self.p[4:])
        return replace(self, p=shifted)

    def resized(self, width: int, height: int) -> CameraCalibration:
        """The calibration of the same images after resizing them to `width` x `height` pixels."""
        scale = np.diag([width / self.width, height / self.height, 1.0])
        scale[0, 2] = (width / self.width - 1) / 2  # pixel centres, not corners, have the integer coordinates
        scale[1, 2] = (height / self.height - 1) / 2
        if not any(self.k):
            return replace(self, width=width, height=height)
        return replace(
            self,
            width=width,
            height=height,
            k=tuple((scale @ np.reshape(self.k, (3, 3))).ravel().tolist()),
            p=tuple((scale @ np.reshape(self.p, (3, 4))).ravel().tolist()),
        )


def _numbers(fields: dict[str, Any], name: str, count: int | None = None) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in fields[name]["data"])
    if count is not None and len(numbers) != count:
        raise ValueError(f"{name} has {len(numbers)} numbers instead of {count}")
    return numbers


@dataclass(frozen=True)
class Frame:
    """One image of a source.

    Attributes
    ----------
    image : uint8 array (height, width) or (height, width, 3)
        Grey, or colour in the order blue, green, red.
    offset : float
        Seconds since the first frame of the source.
    calibration : CameraCalibration or None
        None where the source knows none.
    pose : Pose or None
        Where the camera's optical frame truly is, in a frame of the source's; None where the source does not know.
    right : Frame or None
        What the right camera of a stereo pair sees at the same time.
    """

    image: NDArray[np.uint8]
    offset: float
    calibration: CameraCalibration | None = None
    pose: Pose | None = None
    right: Frame | None = None


class Source(Protocol):
    """Frames that can be read any number of times, each time from the start."""

    def __iter__(self) -> Iterator[Frame]: ...

    def title(self) -> str:
        """Say in a few words what is played."""
        ...


@dataclass(frozen=True)
class FrameFormat:
    """Size and colour in which frames are wanted.

    Attributes
    ----------
    encoding : {"bgr8", "rgb8", "mono8"}
        Names of sensor_msgs/image_encodings.
    width, height : int
        Pixels; 0 keeps the size of the source, or its aspect ratio where the other one is given.
    """

    encoding: str = "bgr8"
    width: int = 0
    height: int = 0

    def apply(self, frame: Frame) -> Frame:
        """Resize and convert a frame; what already fits is not copied."""
        image, calibration = frame.image, frame.calibration
        width, height = self._size(image.shape[1], image.shape[0])
        if (height, width) != image.shape[:2]:
            shrinks = width * height < image.shape[0] * image.shape[1]
            interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            image = np.asarray(cv2.resize(image, (width, height), interpolation=interpolation), np.uint8)
            calibration = calibration and calibration.resized(width, height)
        conversion = _CONVERSIONS[self.encoding][image.ndim == 3]
        if conversion is not None:
            image = np.asarray(cv2.cvtColor(image, conversion), np.uint8)
        right = frame.right and self.apply(frame.right)
        return replace(frame, image=image, calibration=calibration, right=right)

    def _size(self, width: int, height: int) -> tuple[int, int]:
        if self.width and self.height:
            return self.width, self.height
        if self.width:
            return self.width, max(1, round(height * self.width / width))
        if self.height:
            return max(1, round(width * self.height / height)), self.height
        return width, height


_CONVERSIONS: dict[str, tuple[int | None, int | None]] = {  # from grey, from BGR
    "mono8": (None, cv2.COLOR_BGR2GRAY),
    "bgr8": (cv2.COLOR_GRAY2BGR, None),
    "rgb8": (cv2.COLOR_GRAY2RGB, cv2.COLOR_BGR2RGB),
}


def looped(source: Iterable[Frame]) -> Iterator[Frame]:
    """Play `source` again and again, with offsets that go on rising."""
    start, period = 0.0, 1.0 / DEFAULT_RATE
    while True:
        offset = 0.0
        for frame in source:
            period = frame.offset - offset or period
            offset = frame.offset
            yield replace(frame, offset=start + offset)
        start += offset + period

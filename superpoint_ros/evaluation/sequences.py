"""Image sequences with true trajectories: simulated flights, TUM RGB-D and EuRoC folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from ..geometry import CameraModel
from ..geometry.pose import Pose
from ..odometry import OdometryCamera, Rectifier
from ..simulation.camera import SimulatedCamera
from ..simulation.flights import FLIGHTS
from ..simulation.rendering import PinholeCamera
from .datasets import DatasetError, read_gray

Image = NDArray[np.uint8]

SIMULATED_RATE = 10.0
"""Frames per second of simulated flights."""
SIMULATED_BASELINE = 0.12
"""Metres."""
SIMULATED_FOCAL_LENGTH = 0.65
"""In image widths."""

_TUM_INTRINSICS = {  # published with the data set: fx, fy, cx, cy and distortion
    "freiburg1": (517.306408, 516.469215, 318.643040, 255.313989, (0.262383, -0.953104, -0.005358, 0.002628, 1.163314)),
    "freiburg2": (
        520.908620,
        521.007327,
        325.141442,
        249.701764,
        (0.231222, -0.784899, -0.003257, -0.000105, 0.917205),
    ),
    "freiburg3": (535.4, 539.2, 320.1, 247.6, ()),
}


@dataclass(frozen=True)
class Sequence:
    """Images of one or two cameras with times, and the true trajectory.

    Attributes
    ----------
    name : str
    frames : callable
        Gives an iterator of (seconds, images): one image a camera, the left one first.
    length : int
        Number of frames.
    camera : OdometryCamera
    rectifiers : tuple of Rectifier
        One a camera.
    truth : tuple of (float, Pose)
        Seconds and pose of a point fixed to the camera, in any frame.
    """

    name: str
    frames: Callable[[], Iterator[tuple[float, tuple[Image, ...]]]]
    length: int
    camera: OdometryCamera
    rectifiers: tuple[Rectifier, ...]
    truth: tuple[tuple[float, Pose], ...]


def simulated_sequences(names: list[str], seconds: float, size: tuple[int, int], seed: int) -> list[Sequence]:
    """The flights of the simulated stereo camera; `size` is (width, height)."""
    pinhole = PinholeCamera(*size, SIMULATED_FOCAL_LENGTH * size[0])
    model = CameraModel(pinhole.matrix, "plumb_bob", np.zeros(0), size)
    rectifier = Rectifier(model, np.eye(3), pinhole.matrix)
    count = max(2, round(seconds * SIMULATED_RATE))
    sequences = []
    for name in names:
        if name not in FLIGHTS:
            raise DatasetError(f"no flight {name!r}; expected some of {', '.join(FLIGHTS)}")
        flight = SimulatedCamera(FLIGHTS[name], pinhole, SIMULATED_RATE, SIMULATED_BASELINE, seed, colour=False)

        def frames(flight: SimulatedCamera = flight) -> Iterator[tuple[float, tuple[Image, ...]]]:
            for index in range(count):
                frame = flight.frame(index)
                yield frame.time, frame.images

        times = [index / SIMULATED_RATE for index in range(count)]
        truth = tuple((time, FLIGHTS[name].path.pose(time)) for time in times)
        camera = OdometryCamera(pinhole.matrix, SIMULATED_BASELINE)
        sequences.append(Sequence(name, frames, count, camera, (rectifier, rectifier), truth))
    return sequences


def open_sequence(folder: Path) -> Sequence:
    """Read a folder in TUM RGB-D layout (``rgb.txt``) or EuRoC layout (``mav0/``).

    Raises
    ------
    DatasetError
        If it is neither, or a file is missing or malformed.
    """
    if (folder / "rgb.txt").is_file():
        return _tum(folder)
    if (folder / "mav0").is_dir():
        return _euroc(folder / "mav0")
    raise DatasetError(
        f"{folder}: neither TUM RGB-D layout (rgb.txt, groundtruth.txt) nor EuRoC layout (mav0/cam0 ...)"
    )


def _tum(folder: Path) -> Sequence:
    rows = _table(folder / "rgb.txt", None, 2)
    images: list[tuple[float, tuple[Path, ...]]] = [(float(row[0]), (folder / row[1],)) for row in rows]
    calibration = folder / "calibration.txt"
    if calibration.is_file():
        fx, fy, cx, cy, *distortion = _floats(
            calibration, [word for row in _table(calibration, None, 4) for word in row]
        )
    else:
        published = next((values for key, values in _TUM_INTRINSICS.items() if key in folder.name), None)
        if published is None:
            raise DatasetError(
                f"{calibration}: missing, and the folder's name has none of {', '.join(_TUM_INTRINSICS)}; expected a "
                "line with fx fy cx cy and up to five distortion coefficients"
            )
        fx, fy, cx, cy, distortion = *published[:4], list(published[4])
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    size = _size(images[0][1][0])
    rectifier = Rectifier(CameraModel(matrix, "plumb_bob", np.array(distortion), size), np.eye(3), matrix)
    truth = _trajectory(folder / "groundtruth.txt", None, 1.0, (0, 1, 2, 3))
    return _sequence(folder.name, images, OdometryCamera(matrix), (rectifier,), truth)


def _euroc(folder: Path) -> Sequence:
    sensors = [_sensor(folder / name / "sensor.yaml") for name in ("cam0", "cam1") if (folder / name).is_dir()]
    times = [
        {row[0]: folder / name / "data" / row[1] for row in _table(folder / name / "data.csv", ",", 2)}
        for name, _ in zip(("cam0", "cam1"), sensors)
    ]
    if not times:
        raise DatasetError(f"{folder / 'cam0'}: missing")
    common = [stamp for stamp in times[0] if all(stamp in other for other in times)]
    images = [(int(stamp) * 1e-9, tuple(eye[stamp] for eye in times)) for stamp in common]
    if not images:
        raise DatasetError(f"{folder}: cam0 and cam1 have no image of the same time")
    (left, left_pose), *others = sensors
    camera = OdometryCamera(left.matrix)
    rectifiers: tuple[Rectifier, ...] = (Rectifier(left, np.eye(3), left.matrix),)
    if others:
        camera, rectifiers = _rectified(left, left_pose, *others[0])
    truth_file = folder / "state_groundtruth_estimate0" / "data.csv"
    body = _trajectory(truth_file, ",", 1e-9, (1, 2, 3, 0))
    # Of the rectified left camera, so that trajectories of bodies and cameras compare.
    mount = left_pose @ Pose(rectifiers[0].rotation.T, np.zeros(3))
    return _sequence(
        folder.resolve().parent.name, images, camera, rectifiers, tuple((time, pose @ mount) for time, pose in body)
    )


def _rectified(
    left: CameraModel, left_pose: Pose, right: CameraModel, right_pose: Pose
) -> tuple[OdometryCamera, tuple[Rectifier, ...]]:
    """Turn both cameras so that they look the same way, square to the line between them."""
    across = right_pose.position - left_pose.position
    baseline = float(np.linalg.norm(across))
    x = across / baseline
    forward = left_pose.rotation[:, 2] + right_pose.rotation[:, 2]
    y = np.cross(forward, x)
    y /= np.linalg.norm(y)
    axes = np.column_stack([x, y, np.cross(x, y)])  # of the rectified cameras in the body's frame
    rectifiers = tuple(
        Rectifier(model, axes.T @ pose.rotation, left.matrix)
        for model, pose in ((left, left_pose), (right, right_pose))
    )
    return OdometryCamera(left.matrix, baseline), rectifiers


def _sensor(path: Path) -> tuple[CameraModel, Pose]:
    """Intrinsics of a EuRoC camera and its pose on the body."""
    try:
        fields: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        fx, fy, cx, cy = (float(value) for value in fields["intrinsics"])
        distortion = np.array(fields["distortion_coefficients"], np.float64)
        width, height = (int(value) for value in fields["resolution"])
        mount = np.array(fields["T_BS"]["data"], np.float64).reshape(4, 4)
        kind = "equidistant" if fields.get("distortion_model") == "equidistant" else "plumb_bob"
        model = CameraModel(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), kind, distortion, (width, height))
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: not the sensor.yaml of a EuRoC camera: {error!r}") from None
    return model, Pose.from_matrix(mount)


def _sequence(
    name: str,
    images: list[tuple[float, tuple[Path, ...]]],
    camera: OdometryCamera,
    rectifiers: tuple[Rectifier, ...],
    truth: tuple[tuple[float, Pose], ...],
) -> Sequence:
    def frames() -> Iterator[tuple[float, tuple[Image, ...]]]:
        for time, paths in images:
            yield time, tuple(read_gray(path) for path in paths)

    return Sequence(name, frames, len(images), camera, rectifiers, truth)


def _trajectory(
    path: Path, separator: str | None, unit: float, order: tuple[int, ...]
) -> tuple[tuple[float, Pose], ...]:
    """Read lines of time, position and quaternion; `order` says where x, y, z and w stand."""
    poses = []
    for row in _table(path, separator, 8):
        values = _floats(path, row[:8])
        quaternion = [values[4 + index] for index in order]
        if not np.linalg.norm(quaternion) > 0:
            raise DatasetError(f"{path}: a quaternion is zero at {row[0]}")
        poses.append((values[0] * unit, Pose.from_quaternion(values[1:4], quaternion)))
    return tuple(poses)


def _table(path: Path, separator: str | None, columns: int) -> list[list[str]]:
    """Read lines of at least so many fields; those that are empty or begin with # are left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from None
    rows = [[field.strip() for field in line.split(separator)] for line in lines if line.strip()]
    rows = [row for row in rows if not row[0].startswith("#")]
    if not rows or min(len(row) for row in rows) < columns:
        raise DatasetError(f"{path}: expected lines of {columns} fields")
    return rows


def _floats(path: Path, words: list[str]) -> list[float]:
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise DatasetError(f"{path}: {error}") from None


def _size(path: Path) -> tuple[int, int]:
    height, width = read_gray(path).shape
    return width, height

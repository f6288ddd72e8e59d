"""Recorded sequences with true trajectories: folders in TUM RGB-D and EuRoC layout."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as List
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ..geometry import CameraModel
from ..geometry.pose import Pose
from ..odometry import OdometryCamera, Rectifier
from .datasets import DatasetError, read_gray
from .sequences import MOST_TIME_DIFFERENCE, Image, Sequence

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
    times = _floats(folder / "rgb.txt", [row[0] for row in rows])
    images: list[tuple[float, tuple[Path, ...]]] = [(time, (folder / row[1],)) for time, row in zip(times, rows)]
    calibration = folder / "calibration.txt"
    if calibration.is_file():
        fx, fy, cx, cy, *distortion = _floats(
            calibration, [word for row in _table(calibration, None, 4) for word in row]
        )
    else:
        published = next((values for key, values in _TUM_INTRINSICS.items() if key in folder.resolve().name), None)
        if published is None:
            raise DatasetError(
                f"{calibration}: missing, and the folder's name has none of {', '.join(_TUM_INTRINSICS)}; expected a "
                "line with fx fy cx cy and up to five distortion coefficients"
            )
        fx, fy, cx, cy, distortion = *published[:4], list(published[4])
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    height, width = read_gray(images[0][1][0]).shape
    try:
        model = CameraModel(matrix, "plumb_bob", np.array(distortion), (width, height))
    except ValueError as error:
        raise DatasetError(f"{calibration}: {error}") from None
    truth_file = folder / "groundtruth.txt"
    truth = _trajectory(truth_file, None, 1.0, (0, 1, 2, 3))
    rectifier = Rectifier(model, np.eye(3), matrix)
    return _sequence(folder.resolve().name, images, OdometryCamera(matrix), (rectifier,), truth_file, truth)


def _euroc(folder: Path) -> Sequence:
    sensors = [_sensor(folder / name / "sensor.yaml") for name in ("cam0", "cam1") if (folder / name).is_dir()]
    times = [
        {row[0]: folder / name / "data" / row[1] for row in _table(folder / name / "data.csv", ",", 2)}
        for name, _ in zip(("cam0", "cam1"), sensors)
    ]
    if not times:
        raise DatasetError(f"{folder / 'cam0'}: missing")
    common = [stamp for stamp in times[0] if all(stamp in other for other in times)]
    seconds = [nanoseconds * 1e-9 for nanoseconds in _floats(folder / "cam0" / "data.csv", common)]
    images = [(time, tuple(eye[stamp] for eye in times)) for time, stamp in zip(seconds, common)]
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
    truth = tuple((time, pose @ mount) for time, pose in body)
    return _sequence(folder.resolve().parent.name, images, camera, rectifiers, truth_file, truth)


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
        # "%YAML:1.0" heads the files that OpenCV reads; YAML has no such directive.
        fields: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8").removeprefix("%YAML:1.0"))
        fx, fy, cx, cy = (float(value) for value in fields["intrinsics"])
        distortion = np.array(fields["distortion_coefficients"], np.float64)
        width, height = (int(value) for value in fields["resolution"])
        mount = np.array(fields["T_BS"]["data"], np.float64).reshape(4, 4)
        kind = fields.get("distortion_model", "radial-tangential")
        kind = {"radial-tangential": "plumb_bob", "radtan": "plumb_bob"}.get(kind, kind)
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
    truth_file: Path,
    truth: tuple[tuple[float, Pose], ...],
) -> Sequence:
    """Check that all images exist, and keep of the truth what was while there were images."""
    missing = [path for _, paths in images for path in paths if not path.is_file()]
    if missing:
        raise DatasetError(f"{missing[0]}: missing, and {len(missing) - 1} more images that the folder lists")
    begin, end = images[0][0] - MOST_TIME_DIFFERENCE, images[-1][0] + MOST_TIME_DIFFERENCE
    covered = tuple((time, pose) for time, pose in truth if begin <= time <= end)
    if not covered:
        raise DatasetError(
            f"{truth_file}: poses from {truth[0][0]:.3f} to {truth[-1][0]:.3f} s, but images from {images[0][0]:.3f} "
            f"to {images[-1][0]:.3f} s"
        )

    def frames(runs: List[int]) -> Iterator[tuple[float, List[tuple[Image, ...]]]]:
        for time, paths in images:
            yield time, [tuple(read_gray(path) for path in paths)] * len(runs)

    return Sequence(name, str(truth_file.resolve()), frames, len(images), camera, rectifiers, covered)


def _trajectory(
    path: Path, separator: str | None, unit: float, order: tuple[int, ...]
) -> tuple[tuple[float, Pose], ...]:
    """Read lines of time, position and quaternion; `order` says where x, y, z and w stand."""
    poses = []
    for row in _table(path, separator, 8):
        values = _floats(path, row[:8])
        quaternion = [values[4 + index] for index in order]
        if not (np.isfinite(values).all() and np.linalg.norm(quaternion) > 0):
            raise DatasetError(f"{path}: no pose at {row[0]}: not finite, or its quaternion is zero")
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

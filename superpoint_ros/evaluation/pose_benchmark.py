"""The relative pose benchmark: image pairs with intrinsics and ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..geometry import estimate_relative_pose, normalize_points, rotation_error, translation_error
from .datasets import DatasetError, read_gray
from .detectors import Detector, LocalFeatures, match_features
from .metrics import pose_auc

AUC_THRESHOLDS_DEG = (5.0, 10.0, 20.0)


@dataclass(frozen=True)
class PosePair:
    """A line of a pair list.

    Attributes
    ----------
    image0, image1 : Path
    turns0, turns1 : int
        How often the image was turned by 90 degrees clockwise, 0 to 3.
    intrinsics0, intrinsics1 : ndarray, (3, 3)
        Of the image as it is stored, in pixels.
    pose : ndarray, (4, 4)
        Takes points from the first camera's frame to the second's.
    """

    image0: Path
    image1: Path
    turns0: int
    turns1: int
    intrinsics0: NDArray[np.float64]
    intrinsics1: NDArray[np.float64]
    pose: NDArray[np.float64]


@dataclass(frozen=True)
class PoseProtocol:
    """What all detectors have in common.

    Attributes
    ----------
    resize : int
        Longer side, in pixels, that images are brought to for detection; 0 keeps their size.
    max_keypoints : int
        Best keypoints kept in each image.
    max_error : float
        Of the essential matrix estimate, in pixels of the resized image.
    """

    resize: int = 640
    max_keypoints: int = 1024
    max_error: float = 1.0


@dataclass(frozen=True)
class PoseResult:
    """One detector on one pair; errors in degrees, inf where no pose was found.

    The error of the translation's direction is at most 90 degrees: its sign is not asked for.
    """

    detector: str
    pair: str
    keypoints: float
    matches: int
    inliers: int
    rotation_error: float
    translation_error: float

    @property
    def error(self) -> float:
        """The greater of both, in degrees."""
        return max(self.rotation_error, self.translation_error)


@dataclass(frozen=True)
class PoseSummary:
    """One detector over all pairs; ``auc`` at ``AUC_THRESHOLDS_DEG``, errors in degrees."""

    detector: str
    pairs: int
    auc: tuple[float, ...]
    median_error: float
    failures: int
    keypoints: float
    matches: float
    inliers: float


def read_pairs(path: Path, images: Path) -> list[PosePair]:
    """Read a pair list in SuperGlue's format.

    One pair a line, separated by blanks: two image names, two EXIF rotations (0 to 3), nine numbers each
    for both intrinsics, row by row, and sixteen for the pose T_0to1. A further number (an overlap
    score, as some lists have) is ignored; so are empty lines and those that begin with ``#``.

    Raises
    ------
    DatasetError
        If the file is missing, a line does not fit or an image does not exist; names file and line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not a pair list: {error}") from error
    numbered = [(number, line.split()) for number, line in enumerate(lines, start=1)]
    pairs = [
        _parse_pair(fields, images, f"{path}:{number}")
        for number, fields in numbered
        if fields and not fields[0].startswith("#")
    ]
    if not pairs:
        raise DatasetError(f"{path}: no pairs in it")
    return pairs


def _parse_pair(fields: list[str], images: Path, place: str) -> PosePair:
    if len(fields) not in (38, 39):
        raise DatasetError(
            f"{place}: expected 38 fields (2 names, 2 rotations, 9 + 9 intrinsics, 16 pose), got {len(fields)}"
        )
    try:
        turns = [int(field) for field in fields[2:4]]
        numbers = np.array(fields[4:38], np.float64)
    except ValueError as error:
        raise DatasetError(f"{place}: {error}") from error
    intrinsics0, intrinsics1, pose = numbers[:9].reshape(3, 3), numbers[9:18].reshape(3, 3), numbers[18:].reshape(4, 4)
    if not all(turn in range(4) for turn in turns):
        raise DatasetError(f"{place}: rotations must be 0, 1, 2 or 3, got {turns[0]} and {turns[1]}")
    if not np.isfinite(numbers).all():
        raise DatasetError(f"{place}: intrinsics and pose must be finite")
    for name, matrix in (("first", intrinsics0), ("second", intrinsics1)):
        if min(matrix[0, 0], matrix[1, 1]) <= 0 or not np.array_equal(matrix[2], [0, 0, 1]):
            raise DatasetError(f"{place}: the {name} intrinsics must have positive focal lengths and end in 0 0 1")
    rotation = pose[:3, :3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-2) or np.linalg.det(rotation) < 0:
        raise DatasetError(f"{place}: the pose's upper left 3 x 3 numbers are no rotation matrix")
    paths = [images / name for name in fields[:2]]
    for image in paths:
        if not image.is_file():
            raise DatasetError(f"{place}: image {image} does not exist")
    return PosePair(paths[0], paths[1], turns[0], turns[1], intrinsics0, intrinsics1, pose)


def run_pose_benchmark(
    pairs: Sequence[PosePair], detectors: Sequence[Detector], protocol: PoseProtocol
) -> list[PoseResult]:
    """Measure every detector on every pair, with a progress bar."""
    return [
        measure_pair(detector, pair, protocol)
        for pair in tqdm(pairs, desc="pose", unit="pair")
        for detector in detectors
    ]


def measure_pair(detector: Detector, pair: PosePair, protocol: PoseProtocol) -> PoseResult:
    """Measure one detector on one pair."""
    features0, scale0 = _detect(detector, pair.image0, pair.turns0, protocol)
    features1, scale1 = _detect(detector, pair.image1, pair.turns1, protocol)
    matches = match_features(features0, features1, detector.norm)
    focal_lengths = scale0 * np.diag(pair.intrinsics0)[:2], scale1 * np.diag(pair.intrinsics1)[:2]
    pose = estimate_relative_pose(
        normalize_points(features0.keypoints[matches.indices[:, 0]], pair.intrinsics0),
        normalize_points(features1.keypoints[matches.indices[:, 1]], pair.intrinsics1),
        max_error=protocol.max_error / float(np.mean(focal_lengths)),
    )
    rotation, translation = float("inf"), float("inf")
    if pose is not None:
        rotation = rotation_error(pose.rotation, pair.pose[:3, :3])
        angle = translation_error(pose.translation, pair.pose[:3, 3])
        translation = min(angle, 180 - angle)
    return PoseResult(
        detector=detector.name,
        pair=f"{pair.image0.name} {pair.image1.name}",
        keypoints=(len(features0) + len(features1)) / 2,
        matches=len(matches),
        inliers=0 if pose is None else int(pose.inliers.sum()),
        rotation_error=rotation,
        translation_error=translation,
    )


def _detect(detector: Detector, path: Path, turns: int, protocol: PoseProtocol) -> tuple[LocalFeatures, float]:
    """Detect in the upright, resized image; keypoints are in pixels of the image as it is stored."""
    stored = read_gray(path)
    scale = protocol.resize / max(stored.shape) if protocol.resize else 1.0
    upright = np.ascontiguousarray(np.rot90(stored, turns))
    resized = upright
    if scale != 1.0:
        size = [max(1, round(side * scale)) for side in upright.shape[::-1]]
        resized = np.asarray(
            cv2.resize(upright, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), np.uint8
        )
    found = detector.detect(resized).best(protocol.max_keypoints)
    stretch = np.array(upright.shape[::-1]) / resized.shape[::-1]
    keypoints = ((found.keypoints + 0.5) * stretch - 0.5).astype(np.float32)
    return LocalFeatures(turn_back(keypoints, turns, stored.shape), found.scores, found.descriptors), scale


def turn_back(keypoints: NDArray[np.float32], turns: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Undo :func:`numpy.rot90` by `turns` on keypoints (N, 2); `shape` (H, W) is the unturned image's."""
    height, width = shape[:2]
    x, y = keypoints[:, 0], keypoints[:, 1]
    turned = [(x, y), (width - 1 - y, x), (width - 1 - x, height - 1 - y), (y, height - 1 - x)]
    return np.stack(turned[turns], axis=1)


def summarize(results: Sequence[PoseResult]) -> list[PoseSummary]:
    """Sum up over the pairs, for each detector."""
    summaries = []
    for detector in dict.fromkeys(result.detector for result in results):
        chosen = [result for result in results if result.detector == detector]
        errors = [result.error for result in chosen]
        summaries.append(
            PoseSummary(
                detector=detector,
                pairs=len(chosen),
                auc=pose_auc(errors, AUC_THRESHOLDS_DEG),
                median_error=float(np.median(errors)),
                failures=int(np.isinf(errors).sum()),
                keypoints=float(np.mean([result.keypoints for result in chosen])),
                matches=float(np.mean([result.matches for result in chosen])),
                inliers=float(np.mean([result.inliers for result in chosen])),
            )
        )
    return summaries

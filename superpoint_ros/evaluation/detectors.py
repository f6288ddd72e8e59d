"""The detectors that are compared, behind one protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..geometry import Matches, match_descriptors
from ..superpoint import SuperPointExtractor

Norm = Literal["l2", "hamming"]


@dataclass(frozen=True)
class LocalFeatures:
    """What a detector finds in one image, best first.

    Attributes
    ----------
    keypoints : ndarray, (N, 2), float32
        x, y in pixels, centre of the top-left pixel at (0, 0).
    scores : ndarray, (N,), float32
        Descending; comparable within one detector only.
    descriptors : ndarray, (N, D)
        float32 of unit length (norm "l2") or uint8, eight bits each (norm "hamming").
    """

    keypoints: NDArray[np.float32]
    scores: NDArray[np.float32]
    descriptors: NDArray[Any]

    def __len__(self) -> int:
        return len(self.keypoints)

    def best(self, count: int) -> LocalFeatures:
        """The `count` features of the highest scores."""
        return LocalFeatures(self.keypoints[:count], self.scores[:count], self.descriptors[:count])


class Detector(Protocol):
    """Finds and describes keypoints."""

    @property
    def name(self) -> str:
        """Heading in tables and plots."""

    @property
    def description(self) -> str:
        """What exactly was run: implementation, settings, weights."""

    @property
    def norm(self) -> Norm:
        """How its descriptors are compared."""

    def detect(self, image: NDArray[np.uint8]) -> LocalFeatures:
        """Find everything in a grey `image` (H, W)."""


@dataclass(frozen=True)
class OpenCVDetector:
    """One of OpenCV's classical detectors."""

    name: str
    description: str
    norm: Norm
    implementation: Any  # cv2.Feature2D, which stubs of different OpenCV versions type differently

    def detect(self, image: NDArray[np.uint8]) -> LocalFeatures:
        """See :class:`Detector`."""
        found, descriptors = self.implementation.detectAndCompute(image, None)
        if len(found) == 0:
            size = self.implementation.descriptorSize()
            empty = np.empty((0, size), np.float32 if self.norm == "l2" else np.uint8)
            return LocalFeatures(np.empty((0, 2), np.float32), np.empty(0, np.float32), empty)
        scores = np.array([keypoint.response for keypoint in found], np.float32)
        order = np.argsort(-scores, kind="stable")
        if self.norm == "l2":
            lengths = np.linalg.norm(descriptors, axis=1, keepdims=True)
            descriptors = (descriptors / np.maximum(lengths, 1e-12)).astype(np.float32)
        keypoints = np.array([keypoint.pt for keypoint in found], np.float32)
        return LocalFeatures(keypoints[order], scores[order], descriptors[order])


@dataclass(frozen=True)
class SuperPointDetector:
    """SuperPoint with any weights; the extractor decides threshold, suppression and sub-pixel method."""

    name: str
    extractor: SuperPointExtractor
    norm: Norm = "l2"

    @property
    def description(self) -> str:
        """See :class:`Detector`."""
        extractor = self.extractor
        return (
            f"{extractor.model_name}, {extractor.options}, {extractor.backend} {extractor.device} {extractor.precision}"
        )

    def detect(self, image: NDArray[np.uint8]) -> LocalFeatures:
        """See :class:`Detector`."""
        features = self.extractor(image)
        return LocalFeatures(features.keypoints, features.scores, features.descriptors)


@dataclass(frozen=True)
class _Classical:
    title: str
    norm: Norm
    factory: str
    settings: dict[str, Any]


# Thresholds below OpenCV's defaults, so that every detector has the number of keypoints that all are given.
_CLASSICAL = {
    "sift": _Classical("SIFT", "l2", "SIFT_create", {"contrastThreshold": 0.01}),
    "orb": _Classical("ORB", "hamming", "ORB_create", {"nfeatures": 10_000, "fastThreshold": 5}),
    "akaze": _Classical("AKAZE", "hamming", "AKAZE_create", {"threshold": 1e-4}),
    "kaze": _Classical("KAZE", "l2", "KAZE_create", {"threshold": 1e-4}),
    "brisk": _Classical("BRISK", "hamming", "BRISK_create", {"thresh": 10}),
}


def installed_detectors() -> tuple[str, ...]:
    """Keys of the classical detectors that the installed OpenCV has."""
    return tuple(key for key, entry in _CLASSICAL.items() if _factory(entry.factory) is not None)


def classical_detector(key: str) -> OpenCVDetector:
    """Make one of OpenCV's detectors.

    Raises
    ------
    ValueError
        If there is none of this name, or the installed OpenCV lacks it.
    """
    entry = _CLASSICAL.get(key)
    factory = _factory(entry.factory) if entry else None
    if entry is None or factory is None:
        raise ValueError(
            f"OpenCV {cv2.__version__} has no detector {key!r}; installed are {', '.join(installed_detectors())}"
        )
    settings = ", ".join(f"{name}={value}" for name, value in entry.settings.items())
    description = f"OpenCV {cv2.__version__} {entry.factory}({settings})"
    return OpenCVDetector(entry.title, description, entry.norm, factory(**entry.settings))


def _factory(name: str) -> Callable[..., Any] | None:
    """Find a constructor in OpenCV, or in its contrib modules, where OpenCV 5 has AKAZE, KAZE and BRISK."""
    for module in (cv2, getattr(cv2, "xfeatures2d", None)):
        factory: Callable[..., Any] | None = getattr(module, name, None)
        if factory is not None:
            return factory
    return None


def match_features(features0: LocalFeatures, features1: LocalFeatures, norm: Norm) -> Matches:
    """Mutual nearest neighbours, without ratio test or distance limit."""
    if norm == "l2":
        return match_descriptors(features0.descriptors, features1.descriptors)
    if min(len(features0), len(features1)) == 0:
        return Matches(np.empty((0, 2), np.int64), np.empty(0, np.float32))
    found = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(features0.descriptors, features1.descriptors)
    indices = np.array([(match.queryIdx, match.trainIdx) for match in found], np.int64).reshape(-1, 2)
    return Matches(indices, np.array([match.distance for match in found], np.float32))


def suppress_neighbours(keypoints: NDArray[np.float32], radius: float, count: int) -> NDArray[np.float32]:
    """Keep the first `count` of `keypoints` (best first) that are more than `radius` pixels apart in x or y."""
    if radius <= 0:
        return keypoints[:count]
    kept: dict[tuple[int, int], tuple[float, float]] = {}  # by cell of side `radius`, which has room for one
    for x, y in keypoints.tolist():
        if len(kept) == count:
            break
        column, row = int(x // radius), int(y // radius)
        near = (kept.get((column + i, row + j)) for i in (-1, 0, 1) for j in (-1, 0, 1))
        if all(other is None or max(abs(other[0] - x), abs(other[1] - y)) > radius for other in near):
            kept[column, row] = (x, y)
    return np.array(list(kept.values()), np.float32).reshape(-1, 2)

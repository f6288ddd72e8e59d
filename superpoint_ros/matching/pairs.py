"""Two views matched, and the geometry between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..geometry import (
    RECTIFIED_STEREO,
    CameraModel,
    Matches,
    bearing_vectors,
    estimate_homography,
    estimate_relative_pose,
    match_descriptors,
    near_epipolar_lines,
    near_predictions,
    warp_points,
)
from ..geometry.matching import ArrayBackend
from ..geometry.similarity import Descriptors

Kind = Literal["none", "homography", "essential"]
"""What is to be estimated from matches, in the order of the constants of KeypointMatches."""

KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, eq=False)
class View:
    """Keypoints of one image.

    Attributes
    ----------
    keypoints : ndarray, (N, 2), float32
        In pixels.
    descriptors : ndarray or torch.Tensor, (N, D), float32 or int8
        See :func:`match_descriptors`.
    model : str
        Names the weights.
    camera : CameraModel, optional
        The calibration, where it is known.
    """

    keypoints: NDArray[np.float32]
    descriptors: Descriptors
    model: str
    camera: CameraModel | None = None


@dataclass(frozen=True)
class MatchOptions:
    """How views are matched.

    Attributes
    ----------
    max_ratio, max_distance : float
        See :func:`match_descriptors`; 1 and 2 let all pass.
    search_radius : float
        Greatest distance in pixels from the predicted place; 0 searches everywhere.
    epipolar_distance : float
        Greatest distance in pixels between the rows of a rectified stereo pair; 0 searches everywhere.
    estimate : {"none", "homography", "essential"}
        "essential" needs the calibration of both views.
    max_error : float
        Greatest distance in pixels of an inlier from the estimate.
    array_backend : {"auto", "numpy"}
        See :func:`match_descriptors`.
    """

    max_ratio: float = 1.0
    max_distance: float = 2.0
    search_radius: float = 0.0
    epipolar_distance: float = 0.0
    estimate: Kind = "none"
    max_error: float = 3.0
    array_backend: ArrayBackend = "auto"


@dataclass(frozen=True)
class FrameMatch:
    """Result of :func:`match_views`.

    Attributes
    ----------
    matches : Matches
    kind : {"none", "homography", "essential"}
        What was to be estimated.
    matrix : ndarray, (3, 3), float64, or None
        From the first view to the second: between pixels, or normalised coordinates if it is an essential matrix. None
        if nothing was to be estimated or that failed.
    inliers : ndarray, (M,), bool
        Matches that agree with it: all if nothing was to be estimated, none if that failed.
    """

    matches: Matches
    kind: Kind
    matrix: NDArray[np.float64] | None
    inliers: NDArray[np.bool_]


def match_views(
    view0: View, view1: View, options: MatchOptions, motion: NDArray[np.float64] | None = None
) -> FrameMatch:
    """Match two views, and estimate the geometry between them if asked.

    Parameters
    ----------
    view0, view1 : View
    options : MatchOptions
    motion : ndarray, (3, 3), optional
        Homography that predicts where keypoints of the first view are in the second; without it they are expected
        where they were. Used with `search_radius`.

    Raises
    ------
    ModelMismatchError
        If the descriptors are of different weights.
    ValueError
        If the descriptors do not fit each other.
    """
    matches = match_descriptors(
        view0.descriptors,
        view1.descriptors,
        max_ratio=None if options.max_ratio == 1 else options.max_ratio,
        max_distance=options.max_distance,
        candidates=_candidates(view0, view1, options, motion),
        models=(view0.model, view1.model),
        array_backend=options.array_backend,
    )
    if options.estimate == "none":
        return FrameMatch(matches, "none", None, np.ones(len(matches), bool))
    points0, points1 = view0.keypoints[matches.indices[:, 0]], view1.keypoints[matches.indices[:, 1]]
    if options.estimate == "homography":
        homography = estimate_homography(points0, points1, max_error=options.max_error)
        matrix, inliers = (
            (homography.matrix, homography.inliers) if homography else (None, np.zeros(len(matches), bool))
        )
    else:
        matrix, inliers = _essential(points0, points1, view0.camera, view1.camera, options.max_error)
    return FrameMatch(matches, options.estimate, matrix, inliers)


def _candidates(
    view0: View, view1: View, options: MatchOptions, motion: NDArray[np.float64] | None
) -> NDArray[np.bool_] | None:
    candidates = None
    if options.search_radius > 0:
        predicted = view0.keypoints if motion is None else warp_points(view0.keypoints, motion)
        candidates = near_predictions(predicted, view1.keypoints, options.search_radius)
    if options.epipolar_distance > 0:
        rows = near_epipolar_lines(view0.keypoints, view1.keypoints, RECTIFIED_STEREO, options.epipolar_distance)
        candidates = rows if candidates is None else candidates & rows
    return candidates


def _essential(
    points0: NDArray[np.float32],
    points1: NDArray[np.float32],
    camera0: CameraModel | None,
    camera1: CameraModel | None,
    max_error: float,
) -> tuple[NDArray[np.float64] | None, NDArray[np.bool_]]:
    """Return essential matrix and inliers; without calibration, or a solution, none."""
    inliers = np.zeros(len(points0), bool)
    if camera0 is None or camera1 is None:
        return None, inliers
    bearings = [bearing_vectors(points, camera) for points, camera in ((points0, camera0), (points1, camera1))]
    in_view = np.flatnonzero(np.logical_and(*(rays[:, 2] > 0 for rays in bearings)))  # not NaN, not behind a fisheye
    normalised = [(rays[:, :2] / rays[:, 2:])[in_view] for rays in bearings]
    focal_length = np.mean([camera.matrix[[0, 1], [0, 1]] for camera in (camera0, camera1)])
    pose = estimate_relative_pose(*normalised, max_error=max_error / focal_length)
    if pose is None:
        return None, inliers
    inliers[in_view[pose.inliers]] = True
    return pose.essential_matrix, inliers

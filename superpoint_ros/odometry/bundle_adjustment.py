"""Least squares over camera poses and landmarks, in steps of Levenberg and Marquardt.

A landmark has to do with others only through the cameras that see it. So its three unknowns are eliminated by
themselves (the Schur complement; Triggs et al., Bundle Adjustment: A Modern Synthesis, 1999). What is left is a small
dense system of the poses, for SciPy's Cholesky factorisation: a step costs the same however badly the landmarks are
determined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, block_diag, cho_factor, cho_solve
from scipy.sparse import csr_matrix

from ..geometry.pose import Pose, rotation_matrix
from .camera import Array, OdometryCamera

_PIXEL_ERROR = 1.5  # pixels; beyond, an observation counts less
_FIRST_DAMPING, _LEAST_DAMPING = 1e-4, 1e-6  # shares of the diagonal
_LEAST_GAIN = 1e-4  # share of the cost; a step that gains less is the last one


@dataclass(frozen=True)
class Observations:
    """Which landmark was seen where by which camera; all arrays have the length M.

    Attributes
    ----------
    cameras, landmarks : ndarray of int
        Indices of poses and landmarks.
    points : ndarray, (M, 3), float64
        As in `KeypointFrame`.
    """

    cameras: np.ndarray
    landmarks: np.ndarray
    points: Array


@dataclass(frozen=True)
class Adjustment:
    """Result of :func:`adjust`.

    Attributes
    ----------
    poses : list of Pose
    landmarks : ndarray, (L, 3), float64
    errors : ndarray, (M,), float64
        Distance between each observed and expected point in pixels.
    covariance : ndarray, (6, 6), float64, or None
        Of rotation (about the camera's axes, rad^2) and position (in the reference frame), where just one pose was
        free; for observations with a standard deviation of one pixel.
    """

    poses: list[Pose]
    landmarks: Array
    errors: Array
    covariance: Array | None


@dataclass(frozen=True)
class _Problem:
    """Errors and their derivatives by what is free: all poses but the first `fixed`, and the landmarks or not."""

    observations: Observations
    camera: OdometryCamera
    fixed: int
    fix_landmarks: bool

    def _seen(self, poses: Sequence[Pose], landmarks: Array) -> tuple[Array, Array]:
        """Rotations (M, 3, 3) of the cameras and landmarks (M, 3) in the frame of the one that saw them."""
        rotations = np.array([pose.rotation for pose in poses])[self.observations.cameras]
        positions = np.array([pose.position for pose in poses])[self.observations.cameras]
        local = np.einsum("mji,mj->mi", rotations, landmarks[self.observations.landmarks] - positions)
        local[:, 2] = np.maximum(local[:, 2], 1e-3)  # a landmark that slips behind the camera stays a finite error
        return rotations, local

    def errors(self, poses: Sequence[Pose], landmarks: Array) -> Array:
        """Expected minus observed coordinates (M, 3) in pixels, 0 for those that are not known."""
        errors = self.camera.project(self._seen(poses, landmarks)[1]) - self.observations.points
        return np.where(np.isfinite(self.observations.points), errors, 0.0)

    def derivatives(self, poses: Sequence[Pose], landmarks: Array) -> tuple[Array, Array]:
        """Of the errors by motions of the poses, rotation before position (M, 3, 6), and by landmarks (M, 3, 3)."""
        rotations, local = self._seen(poses, landmarks)
        x, y, z = local.T
        fx, fy = np.diag(self.camera.matrix)[:2]
        of_point = np.zeros((len(local), 3, 3))  # of the image point by the point in the camera's frame
        of_point[:, 0, 0] = of_point[:, 2, 0] = fx / z
        of_point[:, 1, 1] = fy / z
        of_point[:, 0, 2] = -fx * x / z**2
        of_point[:, 1, 2] = -fy * y / z**2
        of_point[:, 2, 2] = -fx * (x - self.camera.baseline) / z**2
        of_point[~np.isfinite(self.observations.points)] = 0.0
        by_landmark = of_point @ rotations.transpose(0, 2, 1)
        return np.concatenate([of_point @ _cross(local), -by_landmark], axis=2), by_landmark

    def moved(self, poses: Sequence[Pose], landmarks: Array, steps: tuple[Array, Array]) -> tuple[list[Pose], Array]:
        """Poses and landmarks after `steps` of both."""
        free = [
            Pose(pose.rotation @ rotation_matrix(step[:3]), pose.position + step[3:])
            for pose, step in zip(poses[self.fixed :], steps[0])
        ]
        return [*poses[: self.fixed], *free], landmarks if self.fix_landmarks else landmarks + steps[1]


class _NormalEquations:
    """The problem as it looks from given poses and landmarks."""

    def __init__(self, problem: _Problem, poses: Sequence[Pose], landmarks: Array, errors: Array) -> None:
        by_pose, by_landmark = problem.derivatives(poses, landmarks)
        weights = _weights(errors)[:, None, None]
        cameras, numbers = problem.observations.cameras - problem.fixed, problem.observations.landmarks
        free, count = len(poses) - problem.fixed, len(landmarks)
        moves = cameras >= 0
        weighted = weights[moves] * by_pose[moves]
        self._poses = _sums(cameras[moves], free, weighted.transpose(0, 2, 1) @ by_pose[moves])  # (F, 6, 6)
        self._pose_slopes = _sums(cameras[moves], free, np.einsum("mij,mi->mj", weighted, errors[moves]))  # (F, 6)
        self._fix_landmarks = problem.fix_landmarks
        if problem.fix_landmarks:
            return
        pairs = numbers[moves] * free + cameras[moves]
        both = _sums(pairs, count * free, by_landmark[moves].transpose(0, 2, 1) @ weighted)
        self._both = both.reshape(count, free, 3, 6).transpose(0, 2, 1, 3).reshape(count, 3, 6 * free)
        weighted = weights * by_landmark
        self._landmarks = _sums(numbers, count, weighted.transpose(0, 2, 1) @ by_landmark)  # (L, 3, 3)
        self._landmark_slopes = _sums(numbers, count, np.einsum("mij,mi->mj", weighted, errors))  # (L, 3)

    def solve(self, damping: float) -> tuple[Array, Array]:
        """Steps of the poses (F, 6) and of the landmarks (L, 3); raises ``LinAlgError`` if there are none."""
        system, slopes = block_diag(*_damped(self._poses, damping)), self._pose_slopes.ravel()
        if self._fix_landmarks:
            return -cho_solve(cho_factor(system), slopes).reshape(-1, 6), np.empty((0, 3))
        inverse = np.linalg.inv(_damped(self._landmarks, damping))
        eliminated = inverse @ self._both
        alone = np.einsum("lij,lj->li", inverse, self._landmark_slopes)
        width = len(slopes)
        system -= self._both.reshape(-1, width).T @ eliminated.reshape(-1, width)
        slopes = slopes - np.einsum("lij,li->j", self._both, alone)
        poses = -cho_solve(cho_factor(system), slopes)
        return poses.reshape(-1, 6), -alone - eliminated @ poses


def adjust(
    poses: Sequence[Pose],
    landmarks: Array,
    observations: Observations,
    camera: OdometryCamera,
    *,
    fixed: int,
    fix_landmarks: bool = False,
    iterations: int = 10,
) -> Adjustment:
    """Move poses and landmarks so that they explain the observations best.

    Cauchy's loss makes it robust: quadratic for small errors, for gross ones it hardly grows.

    Parameters
    ----------
    poses : sequence of Pose
        Camera to reference frame. The first `fixed` do not move.
    landmarks : ndarray, (L, 3), float64
        In the reference frame.
    observations : Observations
    camera : OdometryCamera
    fixed : int
        At least 1 if landmarks may move, or nothing would hold the whole in place.
    fix_landmarks : bool
        Whether only poses may move.
    iterations : int
        Limit to the number of steps tried.
    """
    problem = _Problem(observations, camera, fixed, fix_landmarks)
    state = list(poses), np.asarray(landmarks, np.float64)
    errors = problem.errors(*state)
    cost, damping = _cost(errors), _FIRST_DAMPING
    equations: _NormalEquations | None = None
    for _ in range(iterations):
        equations = equations or _NormalEquations(problem, *state, errors)
        try:
            tried = problem.moved(*state, equations.solve(damping))
        except LinAlgError:
            damping *= 100
            continue
        tried_errors = problem.errors(*tried)
        gain = cost - _cost(tried_errors)
        if not gain > 0:
            damping *= 10
            continue
        state, errors, equations = tried, tried_errors, None
        damping = max(damping / 10, _LEAST_DAMPING)
        cost -= gain
        if gain < _LEAST_GAIN * cost:
            break
    covariance = None
    if fix_landmarks and len(poses) - fixed == 1:
        by_pose = problem.derivatives(*state)[0].reshape(-1, 6)
        covariance = np.linalg.pinv(by_pose.T @ by_pose)
    return Adjustment(*state, np.linalg.norm(errors, axis=1), covariance)


def _weights(errors: Array) -> Array:
    """How much observations (M,) with these errors (M, 3) count."""
    return np.asarray(1 / (1 + (errors**2).sum(axis=1) / _PIXEL_ERROR**2))


def _cost(errors: Array) -> float:
    return float(-np.log(_weights(errors)).sum())


def _sums(groups: NDArray[np.int64], count: int, values: Array) -> Array:
    """Sum `values` (M, ...) over each of `count` groups."""
    chosen = csr_matrix((np.ones(len(groups)), (groups, np.arange(len(groups)))), shape=(count, len(groups)))
    return np.asarray(chosen @ values.reshape(len(groups), -1)).reshape(count, *values.shape[1:])


def _damped(blocks: Array, damping: float) -> Array:
    """Increase the diagonals of blocks (N, K, K)."""
    diagonals = np.einsum("nii->ni", blocks)
    return np.asarray(blocks + np.eye(blocks.shape[1]) * (damping * diagonals + 1e-9)[:, None])


def _cross(vectors: Array) -> Array:
    """Matrices (M, 3, 3) whose product with a vector is the cross product of `vectors` (M, 3) with it."""
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)

"""Least squares over camera poses and landmarks, on SciPy's sparse trust-region solver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.sparse import coo_matrix, csr_matrix

from ..geometry.pose import Pose, rotation_matrix
from .camera import Array, OdometryCamera

_PIXEL_ERROR = 1.5  # pixels; beyond, an observation counts less


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


class _Problem:
    """Residuals and their derivatives; unknowns are steps of rotation and position, then landmarks."""

    def __init__(
        self,
        poses: Sequence[Pose],
        landmarks: Array,
        observations: Observations,
        camera: OdometryCamera,
        fixed: int,
        fix_landmarks: bool,
    ) -> None:
        self.poses, self.landmarks, self.observations, self.camera = list(poses), landmarks, observations, camera
        self.fixed, self.fix_landmarks = fixed, fix_landmarks
        self.free = len(self.poses) - fixed
        self.start = np.concatenate(
            [np.zeros(6 * self.free), np.empty(0) if fix_landmarks else np.ravel(landmarks).astype(np.float64)]
        )
        self.is_single_pose = fix_landmarks and self.free == 1
        self._known = np.isfinite(observations.points)
        self.rows = np.flatnonzero(self._known.ravel())
        self._compact = np.cumsum(self._known.ravel()) - 1
        self._columns = self._column_indices()

    def _column_indices(self) -> np.ndarray:
        """Columns (M, 6 or 9) of the derivatives of an observation; -1 for what is fixed."""
        pose = 6 * (self.observations.cameras - self.fixed)[:, None] + np.arange(6)
        pose[self.observations.cameras < self.fixed] = -1
        if self.fix_landmarks:
            return np.asarray(pose)
        landmark = 6 * self.free + 3 * self.observations.landmarks[:, None] + np.arange(3)
        return np.hstack([pose, landmark])

    def unpack(self, unknowns: Array) -> tuple[list[Pose], Array]:
        """Poses and landmarks that the unknowns stand for."""
        steps = unknowns[: 6 * self.free].reshape(-1, 6)
        moved = [
            Pose(pose.rotation @ rotation_matrix(step[:3]), pose.position + step[3:])
            for pose, step in zip(self.poses[self.fixed :], steps)
        ]
        landmarks = self.landmarks if self.fix_landmarks else unknowns[6 * self.free :].reshape(-1, 3)
        return self.poses[: self.fixed] + moved, landmarks

    def _seen(self, unknowns: Array) -> tuple[Array, Array, Array]:
        """Rotations (M, 3, 3), steps of rotation (M, 3) and landmarks in the frame of the camera that saw them."""
        poses, landmarks = self.unpack(unknowns)
        rotations = np.array([pose.rotation for pose in poses])[self.observations.cameras]
        positions = np.array([pose.position for pose in poses])[self.observations.cameras]
        steps = np.zeros((len(poses), 3))
        steps[self.fixed :] = unknowns[: 6 * self.free].reshape(-1, 6)[:, :3]
        relative = landmarks[self.observations.landmarks] - positions
        local = np.einsum("mji,mj->mi", rotations, relative)
        local[:, 2] = np.maximum(local[:, 2], 1e-3)  # a landmark that slips behind the camera stays a finite error
        return rotations, steps[self.observations.cameras], local

    def residuals(self, unknowns: Array) -> Array:
        """Expected minus observed coordinates in pixels, those that are known."""
        difference = self.camera.project(self._seen(unknowns)[2]) - self.observations.points
        return np.asarray(difference.ravel()[self.rows])

    def jacobian(self, unknowns: Array) -> csr_matrix | Array:
        """Derivatives of the residuals; sparse unless a single pose is all that is free."""
        rotations, steps, local = self._seen(unknowns)
        count, (x, y, z) = len(local), local.T
        fx, fy = np.diag(self.camera.matrix)[:2]
        of_point = np.zeros((count, 3, 3))  # of the image point by the point in the camera's frame
        of_point[:, 0, 0] = of_point[:, 2, 0] = fx / z
        of_point[:, 1, 1] = fy / z
        of_point[:, 0, 2] = -fx * x / z**2
        of_point[:, 1, 2] = -fy * y / z**2
        of_point[:, 2, 2] = -fx * (x - self.camera.baseline) / z**2
        by_position = -np.einsum("mij,mkj->mik", of_point, rotations)
        # d(exp(-step) v) = [v]x (I - [step]x / 2) d(step), to first order in the step
        by_rotation = of_point @ _cross(local) @ (np.eye(3) - _cross(steps) / 2)
        blocks = [by_rotation, by_position] if self.fix_landmarks else [by_rotation, by_position, -by_position]
        values = np.concatenate(blocks, axis=2)
        rows = np.broadcast_to(self._compact.reshape(count, 3, 1), values.shape)
        columns = np.broadcast_to(self._columns[:, None], values.shape)
        used = self._known[..., None] & (columns >= 0)
        shape = len(self.rows), len(self.start)
        if self.is_single_pose:
            dense = np.zeros(shape)
            dense[rows[used], columns[used]] = values[used]
            return dense
        return coo_matrix((values[used], (rows[used], columns[used])), shape=shape).tocsr()


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

    Bundle adjustment with a smooth robust loss: the Jacobian is sparse, SciPy's ``least_squares`` finds the steps
    (trust region, LSMR).

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
        Limit to the number of evaluations.
    """
    problem = _Problem(poses, landmarks, observations, camera, fixed, fix_landmarks)
    result = least_squares(
        problem.residuals,
        problem.start,
        jac=problem.jacobian,
        loss="soft_l1",  # "huber" gives SciPy no curvature for errors beyond f_scale, and stops far from the minimum
        f_scale=_PIXEL_ERROR,
        x_scale="jac",
        tr_solver="exact" if problem.is_single_pose else "lsmr",
        ftol=1e-4,
        xtol=1e-6,
        max_nfev=iterations,
    )
    moved, points = problem.unpack(result.x)
    difference = np.zeros(observations.points.shape)
    difference.ravel()[problem.rows] = problem.residuals(result.x)
    covariance = None
    if problem.is_single_pose:
        jacobian = np.asarray(problem.jacobian(result.x))
        covariance = np.linalg.pinv(jacobian.T @ jacobian)
    return Adjustment(moved, points, np.linalg.norm(difference, axis=1), covariance)


def _cross(vectors: Array) -> Array:
    """Matrices (M, 3, 3) whose product with a vector is the cross product of `vectors` (M, 3) with it."""
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)

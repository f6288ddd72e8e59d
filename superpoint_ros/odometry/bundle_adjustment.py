"""Least squares over camera poses and landmarks, by COLMAP (https://colmap.github.io), whose solver is Ceres.

In its terms key frames are frames of a rig of one or two cameras. Its Levenberg-Marquardt steps eliminate the landmarks
(the Schur complement; Triggs et al., Bundle Adjustment: A Modern Synthesis, 1999). Cauchy's loss makes it robust:
quadratic for small errors, for gross ones it hardly grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from ..geometry.pose import Pose
from .camera import Array, OdometryCamera
from .signal_handlers import signal_handlers_kept

if find_spec("pycolmap") is not None:  # evaluation, which imports this, can do without: see `check_installed`
    with signal_handlers_kept():
        import pycolmap

    pycolmap.logging.minloglevel = (
        2  # errors, in the whole process; a step that Ceres refuses and shortens is a warning
    )

_PIXEL_ERROR = 1.5  # pixels; beyond, an observation counts less
_LEAST_GAIN = 1e-4  # share of the cost; a step that gains less is the last one


@dataclass(frozen=True)
class View:
    """What a camera sees.

    Attributes
    ----------
    pose : Pose
        Camera to reference frame.
    points : ndarray, (N, 3), float64
        As in `KeypointFrame`.
    landmarks : ndarray, (N,), int64
        Index of the landmark that is seen at each point.
    """

    pose: Pose
    points: Array
    landmarks: NDArray[np.int64]

    def seen(self, eye: int) -> tuple[NDArray[np.int64], Array]:
        """Landmarks (M,) that the left (0) or right eye sees, and where (M, 2) its model expects them."""
        valid = np.isfinite(self.points[:, 2 * eye])
        pixels = self.points[valid]
        return self.landmarks[valid], pixels[:, [2, 1]] * (1, 0) if eye else pixels[:, :2]


def check_installed() -> None:
    """Raise ``ValueError`` if COLMAP's Python package is missing."""
    if find_spec("pycolmap") is None:
        raise ValueError("odometry needs the Python package pycolmap: pip install pycolmap")


def adjust(
    camera: OdometryCamera, views: Sequence[View], landmarks: Array, *, fixed: int, iterations: int = 10
) -> tuple[list[Pose], Array]:
    """Move poses and landmarks so that they explain best what is seen.

    Parameters
    ----------
    camera : OdometryCamera
    views : sequence of View
        The poses of the first `fixed` do not move.
    landmarks : ndarray, (L, 3), float64
        In the reference frame. Those that a single eye sees once stay where they are.
    fixed : int
        At least 1, or nothing would hold the whole in place.
    iterations : int
        Limit to the number of steps tried.

    Returns
    -------
    poses : list of Pose
    landmarks : ndarray, (L, 3), float64
    """
    models, scene, config = _models(camera), pycolmap.Reconstruction(), pycolmap.BundleAdjustmentConfig()
    for model in models:
        scene.add_camera(model)
    scene.add_rig(_rig(camera, models))
    tracks = [pycolmap.Track() for _ in landmarks]
    for index, view in enumerate(views):
        names = [len(models) * index + eye for eye in range(len(models))]
        frame = pycolmap.Frame(frame_id=index, rig_id=0, rig_from_world=_rigid(view.pose))
        for name, model in zip(names, models):
            frame.add_data_id(pycolmap.data_t(model.sensor_id, name))
        scene.add_frame(frame)
        for eye, name in enumerate(names):
            numbers, pixels = view.seen(eye)
            image = pycolmap.Image(keypoints=pixels, camera_id=eye, image_id=name)
            image.frame_id = index
            scene.add_image(image)
            config.add_image(name)
            for row, number in enumerate(numbers.tolist()):
                tracks[number].add_element(name, row)
        scene.register_frame(index)
        if index < fixed:
            config.set_constant_rig_from_world_pose(index)
    kept = [number for number, track in enumerate(tracks) if track.length() > 1]
    points = [scene.point3D(scene.add_point3D(landmarks[number], tracks[number])) for number in kept]
    poses, moved = [view.pose for view in views], landmarks.copy()
    if pycolmap.create_default_bundle_adjuster(_options(iterations), config, scene).solve().is_solution_usable():
        poses[fixed:] = [_pose(scene.image(len(models) * index).cam_from_world()) for index in range(fixed, len(views))]
        moved[kept] = [point.xyz for point in points]
    return poses, moved


def adjust_pose(camera: OdometryCamera, view: View, landmarks: Array) -> Pose:
    """Move the pose of `view` alone so that it explains best where `landmarks` (L, 3) are seen."""
    models, options = _models(camera), pycolmap.AbsolutePoseRefinementOptions()
    options.loss_function_scale = _PIXEL_ERROR
    numbers, pixels = zip(*(view.seen(eye) for eye in range(len(models))))
    result = pycolmap.refine_generalized_absolute_pose(
        _rigid(view.pose),
        np.concatenate(pixels),
        landmarks[np.concatenate(numbers)],
        np.ones(sum(map(len, numbers)), bool),
        np.repeat(range(len(models)), list(map(len, numbers))).tolist(),
        [_placement(camera, eye) for eye in range(len(models))],
        models,
        options,
    )
    return view.pose if result is None else _pose(result["rig_from_world"])


def _models(camera: OdometryCamera) -> list[pycolmap.Camera]:
    """One or two eyes. Of the right one only columns are known: what it sees has no height worth mentioning."""
    fx, fy, cx, cy = camera.matrix[[0, 1, 0, 1], [0, 1, 2, 2]]
    parameters = [(fx, fy, cx, cy), (fx, 1e-9, cx, 0.0)][: 2 if camera.baseline else 1]
    return [pycolmap.Camera(camera_id=eye, model="PINHOLE", params=values) for eye, values in enumerate(parameters)]


def _rig(camera: OdometryCamera, models: Sequence[pycolmap.Camera]) -> pycolmap.Rig:
    rig = pycolmap.Rig(rig_id=0)
    rig.add_ref_sensor(models[0].sensor_id)
    for model in models[1:]:
        rig.add_sensor(model.sensor_id, _placement(camera, 1))
    return rig


def _placement(camera: OdometryCamera, eye: int) -> pycolmap.Rigid3d:
    return _rigid(Pose(np.eye(3), np.array([camera.baseline * eye, 0.0, 0.0])))


def _options(iterations: int) -> pycolmap.BundleAdjustmentOptions:
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = options.refine_principal_point = options.refine_extra_params = False
    options.refine_sensor_from_rig = options.print_summary = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = _PIXEL_ERROR
    options.ceres.solver_options.max_num_iterations = iterations
    options.ceres.solver_options.function_tolerance = _LEAST_GAIN
    options.ceres.solver_options.num_threads = 1
    return options


def _rigid(pose: Pose) -> pycolmap.Rigid3d:
    """COLMAP's poses take the reference frame's points to the camera's frame."""
    return pycolmap.Rigid3d(pose.inverse().matrix[:3])


def _pose(rigid: pycolmap.Rigid3d) -> Pose:
    return Pose.from_matrix(rigid.matrix()).inverse()

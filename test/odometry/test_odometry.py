"""Odometry on points whose places are known exactly: no images, so that every error is odometry's own."""

from __future__ import annotations

import subprocess
import sys
from unittest import mock

import cv2
import numpy as np
import pytest

pytest.importorskip("pycolmap", reason="odometry needs it: pip install pycolmap")
pytest.importorskip("scipy", reason="adjustments are compared with SciPy's: pip install scipy")

from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from superpoint_ros.geometry import CameraModel
from superpoint_ros.geometry.pose import Pose, rotation_matrix, rotation_vector
from superpoint_ros.odometry import (
    KeypointFrame,
    Odometry,
    OdometryCamera,
    OdometrySettings,
    Rectifier,
    State,
    bundle_adjustment,
    monocular_frame,
    stereo_frame,
)
from superpoint_ros.odometry.bundle_adjustment import View, adjust, adjust_pose
from superpoint_ros.odometry.estimation import estimate_pose, refine_pose, reprojection_errors
from superpoint_ros.odometry.initialisation import height_above_ground
from superpoint_ros.simulation.flights import Path

WIDTH, HEIGHT = 640, 480
MATRIX = np.array([[400.0, 0, 319.5], [0, 400, 239.5], [0, 0, 1]])
MONO, STEREO = OdometryCamera(MATRIX), OdometryCamera(MATRIX, baseline=0.12)


class World:
    """Points on the walls of a room, each with a descriptor of its own, and a camera that flies along a path."""

    def __init__(self, path: Path, seed: int = 0, noise: float = 0.3, outliers: float = 0.1, count: int = 2500) -> None:
        self.rng = np.random.default_rng(seed)
        self.path, self.noise, self.outliers = path, noise, outliers
        points = self.rng.uniform((-3, -2.5, 0), (3, 2.5, 3), (count, 3))
        wall = self.rng.integers(6, size=len(points))
        points[np.arange(len(points)), wall // 2] = np.array([-3, 3, -2.5, 2.5, 0, 3])[wall]
        self.points = points
        self.descriptors = self._unit(len(points))

    def _unit(self, count: int) -> np.ndarray:
        values = self.rng.standard_normal((count, 32)).astype(np.float32)
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    def frames(self, time: float) -> tuple[KeypointFrame, KeypointFrame]:
        """What both eyes see, with noise on points and descriptors, and some points in the wrong place."""
        local = self.path.pose(time).to_body(self.points)
        with np.errstate(divide="ignore", invalid="ignore"):
            exact = STEREO.project(local)
        frames = []
        for column in (0, 2):
            pixels = exact[:, [column, 1]]
            seen = np.flatnonzero((local[:, 2] > 0.2) & ((pixels >= 0) & (pixels < (WIDTH, HEIGHT))).all(axis=1))
            pixels = pixels[seen] + self.noise * self.rng.standard_normal((len(seen), 2))
            wrong = self.rng.random(len(seen)) < self.outliers
            pixels[wrong] = self.rng.uniform((0, 0), (WIDTH, HEIGHT), (wrong.sum(), 2))
            descriptors = self.descriptors[seen] + 0.05 * self._unit(len(seen))
            frames.append(monocular_frame(pixels, descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)))
        return frames[0], frames[1]

    def stereo(self, time: float) -> KeypointFrame:
        return stereo_frame(*self.frames(time), STEREO)

    def blind(self) -> KeypointFrame:
        """A frame of nothing known."""
        pixels = self.rng.uniform((0, 0), (WIDTH, HEIGHT), (300, 2))
        return monocular_frame(pixels, self._unit(300))

    def truth(self, time: float, start: float = 0.0) -> Pose:
        """The pose in the odometry frame that begins at `start`."""
        axes = Pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.zeros(3))
        return axes @ self.path.pose(start).inverse() @ self.path.pose(time)


def position_errors(world: World, poses: dict[float, Pose], start: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return np.array(
        [np.linalg.norm(scale * pose.position - world.truth(time, start).position) for time, pose in poses.items()]
    )


@pytest.mark.parametrize("seed", range(2))
def test_stereo_follows_the_camera(seed: int) -> None:
    world = World(Path(seed, speed=0.8, turn_rate=0.6), seed)
    odometry = Odometry(STEREO)
    poses = {}
    for time in np.arange(0, 4, 0.1):
        update = odometry.process(world.stereo(time))
        assert update.state is State.TRACKING
        assert update.pose is not None
        poses[time] = update.pose
    assert position_errors(world, poses).max() < 0.04  # metres, on a way of some three
    error = poses[time].rotation.T @ world.truth(time).rotation
    assert np.degrees(np.linalg.norm(cv2.Rodrigues(error)[0])) < 0.5
    assert 3 < len(odometry.map.key_frames) < 40


@pytest.mark.parametrize(
    ("odometry_settings", "scale_error"),
    [(OdometrySettings(), np.inf), (OdometrySettings(camera_height=1.0), 0.1)],
    ids=["free", "height"],
)
def test_a_single_camera_follows_up_to_scale(odometry_settings: OdometrySettings, scale_error: float) -> None:
    world = World(Path(5, speed=0.8, turn_rate=0.3), outliers=0.05, count=4000)  # more than 15 on the ground in view
    start = float(np.argmin([abs(world.path.pose(t).position[2] - 1) for t in np.arange(0, 20, 0.1)])) / 10
    odometry = Odometry(MONO, odometry_settings)
    poses = {}
    for time in np.arange(start, start + 4, 0.1):
        update = odometry.process(world.frames(time)[0])
        if update.pose is not None:
            poses[time] = update.pose
    assert len(poses) > 25
    estimated = np.array([pose.position for pose in poses.values()])
    true = np.array([world.truth(time, start).position for time in poses])
    scale = (estimated * true).sum() / (estimated**2).sum()
    assert position_errors(world, poses, start, scale).max() < 0.1
    assert abs(np.log(scale)) < scale_error


@pytest.mark.parametrize(("path", "key_frames"), [(4, 60), (7, 60), (7, 3)])
def test_a_single_camera_in_front_of_a_wall_takes_the_right_one_of_two_explanations(path: int, key_frames: int) -> None:
    world = World(Path(path, speed=0.8, turn_rate=0.6), noise=0.7)
    ahead = world.path.pose(0).rotation[:2, 2]
    axis = int(np.argmax(np.abs(ahead)))
    flat = world.rng.random(len(world.points)) < 0.8
    world.points[flat, axis] = np.sign(ahead[axis]) * (3.0, 2.5)[axis]
    odometry = Odometry(MONO, OdometrySettings(max_key_frames=key_frames))
    poses = {}
    for time in np.arange(0, 2, 0.1):
        update = odometry.process(world.frames(time)[0])
        if update.pose is not None:
            poses[time] = update.pose
    assert len(poses) > 5
    estimated = np.array([pose.position for pose in poses.values()])
    true = np.array([world.truth(time).position for time in poses])
    scale = (estimated * true).sum() / (estimated**2).sum()
    assert position_errors(world, poses, scale=scale).max() < 0.08  # the other explanation is some 30 cm off


def test_a_longer_lens_needs_less_motion_to_begin() -> None:
    begun = []
    for factor in (1, 2):
        world = World(Path(5, speed=0.3, turn_rate=0.1), noise=0.2)
        odometry = Odometry(OdometryCamera(np.diag([factor, factor, 1.0]) @ MATRIX))
        times = iter(np.arange(0, 6, 0.1))
        while odometry.state is not State.TRACKING:
            frame = world.frames(time := next(times))[0]
            odometry.process(KeypointFrame(factor * frame.points, frame.descriptors))
        begun.append(np.linalg.norm(world.truth(time).position))
    assert begun[1] < 0.7 * begun[0]  # a keypoint's error is half as large an angle


def test_a_single_camera_does_not_begin_with_a_motion_that_most_matches_contradict() -> None:
    world = World(Path(3, speed=0.8, turn_rate=0.6))
    smeared = world.frames(0.0)[0]
    wrong = world.rng.permutation(len(smeared))[: int(0.6 * len(smeared))]
    smeared.descriptors[wrong] = smeared.descriptors[np.roll(wrong, 1)]
    odometry = Odometry(MONO)
    assert odometry.process(smeared).state is State.INITIALISING
    for time in np.arange(0.2, 6, 0.1):
        if odometry.process(world.frames(time)[0]).state is State.TRACKING:
            break
    assert odometry.state is State.TRACKING
    assert all(key_frame.frame is not smeared for key_frame in odometry.map.key_frames)


def test_what_looks_alike_is_told_apart_by_where_it_is_expected() -> None:
    world = World(Path(2, speed=0.5, turn_rate=0.4))
    odometry = Odometry(STEREO)
    poses = {}
    for time in np.arange(0, 2, 0.1):
        frame = world.stereo(time)
        number = (frame.descriptors @ world.descriptors.T).argmax(axis=1)
        alike = KeypointFrame(frame.points, world.descriptors[number % 60])  # some forty points share a descriptor
        update = odometry.process(alike)
        assert update.pose is not None
        poses[time] = update.pose
    assert position_errors(world, poses).max() < 0.03


def test_a_known_first_step_gives_the_scale() -> None:
    world = World(Path(5, speed=0.8, turn_rate=0.3), noise=0.2, outliers=0.0)
    # Of two frames, so that the step is known; its length decides the scale of all that follows.
    step = float(np.linalg.norm(world.truth(0.8).position))
    odometry = Odometry(MONO, OdometrySettings(initial_baseline=step))
    assert odometry.process(world.frames(0.0)[0]).state is State.INITIALISING
    poses = {}
    for time in np.arange(0.8, 4, 0.1):
        update = odometry.process(world.frames(time)[0])
        assert update.pose is not None
        poses[time] = update.pose
    assert position_errors(world, poses).max() < 0.05


def test_losing_sight_and_coming_back() -> None:
    world = World(Path(2, speed=0.5, turn_rate=0.4))
    odometry = Odometry(STEREO, OdometrySettings(restart_after=0))
    for time in np.arange(0, 3, 0.1):
        odometry.process(world.stereo(time))
    for _ in range(8):
        update = odometry.process(world.blind())
        assert (update.state, update.pose) == (State.LOST, None)
    update = odometry.process(world.stereo(0.5))  # where it was long ago
    assert update.state is State.TRACKING
    assert update.pose is not None
    assert np.linalg.norm(update.pose.position - world.truth(0.5).position) < 0.03
    assert odometry.process(world.stereo(0.6)).state is State.TRACKING


def test_a_new_map_begins_where_the_old_one_was_lost() -> None:
    world = World(Path(2, speed=0.5, turn_rate=0.4))
    odometry = Odometry(STEREO, OdometrySettings(restart_after=3))
    for time in np.arange(0, 2, 0.1):
        last = odometry.process(world.stereo(time))
    assert last.pose is not None
    assert [odometry.process(world.blind()).state for _ in range(4)] == [State.LOST] * 3 + [State.INITIALISING]
    update = odometry.process(world.stereo(2.0))
    assert update.state is State.TRACKING
    assert update.pose is not None
    np.testing.assert_allclose(update.pose.matrix, last.pose.matrix, atol=1e-9)


def test_a_single_cameras_map_that_nothing_is_tracked_in_is_given_up() -> None:
    world = World(Path(5, speed=0.8, turn_rate=0.3))
    odometry = Odometry(MONO, OdometrySettings(restart_after=0))
    times = iter(np.arange(0, 4, 0.1))
    while odometry.process(world.frames(next(times))[0]).state is not State.TRACKING:
        pass
    assert odometry.process(world.blind()).state is State.LOST
    assert odometry.process(world.frames(next(times))[0]).state is State.INITIALISING
    while odometry.process(world.frames(next(times))[0]).state is not State.TRACKING:
        pass
    assert odometry.process(world.frames(next(times))[0]).state is State.TRACKING
    assert odometry.process(world.blind()).state is State.LOST
    assert odometry.process(world.frames(next(times))[0]).state is State.TRACKING  # this one was tracked in: it is kept


def test_few_key_frames_are_enough_and_no_more_are_kept() -> None:
    world = World(Path(3, speed=1.0, turn_rate=0.6))
    odometry = Odometry(STEREO, OdometrySettings(max_key_frames=4))
    poses = {}
    for time in np.arange(0, 4, 0.1):
        update = odometry.process(world.stereo(time))
        assert update.pose is not None
        poses[time] = update.pose
        assert len(odometry.map.key_frames) <= 4
        used = np.concatenate([key.landmarks for key in odometry.map.key_frames])
        assert used.max() < len(odometry.map.positions)
    assert position_errors(world, poses).max() < 0.1


def test_empty_frames_are_survived() -> None:
    nothing = KeypointFrame(np.empty((0, 3)), np.empty((0, 32), np.float32))
    for camera in (MONO, STEREO):
        odometry = Odometry(camera)
        assert odometry.process(nothing).state is State.INITIALISING
    world = World(Path(1))
    odometry.process(world.stereo(0))
    assert odometry.process(nothing).state is State.LOST
    assert odometry.process(world.stereo(0)).state is State.TRACKING


# Estimation


def _weighed_errors(camera: OdometryCamera, views: list[View], landmarks: np.ndarray) -> np.ndarray:
    """Whose squares add up to Cauchy's loss (1.5 px) of what each eye sees."""
    errors = [camera.project(view.pose.to_body(landmarks[view.landmarks])) - view.points for view in views]
    both = np.concatenate(errors)
    weighed = []
    for eye in (both[:, :2], both[np.isfinite(both[:, 2]), 2:]):
        squares = np.maximum((eye**2).sum(axis=1, keepdims=True) / 1.5**2, 1e-12)
        weighed.append((eye * np.sqrt(np.log1p(squares) / squares)).ravel())
    return np.concatenate(weighed)


@settings(max_examples=3)
@pytest.mark.parametrize(("cameras", "fixed", "camera"), [(3, 1, STEREO), (4, 2, STEREO), (4, 2, MONO)])
@given(seed=st.integers(0, 1000))
def test_adjustment_finds_what_dense_least_squares_find(
    cameras: int, fixed: int, camera: OdometryCamera, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    landmarks = rng.uniform((-1, -1, 2), (1, 1, 5), (12, 3))
    views = []
    for index in range(cameras):
        pose = Pose(rotation_matrix(rng.normal(0, 0.1, 3)), rng.normal(0, 0.2, 3))
        points = camera.project(pose.to_body(landmarks)) + rng.normal(0, 1, landmarks.shape)
        points[rng.random(len(points)) < (0.4 if camera.baseline else 1.1), 2] = np.nan
        seen = np.delete(np.arange(12), index)
        views.append(View(pose, points[seen], seen))

    def moved(steps: np.ndarray) -> tuple[list[View], np.ndarray]:
        of_poses, of_landmarks = np.split(steps, [6 * (cameras - fixed)])
        poses = [Pose.identity()] * fixed + [Pose(rotation_matrix(s[:3]), s[3:]) for s in of_poses.reshape(-1, 6)]
        moved = [View(view.pose @ step, view.points, view.landmarks) for view, step in zip(views, poses)]
        return moved, landmarks + of_landmarks.reshape(-1, 3)

    start = np.zeros(6 * (cameras - fixed) + landmarks.size)
    dense = least_squares(lambda steps: _weighed_errors(camera, *moved(steps)), start)
    with mock.patch.object(bundle_adjustment, "_LEAST_GAIN", 1e-12):  # or it ends before it has arrived
        poses, adjusted = adjust(camera, views, landmarks, fixed=fixed, iterations=200)
    found = [View(pose, view.points, view.landmarks) for pose, view in zip(poses, views)]
    loss = (_weighed_errors(camera, found, adjusted) ** 2).sum()
    assert loss == pytest.approx(2 * dense.cost, rel=1e-3)
    assert loss < (_weighed_errors(camera, views, landmarks) ** 2).sum()
    for pose, view, expected in zip(poses, views, moved(dense.x)[0]):
        np.testing.assert_allclose(pose.matrix, expected.pose.matrix, atol=2e-3)
        assert (pose is view.pose) == any(view is held for held in views[:fixed])


@pytest.mark.parametrize(("wrong", "tolerance"), [(0, 1e-3), (80, 2e-2)], ids=["exact", "outliers"])
def test_adjustment_recovers_poses_and_landmarks(wrong: float, tolerance: float) -> None:
    rng = np.random.default_rng(0)
    landmarks = rng.uniform((-2, -2, 2), (2, 2, 5), (100, 3))
    true = [Pose(rotation_matrix(rng.normal(0, 0.05, 3)), rng.normal(0, 0.2, 3)) for _ in range(4)]
    moved = [true[0]] + [
        Pose(pose.rotation @ rotation_matrix(rng.normal(0, 0.01, 3)), pose.position + rng.normal(0, 0.03, 3))
        for pose in true[1:]
    ]
    views = []
    for pose, start in zip(true, moved):
        points = STEREO.project(pose.to_body(landmarks))
        points[::20, 0] += wrong  # which must not pull much
        views.append(View(start, points, np.arange(100)))
    poses, found = adjust(STEREO, views, landmarks + rng.normal(0, 0.05, landmarks.shape), fixed=1, iterations=50)
    for pose, view, expected in zip(poses, views, true):
        np.testing.assert_allclose(pose.matrix, expected.matrix, atol=tolerance)
        errors = reprojection_errors(STEREO, pose, view.points, found)
        assert np.median(errors) < 1
        assert (errors[::20] >= wrong / 2).all()


def test_what_a_single_eye_sees_once_does_not_move() -> None:
    landmarks = np.random.default_rng(0).uniform((-1, -1, 2), (1, 1, 5), (30, 3))
    poses = [Pose.identity(), Pose(np.eye(3), np.array([0.3, 0.0, 0.0]))]
    views = [View(pose, MONO.project(pose.to_body(landmarks)), np.arange(30)) for pose in poses]
    for view in views:
        view.points[:, 2] = np.nan
    alone = View(views[1].pose, views[1].points[:20] + 1, views[1].landmarks[:20])
    _, found = adjust(MONO, [views[0], alone], landmarks, fixed=1)
    np.testing.assert_array_equal(found[20:], landmarks[20:])
    assert (found[:20] != landmarks[:20]).any(axis=1).all()


@pytest.mark.parametrize("camera", [MONO, STEREO], ids=["mono", "stereo"])
def test_a_pose_is_found_in_spite_of_gross_errors(camera: OdometryCamera) -> None:
    rng = np.random.default_rng(2)
    landmarks = rng.uniform((-2, -2, 2), (2, 2, 5), (100, 3))
    true = Pose(rotation_matrix([0.1, -0.2, 0.3]), np.array([0.2, 0.1, -0.3]))
    points = camera.project(true.to_body(landmarks))
    points[::10] += 60
    points[50:, 2] = np.nan
    if not camera.baseline:
        points[:, 2] = np.nan
    start = Pose(true.rotation @ rotation_matrix([0.01, 0.01, -0.01]), true.position + 0.02)
    pose = adjust_pose(camera, View(start, points[5:], np.arange(5, 100)), landmarks)
    np.testing.assert_allclose(pose.matrix, true.matrix, atol=2e-3)


@pytest.mark.parametrize("camera", [MONO, STEREO], ids=["mono", "stereo"])
def test_the_covariance_is_what_repetition_shows(camera: OdometryCamera) -> None:
    rng = np.random.default_rng(1)
    landmarks = rng.uniform((-2, -2, 2), (2, 2, 5), (60, 3))
    true = Pose(rotation_matrix([0.3, -0.2, 0.1]), np.array([0.1, 0.0, -0.2]))
    exact = camera.project(true.to_body(landmarks))
    if not camera.baseline:
        exact[:, 2] = np.nan
    estimates = [
        estimate_pose(camera, exact + rng.normal(0, 1.0, exact.shape), landmarks, 30.0, 20) for _ in range(200)
    ]
    errors = np.array(
        [
            [*rotation_vector(true.rotation.T @ estimate.pose.rotation), *estimate.pose.position]
            for estimate in estimates
            if estimate is not None
        ]
    )
    assert len(errors) == 200
    assert estimates[0] is not None
    predicted = np.sqrt(np.diag(estimates[0].covariance))
    np.testing.assert_allclose(errors.std(axis=0), predicted, rtol=0.3)


def test_no_observations_give_no_pose() -> None:
    nothing = np.empty((0, 3))
    assert refine_pose(STEREO, Pose.identity(), nothing, nothing, 3.0, least_inliers=0) is None


def test_handlers_of_signals_outlive_the_import() -> None:
    code = (
        "import os, signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); "
        "import superpoint_ros.odometry; os.kill(os.getpid(), signal.SIGTERM); signal.pause()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (7, "")


def test_without_its_library_one_sentence_says_so() -> None:
    code = "from superpoint_ros.odometry import *; import numpy as np; Odometry(OdometryCamera(np.eye(3)))"
    without = (
        "import importlib.util as u; found = u.find_spec; u.find_spec = lambda n: None if n == 'pycolmap' else found(n)"
    )
    result = subprocess.run([sys.executable, "-c", f"{without}; {code}"], capture_output=True, text=True, check=False)
    assert result.stderr.strip().endswith(
        "ValueError: odometry needs the Python package pycolmap: pip install pycolmap"
    )


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), height=st.floats(0.3, 3), tilt=st.floats(-0.2, 0.2))
def test_the_height_above_the_ground(seed: int, height: float, tilt: float) -> None:
    rng = np.random.default_rng(seed)
    ground = rng.uniform((-2, height, 1), (2, height, 6), (60, 3))
    wall = rng.uniform((-2, -2, 6), (2, height, 6), (60, 3))
    points = np.concatenate([ground, wall]) @ rotation_matrix([tilt, 0, 0]).T
    assert height_above_ground(points) == pytest.approx(height, rel=0.05)
    assert height_above_ground(wall[:, [0, 2, 1]] * (1, -1, 1)) is None  # nothing below


def test_a_real_lens_is_taken_out() -> None:
    distortion, rotation = np.array([-0.2, 0.05, 1e-3, -1e-3, 0.0]), rotation_matrix([0.01, -0.02, 0.03])
    rectifier = Rectifier(CameraModel(MATRIX, "plumb_bob", distortion, (WIDTH, HEIGHT)), rotation, 0.9 * MATRIX)
    points = np.random.default_rng(0).uniform((-1, -0.7, 1.5), (1, 0.7, 4), (50, 3))
    pixels = cv2.projectPoints(points, np.zeros(3), np.zeros(3), MATRIX, distortion)[0][:, 0]
    ideal = (points @ rotation.T) @ (0.9 * MATRIX).T
    matrix_row = 0.9 * MATRIX / 0.9 * np.array([[0.9], [0.9], [1.0]])
    rectified = Rectifier(rectifier.model, rotation, matrix_row).rectify(pixels)
    ideal = (points @ rotation.T) @ matrix_row.T
    np.testing.assert_allclose(rectified, ideal[:, :2] / ideal[:, 2:], atol=0.02)

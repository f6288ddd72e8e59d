"""Odometry on sequences, one detector as good as the other, judged by evo."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence as List
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..geometry.pose import Pose
from ..odometry import Odometry, OdometryCamera, State, monocular_frame, stereo_frame
from .detectors import Detector, LocalFeatures
from .sequences import MOST_TIME_DIFFERENCE, Sequence

Trajectory = tuple[tuple[float, Pose], ...]


@dataclass(frozen=True)
class OdometryResult:
    """One detector on one sequence; errors in metres, nan where too little was tracked.

    Attributes
    ----------
    mode : str
        "stereo" or "mono". Monocular trajectories are compared up to scale.
    run : int
        Which draw of noise, moving objects and order of the keypoints.
    frames, tracked, lost : int
        All frames, those with a pose, and those without after the beginning.
    losses : int
        How often tracking was lost.
    ate : float
        Absolute trajectory error, RMSE after alignment.
    rpe : float
        Relative pose error of the position between successive tracked frames, RMSE.
    way : float
        Length of the true trajectory.
    estimated : tuple of (float, Pose)
        What was tracked.
    """

    sequence: str
    detector: str
    mode: str
    run: int
    frames: int
    tracked: int
    lost: int
    losses: int
    ate: float
    rpe: float
    way: float
    estimated: Trajectory


def check_evo() -> None:
    """Raise ``ValueError`` unless the evo programs can be called."""
    _evo("ape")


def fly(
    sequence: Sequence,
    flown: List[tuple[Detector, int]],
    modes: List[str],
    max_keypoints: int,
) -> list[list[OdometryResult]]:
    """Measure detectors on a sequence.

    Parameters
    ----------
    sequence : Sequence
    flown : list of (Detector, int)
        What is to be measured: detectors, and in which run. Runs differ in noise and moving objects, where these are
        simulated, and in the order of the keypoints, on which RANSAC's samples depend. In run 0 the best come first.
    modes : list of str
        "stereo" and "mono"; a sequence of a single camera is flown in "mono" alone.
    max_keypoints : int
        The best ones are taken.

    Returns
    -------
    list of list of OdometryResult
        For each of `flown` the results in all modes.
    """
    runs = sorted({run for _, run in flown})
    trackers = [
        [_Tracker(sequence, detector, mode, run) for mode in modes if _can(sequence, mode)] for detector, run in flown
    ]
    bar = tqdm(sequence.frames(runs), sequence.name, total=sequence.length, unit="frame")
    for index, (time, views) in enumerate(bar):
        images = dict(zip(runs, views))
        found: dict[tuple[str, int], list[LocalFeatures]] = {}  # by detector and images, which runs may share
        for (detector, run), its_trackers in zip(flown, trackers):
            key = detector.name, id(images[run])
            if key not in found:
                found[key] = [detector.detect(image).best(max_keypoints) for image in images[run]]
            features = _shuffled(found[key], [run, index]) if run else found[key]
            for tracker in its_trackers:
                tracker.add(time, features)
    return [[tracker.result() for tracker in each] for each in trackers]


def _shuffled(features: list[LocalFeatures], seed: list[int]) -> list[LocalFeatures]:
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(found)) for found in features]
    return [
        LocalFeatures(found.keypoints[order], found.scores[order], found.descriptors[order])
        for found, order in zip(features, orders)
    ]


def _can(sequence: Sequence, mode: str) -> bool:
    return mode == "mono" or len(sequence.rectifiers) == 2


class _Tracker:
    """Odometry over one sequence."""

    def __init__(self, sequence: Sequence, detector: Detector, mode: str, run: int) -> None:
        self._sequence, self._detector, self._mode, self._run = sequence, detector, mode, run
        self._camera = sequence.camera if mode == "stereo" else OdometryCamera(sequence.camera.matrix)
        self._odometry = Odometry(self._camera)
        self._states: list[State] = []
        self._poses: list[tuple[float, Pose]] = []

    def add(self, time: float, features: list[LocalFeatures]) -> None:
        """Take the features of the next frame."""
        eyes = [
            monocular_frame(rectifier.rectify(found.keypoints), unit_vectors(found.descriptors))
            for rectifier, found in zip(self._sequence.rectifiers, features)
        ]
        frame = stereo_frame(eyes[0], eyes[1], self._camera) if self._mode == "stereo" else eyes[0]
        update = self._odometry.process(frame)
        self._states.append(update.state)
        if update.pose is not None:
            self._poses.append((time, update.pose))

    def result(self) -> OdometryResult:
        """Judge the trajectory."""
        begun = self._states.index(State.TRACKING) if State.TRACKING in self._states else len(self._states)
        after = [state is not State.TRACKING for state in self._states[begun:]]
        estimated = tuple(self._poses)
        ate, rpe = _errors(self._sequence.truth, estimated, scale=self._mode == "mono")
        positions = np.array([pose.position for _, pose in self._sequence.truth])
        return OdometryResult(
            sequence=self._sequence.name,
            detector=self._detector.name,
            mode=self._mode,
            run=self._run,
            frames=len(self._states),
            tracked=len(estimated),
            lost=sum(after),
            losses=sum(now and not before for before, now in pairwise(after)),
            ate=ate,
            rpe=rpe,
            way=float(np.linalg.norm(np.diff(positions, axis=0), axis=1).sum()),
            estimated=estimated,
        )


def unit_vectors(descriptors: NDArray[Any]) -> NDArray[np.float32]:
    """Descriptors (N, D) that `match_descriptors` takes: bits become signs, whose cosine is 1 - 2 Hamming / bits."""
    if descriptors.dtype != np.uint8:
        return np.asarray(descriptors, np.float32)
    signs = 2 * np.unpackbits(descriptors, axis=1).astype(np.float32) - 1
    return np.asarray(signs / np.sqrt(signs.shape[1]), np.float32)


def _errors(truth: Trajectory, estimated: Trajectory, scale: bool) -> tuple[float, float]:
    """ATE and RPE in metres, from the programs evo_ape and evo_rpe."""
    if len(estimated) < 3:
        return float("nan"), float("nan")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("truth.txt", "estimated.txt")]
        for path, trajectory in zip(paths, (truth, estimated)):
            write_tum(path, trajectory)
        align = ["--align", *(["--correct_scale"] if scale else [])]
        return _rmse("ape", paths, align), _rmse("rpe", paths, [*align, "--delta", "1", "--delta_unit", "f"])


def _rmse(metric: str, paths: list[Path], options: list[str]) -> float:
    result = paths[0].with_name(f"{metric}.zip")
    command = [_evo(metric), "tum", *map(str, paths), *options, "--t_max_diff", str(MOST_TIME_DIFFERENCE)]
    done = subprocess.run([*command, "--save_results", str(result)], capture_output=True, text=True, check=False)
    if done.returncode or not result.is_file():
        return float("nan")  # nothing to compare: too few poses at the same times, or no motion
    with zipfile.ZipFile(result) as archive:
        return float(json.loads(archive.read("stats.json"))["rmse"])


def _evo(metric: str) -> str:
    """Find evo's program; beside Python first, for a virtual environment that is not activated."""
    name = f"evo_{metric}"
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise ValueError(f"{name} is not installed, which measures trajectories: pip install evo")
    return found


def write_tum(path: Path, trajectory: Trajectory) -> None:
    """Write a trajectory as text in TUM's format: time, position, quaternion (x, y, z, w)."""
    lines = (
        " ".join(f"{value:.9f}" for value in (time, *pose.position, *pose.quaternion)) for time, pose in trajectory
    )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")

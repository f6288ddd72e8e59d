"""Sequences in three layouts, and odometry on them judged by evo."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("pycolmap", reason="odometry needs it: pip install pycolmap")

from superpoint_ros.__main__ import main
from superpoint_ros.evaluation.datasets import DatasetError
from superpoint_ros.evaluation.detectors import classical_detector
from superpoint_ros.evaluation.odometry_benchmark import OdometryResult, fly, unit_vectors
from superpoint_ros.evaluation.odometry_report import odometry_table
from superpoint_ros.evaluation.recorded_sequences import open_sequence
from superpoint_ros.evaluation.sequences import SIMULATED_BASELINE, Sequence, simulated_sequences
from superpoint_ros.geometry.pose import Pose, rotation_matrix

needs_evo = pytest.mark.skipif(
    shutil.which("evo_ape", path=str(Path(sys.executable).parent)) is None and shutil.which("evo_ape") is None,
    reason="evo is not installed: pip install evo",
)

ORB = classical_detector("orb")
LENGTH, SIZE = 8, (320, 240)
MOUNT = Pose(rotation_matrix([0.1, -0.2, 0.3]), np.array([0.05, 0.02, -0.01]))
"""Of the left camera on the body of the EuRoC layout."""


@pytest.fixture(scope="module")
def flight() -> Sequence:
    return simulated_sequences(["stroll"], LENGTH / 10, SIZE, room=0)[0]


def write_tum_layout(folder: Path, flight: Sequence) -> Path:
    (folder / "rgb").mkdir(parents=True)
    matrix = flight.camera.matrix
    (folder / "calibration.txt").write_text(f"{matrix[0, 0]} {matrix[1, 1]} {matrix[0, 2]} {matrix[1, 2]}\n")
    lines = ["# color images"]
    for time, (images,) in flight.frames([0]):
        cv2.imwrite(str(folder / "rgb" / f"{time:.6f}.png"), images[0])
        lines.append(f"{time:.6f} rgb/{time:.6f}.png")
    (folder / "rgb.txt").write_text("\n".join(lines) + "\n")
    truth = [f"{time:.6f} {_numbers(*pose.position, *pose.quaternion)}" for time, pose in flight.truth]
    (folder / "groundtruth.txt").write_text("# ground truth\n" + "\n".join(truth) + "\n")
    return folder


def write_euroc_layout(folder: Path, flight: Sequence) -> Path:
    """The truth is that of a body; the right camera is turned a little against the left one."""
    matrix = flight.camera.matrix
    right = MOUNT @ Pose(np.eye(3), np.array([SIMULATED_BASELINE, 0, 0]))
    frames = [(time, images) for time, (images,) in flight.frames([0])]
    for eye, mount in (("cam0", MOUNT), ("cam1", right)):
        (folder / "mav0" / eye / "data").mkdir(parents=True)
        transform = ", ".join(map(str, mount.matrix.ravel()))
        (folder / "mav0" / eye / "sensor.yaml").write_text(
            f"T_BS:\n  rows: 4\n  cols: 4\n  data: [{transform}]\nresolution: [{SIZE[0]}, {SIZE[1]}]\n"
            f"intrinsics: [{matrix[0, 0]}, {matrix[1, 1]}, {matrix[0, 2]}, {matrix[1, 2]}]\n"
            "distortion_model: radial-tangential\ndistortion_coefficients: [0.0, 0.0, 0.0, 0.0]\n"
        )
        lines = ["#timestamp [ns],filename"]
        for time, images in frames:
            stamp = round((time + 1) * 1e9)
            cv2.imwrite(str(folder / "mav0" / eye / "data" / f"{stamp}.png"), images[eye == "cam1"])
            lines.append(f"{stamp},{stamp}.png")
        (folder / "mav0" / eye / "data.csv").write_text("\n".join(lines) + "\n")
    truth = ["#timestamp, p_RS_R_x [m], ..."]
    for time, pose in flight.truth:
        body = pose @ MOUNT.inverse()
        x, y, z, w = body.quaternion
        truth.append(f"{round((time + 1) * 1e9)},{_numbers(*body.position, w, x, y, z, separator=',')},0,0,0")
    (folder / "mav0" / "state_groundtruth_estimate0").mkdir()
    (folder / "mav0" / "state_groundtruth_estimate0" / "data.csv").write_text("\n".join(truth) + "\n")
    return folder


def _numbers(*values: float, separator: str = " ") -> str:
    return separator.join(f"{value:.9f}" for value in values)


def test_the_layouts_say_what_was_written(flight: Sequence, tmp_path: Path) -> None:
    tum = open_sequence(write_tum_layout(tmp_path / "tum", flight))
    euroc = open_sequence(write_euroc_layout(tmp_path / "euroc", flight))
    assert (tum.name, euroc.name) == ("tum", "euroc")
    for sequence, shift in ((tum, 0), (euroc, 1)):
        assert sequence.length == LENGTH
        for (time, (images,)), (true_time, (expected,)) in zip(sequence.frames([0]), flight.frames([0])):
            assert time == pytest.approx(true_time + shift)
            for image, other in zip(images, expected):
                np.testing.assert_array_equal(image, other)
        for (time, pose), (true_time, expected_pose) in zip(sequence.truth, flight.truth):
            assert time == pytest.approx(true_time + shift)
            np.testing.assert_allclose(pose.matrix, expected_pose.matrix, atol=1e-6)
    assert euroc.camera.baseline == pytest.approx(SIMULATED_BASELINE)
    points = np.random.default_rng(0).uniform(0, 200, (20, 2))
    for rectifier in (*tum.rectifiers, *euroc.rectifiers):
        np.testing.assert_allclose(rectifier.rectify(points), points, atol=1e-2)


@needs_evo
def test_odometry_follows_every_layout(flight: Sequence, tmp_path: Path) -> None:
    euroc = open_sequence(write_euroc_layout(tmp_path / "euroc", flight))
    flown = [(classical_detector("sift"), 0)]
    results = [fly(sequence, flown, ["stereo"], 500)[0][0] for sequence in (flight, euroc)]
    assert [result.sequence for result in results] == ["stroll", "euroc"]
    for result in results:
        assert result.tracked == result.frames == LENGTH
        assert result.way > 0.15
        assert result.ate < 0.01
        assert result.rpe < 0.03


@needs_evo
def test_the_command_writes_tables_and_trajectories(flight: Sequence, tmp_path: Path) -> None:
    folder = write_tum_layout(tmp_path / "tum", flight)
    output = tmp_path / "out"
    command = ["evaluate", "odometry", "--dataset", str(folder), "simulated", "--flights", "slow", "--seconds", "0.5"]
    assert main([*command, "--width", "320", "--detectors", "orb", "sift", "--output", str(output)]) == 0
    table = (output / "odometry.md").read_text()
    assert "| slow |" in table
    assert "| tum |" in table
    assert "### stereo" in table
    assert {path.name for path in (output / "trajectories").iterdir()} >= {"slow_truth.txt", "slow_ORB_stereo.txt"}
    assert (output / "odometry_stereo.png").is_file()


@needs_evo
@pytest.mark.parametrize("other", ["elsewhere/slow", "simulated"])
def test_sequences_of_one_name_are_refused(
    other: str, flight: Sequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("here/slow", "elsewhere/slow"):
        write_tum_layout(Path(place), flight)
    command = ["evaluate", "odometry", "--dataset", "here/slow", other, "--flights", "slow", "--seconds", "0.2"]
    assert main([*command, "--width", "160", "--detectors", "orb", "--output", "out"]) == 1
    assert f"--dataset: here/slow and {other} both have a sequence 'slow'" in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        *(("--seconds", value, "a number above 0") for value in ("0", "-1", "nan", "inf", "some")),
        ("--width", "0", "a whole number of at least 1"),
        *(("--max-keypoints", value, "a whole number of at least 1") for value in ("0", "-5")),
    ],
)
def test_impossible_numbers_are_refused(
    option: str, value: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "odometry", "--output", str(tmp_path / "out"), option, value])
    assert f"argument {option}: must be {expected}, got {value!r}" in capsys.readouterr().err


@needs_evo
def test_runs_differ_and_those_that_are_finished_are_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "odometry", "--flights", "crowded", "--seconds", "0.3", "--width", "160", "--resume"]
    command += ["--modes", "stereo", "--detectors", "orb", "--output", str(tmp_path)]
    first, second = (tmp_path / "runs" / f"crowded_ORB_{run}.json" for run in range(2))
    assert main(command) == 0
    kept = json.loads(first.read_text())
    kept["results"][0]["lost"] = 123
    first.write_text(json.dumps(kept))
    assert main([*command, "--runs", "2"]) == 0
    assert "123 (" in (tmp_path / "odometry.md").read_text()
    assert json.loads(second.read_text())["setup"] == kept["setup"]
    assert json.loads(second.read_text())["results"][0]["estimated"] != kept["results"][0]["estimated"]
    assert main([*command, "--max-keypoints", "400"]) == 0  # other settings: flown again
    assert "123 (" not in (tmp_path / "odometry.md").read_text()
    first.write_text("{}")
    assert main(command) != 0
    assert "crowded_ORB_0.json: not a result" in capsys.readouterr().err


def test_the_table_gives_median_and_range_and_says_who_drifts_less() -> None:
    def result(sequence: str, detector: str, run: int, ate: float, lost: int = 0) -> OdometryResult:
        return OdometryResult(sequence, detector, "mono", run, 60, 60 - lost, lost, min(lost, 1), ate, 0.002, 1.5, ())

    results = [
        *(result("near", "A", run, ate) for run, ate in enumerate((0.01, 0.05, 0.02))),
        *(result("near", "B", run, ate) for run, ate in enumerate((0.03, 0.03, 0.04))),
        *(result("far", "A", run, 0.03, lost=2) for run in range(3)),
        *(result("far", "B", run, ate, lost=4) for run, ate in enumerate((float("nan"), float("nan"), 0.01))),
        *(result("bad", "A", run, 0.02) for run in range(3)),
        *(result("bad", "B", run, 0.01) for run in range(3)),
    ]
    table = odometry_table(results)
    assert "| near | 1.5 | 2.00 (1.00 to 5.00), 2.0, 0 | 3.00 (3.00 to 4.00), 2.0, 0 |" in table
    assert "| 3.00 (3.00 to 3.00), 2.0, 6 (3) | 2 of 3 without a trajectory, 12 (3) |" in table
    assert "| **lost in all** |  | 6 (3) | 12 (3) |" in table
    assert "A drifts less than B on 2 of 3; not on bad" in table


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: None, "neither TUM RGB-D layout"),
        (lambda folder: (folder / "rgb.txt").write_text("# nothing\n"), "rgb.txt: expected lines of 2 fields"),
        (lambda folder: (folder / "rgb.txt").write_text("0.0 a.png\n"), "calibration.txt: missing"),
        (lambda folder: (folder / "mav0" / "cam0").mkdir(parents=True), "sensor.yaml: No such file"),
    ],
)
def test_what_is_no_sequence_is_named(prepare: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    prepare(tmp_path)
    with pytest.raises(DatasetError, match=message):
        open_sequence(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "groundtruth.txt").unlink(), r"groundtruth.txt: cannot be read"),
        (lambda folder: (folder / "rgb" / "0.100000.png").unlink(), r"rgb/0.100000.png: missing, and 0 more images"),
        (lambda folder: rewrite(folder / "rgb.txt", "0.100000 ", "soon "), r"rgb.txt: .*'soon'"),
        (lambda folder: (folder / "calibration.txt").write_text("1 1 1 1 0.1"), r"calibration.txt: 1 distortion coeff"),
        (
            lambda folder: (folder / "groundtruth.txt").write_text("9 0 0 0 0 0 0 1\n"),
            "from 9.000 .* but images from",
        ),
        (
            lambda folder: (folder / "groundtruth.txt").write_text("0 nan 0 0 0 0 0 1\n"),
            "groundtruth.txt: no pose",
        ),
    ],
)
def test_a_faulty_tum_folder_is_named(
    spoil: Callable[[Path], object], message: str, flight: Sequence, tmp_path: Path
) -> None:
    spoil(write_tum_layout(tmp_path / "tum", flight))
    with pytest.raises(DatasetError, match=message):
        open_sequence(tmp_path / "tum")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("radial-tangential", "omni", "sensor.yaml: .*'omni' is unknown"),
        ("resolution", "size", "sensor.yaml: .*'resolution'"),
        ("T_BS:", "T_BS: [", "sensor.yaml: not the sensor.yaml"),
    ],
)
def test_a_faulty_euroc_camera_is_named(old: str, new: str, message: str, flight: Sequence, tmp_path: Path) -> None:
    folder = write_euroc_layout(tmp_path / "euroc", flight)
    rewrite(folder / "mav0" / "cam1" / "sensor.yaml", old, new)
    with pytest.raises(DatasetError, match=message):
        open_sequence(folder)


def test_a_calibration_with_the_head_that_opencv_writes_is_read(flight: Sequence, tmp_path: Path) -> None:
    folder = write_euroc_layout(tmp_path / "euroc", flight)
    rewrite(folder / "mav0" / "cam0" / "sensor.yaml", "T_BS:", "%YAML:1.0\nT_BS:")
    np.testing.assert_array_equal(open_sequence(folder).camera.matrix, flight.camera.matrix)


def test_truth_beyond_the_images_does_not_count(flight: Sequence, tmp_path: Path) -> None:
    folder = write_tum_layout(tmp_path / "tum", flight)
    with (folder / "groundtruth.txt").open("a") as truth:
        truth.write("100 50 0 0 0 0 0 1\n")
    assert len(open_sequence(folder).truth) == LENGTH


def test_the_cosine_of_binary_descriptors_is_their_hamming_distance() -> None:
    bits = np.random.default_rng(0).integers(0, 256, (20, 32), dtype=np.uint8)
    vectors = unit_vectors(bits)
    distances = np.array([[cv2.norm(first, second, cv2.NORM_HAMMING) for second in bits] for first in bits])
    np.testing.assert_array_equal(vectors @ vectors.T, (1 - distances / 128).astype(np.float32))

"""The command ``evaluate`` from its arguments to its files."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint_ros.__main__ import main
from superpoint_ros.evaluation import evaluate as command
from superpoint_ros.evaluation.detectors import installed_detectors


def evaluate(*arguments: str | Path) -> int:
    return main(["evaluate", *map(str, arguments)])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(2):
        noise = np.random.default_rng(seed).uniform(size=(40, 54)).astype(np.float32)
        image = np.clip(cv2.resize(noise, (432, 320), interpolation=cv2.INTER_CUBIC), 0, 1) * 255
        cv2.imwrite(str(folder / f"{seed}.png"), image)
    return folder


def small_run(photos: Path, output: Path, *more: str) -> int:
    sizes = ("--sizes", "120x160", "--max-keypoints", "100")
    return evaluate("homography", "--images", photos, "--pairs", "3", *sizes, "--output", output, *more)


def test_homography_writes_every_format(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "output"
    more = (
        "--detectors",
        "superpoint",
        "sift",
        "orb",
        "--weights",
        "random",
        "--device",
        "cpu",
        "--threshold",
        "0.001",
    )
    assert small_run(photos, output, *more) == 0
    report = json.loads((output / "homography.json").read_text())
    assert set(report["detectors"]) == {"SuperPoint", "SIFT", "ORB"}
    assert "threshold=0.001" in report["detectors"]["SuperPoint"]
    assert len(report["pairs"]) == 3 * 3
    assert {summary["category"] for summary in report["summaries"]} == {"all", "viewpoint", "illumination", "both"}
    tables = (output / "homography.md").read_text()
    assert "### 120x160, all, 3 pairs" in tables
    assert "### 120x160, differences with 95 % intervals" in tables
    assert [(one["first"], one["second"]) for one in report["comparisons"]] == [
        ("SuperPoint", "SIFT"),
        ("SuperPoint", "ORB"),
    ]
    assert tables in capsys.readouterr().out
    pytest.importorskip("matplotlib", reason="plots need matplotlib")
    assert cv2.imread(str(output / "homography.png")) is not None


def test_the_same_command_gives_the_same_file(photos: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        assert small_run(photos, tmp_path / name, "--detectors", "sift", "orb") == 0
    first, second = ((tmp_path / name / "homography.json").read_text() for name in ("first", "second"))
    assert first == second
    assert small_run(photos, tmp_path / "third", "--detectors", "sift", "orb", "--seed", "1") == 0
    assert (tmp_path / "third" / "homography.json").read_text() != first


def test_all_is_each_installed_detector(photos: Path, tmp_path: Path) -> None:
    assert small_run(photos, tmp_path, "--detectors", "all", "--weights", "random", "--device", "cpu") == 0
    report = json.loads((tmp_path / "homography.json").read_text())
    assert len(report["detectors"]) == 1 + len(installed_detectors())


def test_pose_writes_every_format(tmp_path: Path) -> None:
    skimage = pytest.importorskip("skimage", reason="scikit-image brings the stereo pair")
    intrinsics = "994.978 0 {} 0 994.978 254.877 0 0 1"
    numbers = f"{intrinsics.format(311.193)} {intrinsics.format(342.279)} 1 0 0 -0.193 0 1 0 0 0 0 1 0 0 0 0 1"
    (tmp_path / "pairs.txt").write_text(f"motorcycle_left.png motorcycle_right.png 0 0 {numbers}\n")
    images = Path(skimage.__file__).parent / "data"
    arguments = ("--pairs", tmp_path / "pairs.txt", "--images", images, "--output", tmp_path / "output")
    assert evaluate("pose", *arguments, "--detectors", "sift") == 0
    report = json.loads((tmp_path / "output" / "pose.json").read_text())
    assert report["summaries"][0]["auc"][2] > 0.9
    assert "| SIFT | 0." in (tmp_path / "output" / "pose.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("homography", "--dataset", "nonsense"), "--dataset must be warped or hpatches:DIR, got 'nonsense'"),
        (("homography", "--dataset", "hpatches:/nowhere"), "/nowhere: no HPatches sequences"),
        (("homography", "--images", "/nowhere"), "/nowhere: no such folder"),
        (("homography", "--sizes", "120x160"), "--max-keypoints must give a number for each of the 1 sizes"),
        (("homography", "--images", "PHOTOS", "--weights", "/nowhere"), "/nowhere"),
        (("homography", "--images", "PHOTOS", "--weights", "random", "--threshold", "2"), "threshold"),
        (("pose", "--pairs", "/nowhere", "--images", "."), "/nowhere"),
    ],
)
def test_faults_are_named_and_nothing_is_written(
    arguments: tuple[str, ...], message: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [str(photos) if argument == "PHOTOS" else argument for argument in arguments]
    assert evaluate(*filled, "--output", tmp_path / "output") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize("output", ["FILE", "FILE/below", "/proc/nope"])
@pytest.mark.parametrize(
    ("benchmark", "measure"),
    [
        ("homography", "run_homography_benchmark"),
        ("precision", "run_precision_benchmark"),
        ("pose", "write_rendered_pairs"),
        ("odometry", "evaluate_odometry"),
    ],
)
def test_an_unusable_output_is_named_before_anything_is_measured(
    benchmark: str,
    measure: str,
    output: str,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, measure, lambda *_: pytest.fail("measured before --output was tried"))
    monkeypatch.setattr(command, "PRECISIONS", (("torch", "fp32"),))
    monkeypatch.setattr(command, "odometry_sequences", lambda _: [])
    images = ("--images", photos) if benchmark in ("homography", "precision") else ()
    detectors = () if benchmark == "precision" else ("--detectors", "orb")
    folder = output.replace("FILE", str(photos / "0.png"))
    assert evaluate(benchmark, *images, *detectors, "--output", folder) == 1
    assert f"{folder}: must be a folder that can be written to" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [("--sizes", "120"), ("--sizes", "8x8"), ("--pairs", "0"), ("--detectors", "surf")]
)
def test_impossible_arguments_are_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit):
        evaluate("homography", *arguments)


@pytest.mark.parametrize(
    ("benchmark", "option"),
    [
        ("homography", "--seed"),
        ("precision", "--seed"),
        ("pose", "--seed"),
        ("pose", "--resize"),
        ("odometry", "--seed"),
    ],
)
def test_negative_numbers_are_refused_by_name(benchmark: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        evaluate(benchmark, option, "-1")
    assert f"argument {option}: must be a whole number of at least 0, got '-1'" in capsys.readouterr().err


def test_a_failed_run_keeps_the_earlier_report(photos: Path, tmp_path: Path) -> None:
    assert small_run(photos, tmp_path, "--detectors", "sift") == 0
    before = (tmp_path / "homography.json").read_bytes()
    (photos / "1.png").write_bytes(b"broken")
    assert small_run(photos, tmp_path, "--detectors", "sift", "--pairs", "6") == 1
    assert (tmp_path / "homography.json").read_bytes() == before
    assert not list(tmp_path.glob(".partial*"))

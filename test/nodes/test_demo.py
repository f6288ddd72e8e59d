"""The demo as a user starts it: a command that runs two more processes and leaves two files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from recordings import image_folder

pytest.importorskip("rclpy", reason="needs ROS 2: make build, then scripts/ros_env python -m pytest")
pytest.importorskip("superpoint_ros.msg", reason="the messages are not built: make build")

TIMEOUT = 60.0  # seconds; only ever reached when something is wrong


def _start(output: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "superpoint_ros.nodes.demo", "--output", str(output), "--weights", "random"]
    return subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _children(demo: subprocess.Popen[str], executables: set[str]) -> dict[str, int]:
    """Wait for the demo's processes and return their ids by name of the executable."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline and demo.poll() is None:
        found = {}
        for child in Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split():
            words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
            found |= {Path(word).name: int(child) for word in words if Path(word).name in executables}
        if set(found) == executables:
            return found
        time.sleep(0.05)
    demo.kill()
    raise AssertionError(f"{executables} did not start: {demo.communicate()}")


def _is_running(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


@pytest.fixture
def previous_results(tmp_path) -> Path:
    """Return a folder with the results of an earlier run."""
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "overlay.png").write_text("earlier overlay")
    (folder / "summary.json").write_text("earlier summary")
    return folder


def _is_untouched(folder: Path) -> bool:
    contents = {path.name: path.read_text() for path in folder.iterdir()}
    return contents == {"overlay.png": "earlier overlay", "summary.json": "earlier summary"}


def test_demo_leaves_overlay_and_summary(ros_domain, previous_results):
    demo = _start(previous_results, "--duration", "3")
    printed, remarks = demo.communicate(timeout=3 * TIMEOUT)
    assert demo.returncode == 0, remarks
    summary = json.loads((previous_results / "summary.json").read_text())
    assert json.loads(printed) == summary
    assert cv2.imread(str(previous_results / "overlay.png")).shape == (480, 640, 3)
    assert {path.name for path in previous_results.iterdir()} == {"overlay.png", "summary.json"}
    assert summary["frames_processed"] >= 1
    assert summary["frames_published"] == summary["frames_processed"] + summary["frames_dropped"]
    assert 1 <= summary["keypoints_mean"] <= 1024
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p95"] <= summary["latency_ms"]["p99"]
    assert summary["rate_hz"] >= 0
    assert summary["image_size"] == [640, 480]
    assert "unknown" not in (summary["backend"], summary["precision"])
    assert summary["device"].startswith(("cpu", "cuda"))
    assert summary["model"].startswith("superpoint_ros/random@")


def test_interrupted_demo_ends_its_processes_and_writes_nothing(ros_domain, previous_results):
    demo = _start(previous_results, "--duration", "1000")
    children = _children(demo, {"detector", "camera_player"})
    demo.send_signal(signal.SIGINT)
    _, remarks = demo.communicate(timeout=TIMEOUT)
    assert demo.returncode == 130
    assert "interrupted" in remarks
    assert "Traceback" not in remarks
    assert not any(map(_is_running, children.values()))
    assert _is_untouched(previous_results)


def test_death_of_the_detector_is_reported(ros_domain, previous_results):
    demo = _start(previous_results, "--duration", "1000")
    os.kill(_children(demo, {"detector"})["detector"], signal.SIGKILL)
    _, remarks = demo.communicate(timeout=TIMEOUT)
    assert demo.returncode == 1
    assert "the detector ended with code -9; the end of the detector's output" in remarks
    assert _is_untouched(previous_results)


def _folder_with_broken_image(folder: Path) -> list[str]:
    (image_folder(folder / "images") / "frame5.png").write_bytes(b"\x89PNG broken")
    return ["--source", str(folder / "images")]


def _foreign_weights(folder: Path) -> list[str]:
    (folder / "bad.pth").write_text("no weights")
    return ["--weights", str(folder / "bad.pth")]


@pytest.mark.parametrize(
    ("make", "messages"),
    [
        (lambda folder: ["--source", str(folder / "no.mp4")], ["no.mp4: no such file"]),
        (lambda folder: ["--source", str(folder)], ["the folder has no images"]),
        (_folder_with_broken_image, ["the camera_player ended with code 1", "frame5.png: not an image"]),
        (_foreign_weights, ["the detector reports", "bad.pth"]),
    ],
    ids=["no source", "empty source", "broken source", "bad weights"],
)
def test_failures_are_explained_and_overwrite_nothing(ros_domain, previous_results, tmp_path, make, messages):
    demo = _start(previous_results, *make(tmp_path))
    _, remarks = demo.communicate(timeout=2 * TIMEOUT)
    assert demo.returncode == 1
    assert all(message in remarks for message in messages), remarks
    assert "Traceback" not in remarks
    assert _is_untouched(previous_results)


def test_output_must_be_a_folder(ros_domain, tmp_path):
    (tmp_path / "file").write_text("precious")
    demo = _start(tmp_path / "file")
    _, remarks = demo.communicate(timeout=TIMEOUT)
    assert demo.returncode == 1
    assert "expected a folder" in remarks
    assert (tmp_path / "file").read_text() == "precious"

"""The Python example of docs/consuming.md, as it is printed there. The C++ ones: test_cpp_consumer.py."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

from node_testing import TIMEOUT, textured_image

DOCUMENT = Path(__file__).parents[2] / "docs" / "consuming.md"


def _python_example() -> str:
    match = re.search(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    assert match, f"{DOCUMENT} has no example in Python"
    return match[1]


def test_python_example_runs_against_a_detector(start_node, probe, tmp_path):
    """The same image again and again: whatever the weights, the matches must not move.

    The detector's parameters may change meanwhile.
    """
    cv2.imwrite(str(tmp_path / "still.png"), textured_image(120, 160))
    (tmp_path / "motion.py").write_text(_python_example())
    start_node("detector", {"weights": "random"})
    start_node("camera_player", {"source": tmp_path / "still.png", "loop": True})
    log_file = tmp_path / "log"
    with log_file.open("w+") as log:
        consumer = subprocess.Popen([sys.executable, tmp_path / "motion.py"], stdout=log, stderr=log)
        try:
            report = None
            deadline = time.monotonic() + TIMEOUT
            while report is None and consumer.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
                report = re.search(r"(\d+) matches, median motion (.*) px", log_file.read_text())
            assert report, log_file.read_text()
            assert int(report[1]) > 10
            assert report[2] == "0.0"
            assert probe.set_parameters("detector", descriptor_type="int8")[0].successful
            probe.wait_until(lambda: "one type, got float32 and int8" in log_file.read_text(), "a line about it")
            seen = log_file.read_text().count(" matches, ")
            probe.wait_until(lambda: log_file.read_text().count(" matches, ") > seen, "matches of the new type")
            consumer.send_signal(signal.SIGINT)
            assert consumer.wait(TIMEOUT) == 0
            assert "Traceback" not in log_file.read_text()
        finally:
            consumer.kill()

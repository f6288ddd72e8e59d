"""The example of docs/bags.md runs as it is printed, on a bag of a simulated flight."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("rosbags.rosbag2", reason="bags are read with rosbags: pip install rosbags")
pytest.importorskip("pycolmap", reason="odometry needs it: pip install pycolmap")

from recordings import image_record, info_record, write_bag

from superpoint_ros.__main__ import main
from superpoint_ros.nodes.camera_player.sources import CameraCalibration
from superpoint_ros.simulation.camera import SimulatedCamera
from superpoint_ros.simulation.flights import FLIGHTS
from superpoint_ros.simulation.rendering import PinholeCamera

DOCUMENT = Path(__file__).parents[2] / "docs" / "bags.md"
WIDTH, HEIGHT, FOCAL_LENGTH, RATE = 320, 240, 200.0, 10.0
FRAMES = 16


def test_keypoints_become_the_trajectory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = SimulatedCamera(FLIGHTS["brisk"], PinholeCamera(WIDTH, HEIGHT, FOCAL_LENGTH), RATE, colour=False)
    frames = list(itertools.islice(camera, FRAMES))
    calibration = CameraCalibration.pinhole(WIDTH, HEIGHT, FOCAL_LENGTH)
    messages = [("/camera/camera_info", info_record(calibration))]
    messages += [
        ("/camera/image_raw", image_record(frame.images[0], round(1e9 * (1 + frame.time)), "mono8")) for frame in frames
    ]
    monkeypatch.chdir(tmp_path)
    write_bag(Path("IN"), messages)
    assert main(["bag", "IN", "OUT", "--device", "cpu"]) == 0
    (example,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    exec(example, {})
    trajectory = np.loadtxt("trajectory.txt")
    indices = np.rint((trajectory[:, 0] - 1) * RATE).astype(int)
    assert len(indices) >= FRAMES - 8 and (np.diff(indices) == 1).all()
    true = np.array([frames[index].pose.position for index in indices])
    steps, true_steps = (np.diff(positions, axis=0) for positions in (trajectory[:, 1:4], true))
    lengths, true_lengths = (np.linalg.norm(each, axis=1) for each in (steps, true_steps))
    scale = lengths.sum() / true_lengths.sum()
    np.testing.assert_allclose(lengths, scale * true_lengths, rtol=0.3)

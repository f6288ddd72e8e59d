"""A live detector on a real GPU: what it says of the memory, and faults that do happen.

`make gpu` runs them where there is a GPU, and test_faults.py with it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

from diagnostic_msgs.msg import DiagnosticArray
from node_testing import Connection, NodeProcess, Probe, counts, image_message, latest_status, textured_image, values

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

IMAGE = textured_image(96, 128)
PARAMETERS = {"weights": "random", "device": "cuda:0", "max_keypoints": 50}

DETECTOR_WITH_LITTLE_MEMORY = """
import sys
from pathlib import Path
import torch
from superpoint_ros.nodes.detector.node import main
from superpoint_ros.superpoint.cuda_pipeline import CudaPipeline

torch.cuda.set_per_process_memory_fraction(2**30 / torch.cuda.get_device_properties(0).total_memory)
submit = CudaPipeline.submit

def submit_or_lose_the_gpu(self, *arguments):
    if Path({switch!r}).exists():
        # Outside of the tensor: the kernel fails, a little later, and with it all that this process has on the GPU.
        torch.zeros(1, device="cuda:0")[torch.ones(1, dtype=torch.long, device="cuda:0")]
    return submit(self, *arguments)

CudaPipeline.submit = submit_or_lose_the_gpu
sys.exit(main())
"""


def test_diagnostics_tell_the_memory_of_the_gpu(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    node = start_node("detector", {**PARAMETERS, "cameras": ["seen"]}, "-r", "__node:=telling")
    diagnostics = probe.collect(DiagnosticArray, "/diagnostics")
    Connection(probe, "seen", first=image_message(IMAGE, "rgb8"))

    def megabytes(what: str) -> float:
        status = latest_status(diagnostics, "telling: model")
        return float(values(status).get(f"GPU memory {what} [MB]", 0)) if status else 0.0

    probe.wait_until(lambda: megabytes("of this process") > 0, "diagnostics of a GPU in use")
    assert megabytes("of this process") + megabytes("free") <= megabytes("in all")
    total = torch.cuda.get_device_properties(0).total_memory / 1e6
    assert megabytes("in all") == pytest.approx(total, rel=0.05)
    assert node.stop() == 0


def test_a_full_gpu_costs_an_image_and_a_lost_one_the_state_but_neither_the_process(
    start_node: Callable[..., NodeProcess], probe: Probe, tmp_path: Path
) -> None:
    switch, program = tmp_path / "switch", tmp_path / "detector.py"
    program.write_text(DETECTOR_WITH_LITTLE_MEMORY.format(switch=str(switch)))
    node = start_node(str(program), {**PARAMETERS, "cameras": ["eye"]}, "-r", "__node:=poor")
    diagnostics = probe.collect(DiagnosticArray, "/diagnostics")
    camera = Connection(probe, "eye", first=image_message(IMAGE, "rgb8"))

    camera.publish(image_message(np.zeros((2160, 3840), np.uint8), "mono8"))
    node.wait_for_output("too little free memory")
    probe.wait_until(lambda: counts(diagnostics, "poor: eye").get("dropped: failed"), "a count of the image")
    assert len(camera.result(image_message(IMAGE, "rgb8")).x) > 0

    switch.touch()
    camera.publish(image_message(IMAGE, "rgb8"))
    node.wait_for_output("giving up: the GPU failed and is lost to this process")
    probe.wait_until(lambda: probe.state("poor") == "unconfigured", "the node to give up")
    assert not probe.change_state("poor", "configure")
    assert probe.set_parameters("poor", device="cpu")[0].successful
    assert probe.change_state("poor", "configure") and probe.change_state("poor", "activate")
    camera.stop_listening()
    camera.listen()
    assert len(camera.result(image_message(IMAGE, "rgb8")).x) > 0
    assert "Traceback" not in node.output

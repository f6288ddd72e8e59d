"""How many images the detector's threads send through the network together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

from superpoint_ros.nodes.detector.parameters import DetectorParameters
from superpoint_ros.nodes.detector.pipeline import Pipeline
from superpoint_ros.superpoint import Features, SuperPointConfig, SuperPointExtractor
from superpoint_ros.superpoint.checkpoints import random_checkpoint

SMALL = SuperPointConfig((4, 4, 8, 8), 16, descriptor_decoder_dim=16)


class Recorder(SuperPointExtractor):
    """Records how many images each call has."""

    batches: list[int]

    def __call__(self, images: Sequence[np.ndarray], masks: object = None) -> list[Features]:  # type: ignore[override]
        self.batches.append(len(images))
        return super().__call__(images)


@pytest.mark.parametrize(
    ("backend", "keep_all", "expected"),
    [("torch", False, [1, 2, 3]), ("torch", True, [1]), ("openvino", False, [1])],
)
def test_warm_up_runs_the_numbers_of_images_that_may_come_together(backend, keep_all, expected) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    extractor = Recorder(random_checkpoint(SMALL), "cpu", backend, "fp32")
    extractor.batches = []
    pipeline = Pipeline(extractor, keep_all, lambda error: None)
    pipeline.warm_up((64, 48), DetectorParameters(cameras=("left", "right", "rear")))
    assert extractor.batches == expected

"""What the detector's threads do with images, and how many go through the network together."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

from node_testing import image_message, textured_image

from superpoint_ros.images import ImageError
from superpoint_ros.nodes.detector import pipeline as pipeline_module
from superpoint_ros.nodes.detector.camera import Frame
from superpoint_ros.nodes.detector.model_loading import load_extractor
from superpoint_ros.nodes.detector.parameters import DetectorParameters
from superpoint_ros.nodes.detector.pipeline import Pipeline
from superpoint_ros.nodes.reporting.stream_statistics import StreamStatistics
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
    ("backend", "max_batch_size", "expected"),
    [("torch", 0, [1, 2, 3]), ("torch", 1, [1]), ("openvino", 0, [1]), ("openvino", 2, [1, 2])],
)
def test_warm_up_runs_the_numbers_of_images_that_may_come_together(backend, max_batch_size, expected) -> None:
    pytest.importorskip(backend)
    extractor = Recorder(random_checkpoint(SMALL), "cpu", backend, "fp32", max_batch_size=max_batch_size)
    extractor.batches = []
    pipeline = Pipeline(extractor, False, lambda error: None)
    pipeline.warm_up((64, 48), DetectorParameters(cameras=("left", "right", "rear")))
    assert extractor.batches == expected


@pytest.mark.parametrize(
    ("size", "resize", "expected"),
    [
        ((640, 480), 0, [1, 2, 3]),
        ((1920, 1080), 0, [1]),
        ((3840, 2160), 0, []),
        ((3840, 2160), 320, [1, 2, 3, 4]),
    ],
)
def test_warm_up_on_a_cpu_ends_before_it_takes_long(size, resize, expected) -> None:
    extractor = Recorder(random_checkpoint(SMALL), "cpu", "torch", "fp32", max_batch_size=8)
    extractor.batches = []
    pipeline = Pipeline(extractor, False, lambda error: None)
    pipeline.warm_up(size, DetectorParameters(cameras=("front", "left", "right", "rear"), resize=resize))
    assert extractor.batches == expected


@pytest.mark.parametrize("size", [(5, 5), (16385, 16), (2**32 - 1, 2**32 - 1)])
def test_warm_up_refuses_sizes_that_images_cannot_have(size) -> None:
    extractor = Recorder(random_checkpoint(SMALL), "cpu", "torch", "fp32")
    with pytest.raises(ImageError, match=f"size {size[0]} x {size[1]} is"):
        Pipeline(extractor, False, lambda error: None).warm_up(size, DetectorParameters())


class Slow(Recorder):
    """Begins with its first image only when it is told to."""

    may_begin: threading.Event

    def __call__(self, images: Sequence[np.ndarray], masks: object = None) -> list[Features]:  # type: ignore[override]
        found = super().__call__(images, masks)
        assert self.may_begin.wait(60)
        return found


class Full(Slow):
    """Has memory for one image at a time."""

    def __call__(self, images: Sequence[np.ndarray], masks: object = None) -> list[Features]:  # type: ignore[override]
        if len(images) > 1:
            self.batches.append(len(images))
            raise MemoryError
        return super().__call__(images, masks)


class Camera(SimpleNamespace):
    """What the pipeline needs of a camera; keeps what is published."""

    def __init__(self, name: str) -> None:
        statistics = StreamStatistics()
        super().__init__(name=name, statistics=statistics, image_size=None, overlay_is_watched=False, published=[])

    def publish_keypoints(self, message: Any) -> None:
        self.published.append(message)

    def fail(self, error: Exception) -> None:
        raise AssertionError from error


@pytest.mark.parametrize(
    ("extractor_type", "backend", "max_batch_size", "expected"),
    [
        (Slow, "torch", 0, [1, 3, 1]),
        (Slow, "torch", 2, [1, 2, 1, 1]),
        (Slow, "openvino", 0, [1, 1, 1, 1, 1]),
        (Slow, "openvino", 8, [1, 3, 1]),
        (Full, "torch", 0, [1, 3, 1, 1, 1, 1]),
    ],
)
def test_images_of_equal_size_that_wait_are_one_batch_up_to_the_limit_or_alone_where_that_is_too_much(
    extractor_type, backend, max_batch_size, expected
) -> None:
    pytest.importorskip(backend)
    extractor = extractor_type(random_checkpoint(SMALL), "cpu", backend, "fp32", max_batch_size=max_batch_size)
    extractor.batches, extractor.may_begin = [], threading.Event()
    pipeline = Pipeline(extractor, False, lambda error: None)
    cameras = [Camera(name) for name in ("first", "left", "right", "rear", "other")]
    images = [textured_image(*size) for size in ((48, 64), (48, 64), (48, 64), (48, 64), (56, 64))]
    messages = [image_message(image, "rgb8") for image in images]
    messages[2] = image_message(images[2][..., 0], "mono8")  # grey among colour
    pipeline.start([camera.name for camera in cameras])
    try:
        for camera, message in zip(cameras, messages):
            pipeline.offer(Frame(camera, message, time.monotonic(), DetectorParameters(), None))
            if camera is cameras[0]:
                wait_until(lambda: extractor.batches)  # it is with the network, and the others wait for it
            else:
                assert pipeline._detector.has(camera.name, 60)
        extractor.may_begin.set()
        wait_until(lambda: all(camera.published for camera in cameras))
    finally:
        extractor.may_begin.set()
        pipeline.stop()
    assert extractor.batches == expected


class Hurried(SuperPointExtractor):
    """Lets the next image come while it computes."""

    let_next_come: Callable[[], None]

    def __call__(self, images: Sequence[np.ndarray], masks: object = None) -> list[Features]:  # type: ignore[override]
        self.let_next_come()
        return super().__call__(images)


def test_a_camera_whose_images_all_differ_in_size_gets_every_second_result() -> None:
    extractor = Hurried(random_checkpoint(SMALL), "cpu", "torch", "fp32")
    pipeline, camera, widths = Pipeline(extractor, False, lambda error: None), Camera("tracker"), range(64, 144, 8)

    def offer(width: int) -> None:
        message = image_message(textured_image(48, width), "rgb8")
        pipeline.offer(Frame(camera, message, time.monotonic(), DetectorParameters(), None))

    coming = iter(widths)

    def let_next_come() -> None:
        for width in itertools.islice(coming, 1):
            offer(width)
            assert pipeline._detector.has(camera.name, 60)

    extractor.let_next_come = let_next_come
    pipeline.start([camera.name])
    try:
        offer(next(coming))
        wait_until(lambda: camera.published and camera.published[-1].width == widths[-1])
    finally:
        pipeline.stop()
    assert [message.width for message in camera.published] == list(widths[1::2])
    totals = camera.statistics.snapshot().totals
    assert totals["processed"] == totals["overload"] == len(widths) / 2


def test_a_size_is_known_until_too_many_others_have_come(monkeypatch) -> None:
    monkeypatch.setattr(pipeline_module, "_SIZES", 2)
    pipeline = Pipeline(
        SuperPointExtractor(random_checkpoint(SMALL), "cpu", "torch", "fp32"), False, lambda error: None
    )
    widths = (64, 72, 64, 80, 64, 72)
    are_new = [pipeline._is_new((48, width), DetectorParameters()) for width in widths]
    assert are_new == [True, True, False, True, False, True]


def test_a_camera_whose_images_take_long_to_decode_delays_no_other(monkeypatch) -> None:
    extractor = SuperPointExtractor(random_checkpoint(SMALL), "cpu", "torch", "fp32")
    pipeline, slow, quick = Pipeline(extractor, False, lambda error: None), Camera("slow"), Camera("quick")
    may_end, to_array = threading.Event(), pipeline_module.to_array

    def decode(message: Any, value_range: Any) -> np.ndarray:
        assert message.header.frame_id != "slow" or may_end.wait(60)
        return to_array(message, value_range)

    monkeypatch.setattr(pipeline_module, "to_array", decode)
    pipeline.start(["slow", "quick"])
    try:
        for camera in (slow, quick):
            message = image_message(textured_image(48, 64), "rgb8")
            message.header.frame_id = camera.name
            pipeline.offer(Frame(camera, message, time.monotonic(), DetectorParameters(), None))
        wait_until(lambda: quick.published)
        assert not slow.published
        may_end.set()
        wait_until(lambda: slow.published)
    finally:
        may_end.set()
        pipeline.stop()


@pytest.mark.parametrize("is_watched", [False, True])
def test_overlays_are_drawn_only_while_watched(is_watched, monkeypatch) -> None:
    extractor = SuperPointExtractor(random_checkpoint(SMALL), "cpu", "torch", "fp32")
    pipeline, camera, drawn = Pipeline(extractor, False, lambda error: None), Camera("eye"), []
    camera.overlay_is_watched = is_watched
    pipeline.start(["eye"])
    monkeypatch.setattr(pipeline._painter, "offer", lambda name, result: drawn.append(name))
    message = image_message(textured_image(48, 64), "rgb8")
    pipeline.offer(Frame(camera, message, time.monotonic(), DetectorParameters(), None))
    wait_until(lambda: camera.published)
    pipeline.stop()  # once the thread that published is done
    assert drawn == ["eye"] * is_watched


@pytest.mark.parametrize(
    ("frame_policy", "max_batch_size", "expected"), [("latest", 0, 8), ("latest", 3, 3), ("all", 0, 1), ("all", 3, 1)]
)
def test_policy_all_takes_every_image_alone(frame_policy, max_batch_size, expected) -> None:
    parameters = {"weights": "random", "device": "cpu", "backend": "torch", "max_batch_size": max_batch_size}
    assert load_extractor(DetectorParameters(frame_policy=frame_policy, **parameters)).max_batch_size == expected


def wait_until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)

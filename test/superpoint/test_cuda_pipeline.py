"""The CUDA pipeline on CPU tensors: same features as the extractor, shapes, slots, graphs and failures."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from superpoint_ros.superpoint import DetectionOptions, Features, SuperPointConfig, SuperPointExtractor, cuda_frame
from superpoint_ros.superpoint.backends import DeviceError, TorchBackend
from superpoint_ros.superpoint.checkpoints import random_checkpoint
from superpoint_ros.superpoint.cuda_frame import to_network_input
from superpoint_ros.superpoint.cuda_graphs import RecentlyUsed
from superpoint_ros.superpoint.cuda_pipeline import CudaPipeline, Recorder
from superpoint_ros.superpoint.preprocessing import to_luminance

CPU = torch.device("cpu")
SMALL = SuperPointConfig(
    encoder_hidden_sizes=(8, 8, 16, 16), decoder_hidden_size=16, descriptor_decoder_dim=16, initializer_range=0.2
)
OPTIONS = DetectionOptions(threshold=0.016, max_keypoints=50, subpixel="soft_argmax")
CHECKPOINT = random_checkpoint(SMALL)


def picture(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


class CountingRecorder:
    """Stands in for CUDA graphs: what it returns does the same work and counts it."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0
        self.may_start = threading.Event()
        self.may_start.set()
        self.failure: Exception | None = None

    def __call__(self, function: Callable[[], None]) -> Callable[[], None]:
        assert self.may_start.wait(60)
        if self.failure is not None:
            raise self.failure
        function()
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            function()

        return replay


def make_pipeline(recorder: Recorder | None = None, backend=None, **arguments) -> CudaPipeline:
    backend = backend or TorchBackend(CHECKPOINT.network(), CPU, "fp32")
    return CudaPipeline(backend, CPU, "magicleap", 16, make_recorder=lambda: recorder, **arguments)


def run(pipeline: CudaPipeline, images, options=OPTIONS, masks=None) -> list[Features]:
    return pipeline.collect(pipeline.submit(images, options, masks))


def assert_same(ours: list[Features], theirs: list[Features]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs):
        assert one.image_size == other.image_size
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)
        np.testing.assert_allclose(one.keypoints, other.keypoints, atol=1e-4)
        np.testing.assert_allclose(one.descriptors, other.descriptors, atol=1e-4)


@pytest.fixture(scope="module")
def extractor() -> SuperPointExtractor:
    return SuperPointExtractor(CHECKPOINT, "cpu", "torch", "fp32", OPTIONS)


@settings(max_examples=40)
@given(
    batch=st.integers(1, 3),
    size=st.sampled_from([(40, 56), (37, 61), (8, 9)]),
    colour=st.booleans(),
    masked=st.booleans(),
    seed=st.integers(0, 10**6),
    options=st.builds(
        DetectionOptions,
        threshold=st.sampled_from([0.0, 0.016]),
        nms_radius=st.sampled_from([1, 4]),
        max_keypoints=st.sampled_from([1, 30, 3000]),
        border=st.sampled_from([0, 4]),
        subpixel=st.sampled_from(["none", "quadratic", "soft_argmax"]),
    ),
)
def test_features_are_those_of_the_extractor(extractor, batch, size, colour, masked, seed, options) -> None:
    shape = (*size, 3) if colour else size
    images = [picture(*shape, seed=seed + index)[::-1] for index in range(batch)]
    masks = [picture(*size, seed=seed + 9) > 128, *([None] * (batch - 1))] if masked else None
    extractor.options = options
    assert_same(run(make_pipeline(), images, options, masks), extractor(images, masks))


def test_the_extractor_hands_over_what_the_pipeline_supports(extractor) -> None:
    ours = SuperPointExtractor(CHECKPOINT, "cpu", "torch", "fp32", OPTIONS)
    recorder = CountingRecorder()
    ours.pipeline = make_pipeline(recorder, slots=1)  # as on a GPU
    extractor.options = OPTIONS
    gray, colour, mask = picture(40, 56), picture(40, 56, 3), picture(40, 56) > 99
    ours.pipeline.prepare([gray, gray], OPTIONS, [mask, None])
    replayed = recorder.replayed
    assert_same(ours([gray, gray], [torch.from_numpy(mask), None]), extractor([gray, gray], [mask, None]))
    assert recorder.replayed == replayed + 1
    ours.pipeline.prepare([gray, gray], OPTIONS)
    replayed = recorder.replayed
    assert_same(ours([gray, colour]), extractor([gray, colour]))  # which are grey there
    assert recorder.replayed == replayed + 1
    others = ([gray, colour[:9]], [gray / 255], [colour.transpose(2, 0, 1)], [torch.from_numpy(gray)], [gray] * 9, [])
    for images in others:
        assert_same(ours(images), extractor(images))
    with pytest.raises(ValueError, match="mask"):
        ours([gray], [mask[:9]])
    ours.options = extractor.options = replace(OPTIONS, max_keypoints=-1)
    assert_same(ours([gray]), extractor([gray]))


def test_luminance_is_that_of_the_host_to_the_last_bit() -> None:
    image = picture(300, 400, 3)
    batch = to_network_input(torch.from_numpy(image)[None], (300, 400))
    expected = to_luminance(image).float() / 255
    assert torch.equal(batch[0, 0, :300], expected)


@pytest.mark.parametrize("longer_side", [48, 192])
def test_resize_keeps_keypoints_in_pixels_of_the_given_image(longer_side) -> None:
    image = np.full((64, 96), 255, np.uint8)
    image[28:36, 44:52] = 0
    options = DetectionOptions(threshold=0.0, max_keypoints=500, resize=longer_side)
    features = run(make_pipeline(), [image], options)[0]
    assert features.image_size == (96, 64)
    on_grid = (features.keypoints + 0.5) * (longer_side / 96) - 0.5
    np.testing.assert_allclose(on_grid, on_grid.round(), atol=1e-3)


def test_frames_in_flight_come_back_in_any_order() -> None:
    pipeline = make_pipeline(slots=3)
    batches = [[picture(40, 56, seed=seed)] for seed in range(3)]
    alone = [run(pipeline, batch) for batch in batches]
    pending = [pipeline.submit(batch, OPTIONS) for batch in batches]
    for index in (1, 0, 2):
        assert_same(pipeline.collect(pending[index]), alone[index])


def test_a_frame_too_many_is_refused_and_nothing_is_lost() -> None:
    pipeline = make_pipeline(slots=2)
    images = [picture(40, 56)]
    first, second = pipeline.submit(images, OPTIONS), pipeline.submit(images, OPTIONS)
    with pytest.raises(RuntimeError, match="2 frames are in flight"):
        pipeline.submit(images, OPTIONS)
    assert_same(pipeline.collect(second), pipeline.collect(first))
    with pytest.raises(RuntimeError, match="collected before"):
        pipeline.collect(first)
    run(pipeline, images)


def test_a_new_shape_runs_at_once_and_is_recorded_beside_the_frames() -> None:
    recorder = CountingRecorder()
    recorder.may_start.clear()
    pipeline = make_pipeline(recorder, slots=1)
    images = [picture(40, 56)]
    first = run(pipeline, images)
    for _ in range(3):  # the recording has begun and waits; frames do not
        assert_same(run(pipeline, images), first)
    assert (recorder.recorded, recorder.replayed) == (0, 0)
    recorder.may_start.set()
    pipeline.finish_recording()
    assert_same(run(pipeline, images), first)
    assert (recorder.recorded, recorder.replayed) == (1, 1)


def test_a_shape_seen_once_is_not_recorded() -> None:
    recorder = CountingRecorder()
    pipeline = make_pipeline(recorder, slots=1)
    for width in range(40, 60):
        run(pipeline, [picture(40, width)])
    pipeline.finish_recording()
    assert recorder.recorded == 0


def test_threshold_and_border_are_live_and_other_options_make_a_shape() -> None:
    recorder = CountingRecorder()
    pipeline = make_pipeline(recorder, slots=1)
    images = [picture(40, 56)]
    pipeline.prepare(images, OPTIONS)
    for options in (replace(OPTIONS, threshold=0.02), replace(OPTIONS, border=12), OPTIONS):
        assert_same(run(pipeline, images, options), run(make_pipeline(), images, options))
    assert (recorder.recorded, recorder.replayed) == (1, 4)
    run(pipeline, images, replace(OPTIONS, nms_radius=3))
    run(pipeline, images, masks=[np.ones((40, 56), bool)])
    assert recorder.replayed == 4


def test_the_number_of_shapes_is_bounded() -> None:
    recorder = CountingRecorder()
    pipeline = make_pipeline(recorder, slots=1, max_shapes=2)
    sizes = [(40, 56), (48, 56), (40, 64)]
    for size in sizes:
        pipeline.prepare([picture(*size)], OPTIONS)
    replayed = recorder.replayed
    run(pipeline, [picture(*sizes[0])])  # dropped
    assert recorder.replayed == replayed
    run(pipeline, [picture(*sizes[2])])
    assert recorder.replayed == replayed + 1


def test_prepare_leaves_all_slots_recorded() -> None:
    recorder = CountingRecorder()
    pipeline = make_pipeline(recorder, slots=2)
    images = [picture(40, 56)]
    pipeline.prepare(images, OPTIONS)
    replayed = recorder.replayed
    for pending in [pipeline.submit(images, OPTIONS) for _ in range(2)]:
        pipeline.collect(pending)
    assert (recorder.recorded, recorder.replayed) == (2, replayed + 2)


def test_what_cannot_be_recorded_stays_as_it_is(caplog) -> None:
    recorder = CountingRecorder()
    recorder.failure = RuntimeError("operation not permitted when stream is capturing")
    pipeline = make_pipeline(recorder, slots=1)
    images = [picture(40, 56)]
    first = run(pipeline, images)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert_same(run(pipeline, images), first)
            pipeline.finish_recording()
    assert len(caplog.records) == 1  # and it is not tried with every frame
    assert "without CUDA graph" in caplog.text and "not permitted" in caplog.text


class FailingBackend:
    """Fails with each of `errors` in turn, then works."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self._works = TorchBackend(CHECKPOINT.network(), CPU, "fp32")

    def __call__(self, images: torch.Tensor):
        if self.errors:
            raise self.errors.pop(0)
        return self._works(images)


OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 20.00 MiB."


def test_a_full_gpu_is_tried_again_without_what_was_kept() -> None:
    recorder = CountingRecorder()
    backend = FailingBackend()
    pipeline = make_pipeline(recorder, backend, slots=1)
    images, others = [picture(40, 56)], [picture(48, 56)]
    pipeline.prepare(images, OPTIONS)
    backend.errors = [torch.cuda.OutOfMemoryError(OUT_OF_MEMORY)]
    expected = run(make_pipeline(), others)
    assert_same(run(pipeline, others), expected)
    replayed = recorder.replayed
    run(pipeline, images)
    assert recorder.replayed == replayed


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError(OUT_OF_MEMORY),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        RuntimeError("FIND was unable to find an engine to execute this computation"),
    ],
)
def test_a_gpu_that_stays_full_fails_the_frame_only(error) -> None:
    pipeline = make_pipeline(backend=FailingBackend(error, error), slots=1)
    images = [picture(40, 56)]
    with pytest.raises(MemoryError, match=f"too little free memory: {error}$"):
        run(pipeline, images)
    assert_same(run(pipeline, images), run(make_pipeline(), images))


@pytest.mark.parametrize("text", ["CUDA error: unspecified launch failure\nadvice", "cuDNN error: BAD"])
def test_a_lost_gpu_is_one_clear_error(text) -> None:
    pipeline = make_pipeline(backend=FailingBackend(RuntimeError(text)))
    with pytest.raises(DeviceError, match=f"started again: {text.splitlines()[0]}$"):
        run(pipeline, [picture(40, 56)])


@pytest.mark.parametrize("works", [True, False])
def test_pinned_memory_outlives_a_lost_gpu(works, monkeypatch) -> None:
    """There, PyTorch would end the process when it frees that memory."""
    monkeypatch.setattr(cuda_frame, "_works", lambda device: works)
    pipeline = make_pipeline(slots=1)
    memory = torch.zeros(9)
    before = sys.getrefcount(memory)
    pending = pipeline.submit([picture(40, 56)], OPTIONS)
    pending.buffers._pinned = (memory,)  # as on a GPU
    pipeline.collect(pending)
    del pending, pipeline
    assert sys.getrefcount(memory) == before + (not works)


def test_other_errors_are_left_alone() -> None:
    pipeline = make_pipeline(backend=FailingBackend(RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match=r"^shapes do not match$"):
        run(pipeline, [picture(40, 56)])


@pytest.mark.parametrize(
    ("images", "options", "expected"),
    [
        ([picture(9, 9)], OPTIONS, True),
        ([picture(9, 9, 3), picture(9, 9, 3)], OPTIONS, True),
        ([picture(9, 9), picture(9, 10)], OPTIONS, False),
        ([picture(9, 9), picture(9, 9, 3)], OPTIONS, False),
        ([picture(3, 9, 9)], OPTIONS, False),
        ([picture(9, 9, 4)], OPTIONS, False),
        ([picture(0, 9)], OPTIONS, False),
        ([picture(9, 9) / 255], OPTIONS, False),
        ([torch.zeros(9, 9, dtype=torch.uint8)], OPTIONS, False),
        ([], OPTIONS, False),
        ([picture(9, 9)], replace(OPTIONS, max_keypoints=-1), False),
        ([picture(9, 9)], replace(OPTIONS, max_keypoints=0), False),
    ],
)
def test_what_has_no_bounded_shape_is_for_the_other_path(images, options, expected) -> None:
    assert CudaPipeline.supports(images, options) is expected


def test_of_many_entries_the_recently_used_stay() -> None:
    entries: RecentlyUsed[str, int] = RecentlyUsed(2)
    entries.put("a", 1)
    entries.put("b", 2)
    assert entries.get("a") == 1
    entries.put("c", 3)
    entries.replace("b", 4)
    assert (entries.get("a"), entries.get("b"), entries.get("c"), len(entries)) == (1, None, 3, 2)
    entries.clear()
    assert entries.get("a") is None

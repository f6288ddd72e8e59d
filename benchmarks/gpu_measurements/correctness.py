"""Checks: what the GPU computes is what the CPU does, whatever is in flight or recorded."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from superpoint_ros.superpoint import (
    Features,
)
from superpoint_ros.superpoint.cuda_network import FusedNetwork, fill_free_memory_with_nan

from .bench import (
    CONFIG,
    OPTIONS,
    Bench,
    Row,
    agreement,
    extract,
    photographs,
)


def correctness(bench: Bench) -> Iterator[Row]:
    """Correctness."""
    for check in (
        _fp32_is_the_cpu_result,
        _fixed_decoding_is_the_other_one,
        _graphs_are_the_kernels,
        _options_masks_colour_and_resize,
        _frames_in_flight_keep_apart,
        _new_sizes_are_recorded_beside_frames,
        _shapes_are_bounded,
        _nothing_waits_in_submit,
        _convolutions_are_fused,
        _fused_convolutions_read_no_old_memory,
        _a_full_gpu_recovers,
    ):
        try:
            outcome, detail = "passed", check(bench)
        except Exception:
            outcome, detail = "FAILED", " ".join(traceback.format_exc(limit=-2).split())[-300:]
        yield {"check": check.__name__.strip("_").replace("_", " "), "outcome": outcome, "detail": detail}


def _fp32_is_the_cpu_result(bench: Bench) -> str:
    images = photographs(bench.sizes[0], 4)
    theirs = bench.extractor("cpu", "fp32")(images)
    pairs = [agreement(ours, other) for ours, other in zip(extract(bench.pipeline("fp32"), images), theirs)]
    overlap = float(np.mean([pair[0] for pair in pairs]))
    cosine = float(np.concatenate([pair[1] for pair in pairs]).min())
    score = float(np.concatenate([pair[2] for pair in pairs]).max())
    detail = f"{overlap:.5f} of keypoints, lowest cosine {cosine:.6f}, largest score difference {score:.1e}"
    assert overlap > 0.995 and cosine > 0.999 and score < 1e-4, detail
    return detail


def _fixed_decoding_is_the_other_one(bench: Bench) -> str:
    """The extractor's path for `max_keypoints` -1 with the same number of keypoints taken from it."""
    images = photographs(bench.sizes[0], 4)
    extractor = bench.extractor(str(bench.device), "fp32")
    extractor.pipeline = None
    pairs = zip(extract(bench.pipeline("fp32"), images), extractor(images))
    overlaps = [agreement(ours, theirs)[0] for ours, theirs in pairs]
    assert min(overlaps) > 0.995, overlaps
    return f"at least {min(overlaps):.5f} of keypoints"


def _assert_equal(ours: Sequence[Features], theirs: Sequence[Features]) -> None:
    for one, other in zip(ours, theirs):
        assert len(one) == len(other), (len(one), len(other))
        np.testing.assert_allclose(one.scores, other.scores, atol=2e-3)
        same = (np.abs(one.keypoints - other.keypoints) < 0.05).all(axis=1)
        assert same.sum() >= 0.98 * len(one), f"{same.sum()} of {len(one)} keypoints in the same row"


def _graphs_are_the_kernels(bench: Bench) -> str:
    images = photographs(bench.sizes[0], 2)
    recorded, kernels = bench.pipeline(), bench.pipeline(graphs=False)
    recorded.prepare(images, OPTIONS)
    _assert_equal(extract(recorded, images), extract(kernels, images))
    first, second = extract(recorded, images[:1])[0], extract(recorded, images[:1])[0]
    return f"{len(first)} keypoints; two runs bit by bit {np.array_equal(first.descriptors, second.descriptors)}"


def _options_masks_colour_and_resize(bench: Bench) -> str:
    size = bench.sizes[0]
    recorded, kernels = bench.pipeline(max_shapes=16), bench.pipeline(graphs=False)
    mask = np.zeros(size, np.uint8)
    mask[: size[0] // 2] = 1
    count = 0
    for images in (photographs(size, 1), photographs(size, 1, colour=True)):
        for options in (OPTIONS, replace(OPTIONS, resize=size[1] // 2, subpixel="quadratic", nms_radius=2)):
            for masks in (None, [mask]):
                recorded.prepare(images, options, masks)
                for live in (options, replace(options, threshold=0.01, border=size[0] // 8)):
                    ours, theirs = (p.collect(p.submit(images, live, masks)) for p in (recorded, kernels))
                    _assert_equal(ours, theirs)
                    assert masks is None or (ours[0].keypoints[:, 1] < size[0] // 2).all()
                    count += len(ours[0])
    assert count > 0
    return f"16 combinations, {count} keypoints"


def _frames_in_flight_keep_apart(bench: Bench) -> str:
    pipeline = bench.pipeline()
    frames = [[image] for image in photographs(bench.sizes[0], 8)]
    pipeline.prepare(frames[0], OPTIONS)
    alone = [extract(pipeline, frame) for frame in frames]
    for index in range(bench.rounds(100)):
        pair = index % 8, (index + 3) % 8
        pending = [pipeline.submit(frames[one], OPTIONS) for one in pair]
        for one, frame in zip(pair, pending):
            _assert_equal(pipeline.collect(frame), alone[one])
    return f"{bench.rounds(100)} pairs"


def _new_sizes_are_recorded_beside_frames(bench: Bench) -> str:
    """Frames go on while other sizes are recorded, and nothing is logged, as a failed recording would be."""
    pipeline = bench.pipeline()
    steady = photographs(bench.sizes[0], 1)
    pipeline.prepare(steady, OPTIONS)
    expected = extract(pipeline, steady)
    with _log_of_pipeline() as messages:
        for width in range(0, 200, 40):
            new = photographs((bench.sizes[0][0], bench.sizes[0][1] + width + 8), 1)
            for _ in range(bench.rounds(10)):
                extract(pipeline, new)
                _assert_equal(extract(pipeline, steady), expected)
        pipeline.finish_recording()
    assert not messages, messages
    return "5 sizes"


@contextlib.contextmanager
def _log_of_pipeline() -> Iterator[list[str]]:
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("superpoint_ros")
    logger.addHandler(handler)
    try:
        yield messages
    finally:
        logger.removeHandler(handler)


def _shapes_are_bounded(bench: Bench) -> str:
    pipeline = bench.pipeline(max_shapes=2)
    reserved = []
    with _log_of_pipeline() as messages:
        for step in range(8):
            height = bench.sizes[0][0] - 8 * (step % 4)
            pipeline.prepare(photographs((height, bench.sizes[0][1]), 1), OPTIONS)
            reserved.append(torch.cuda.memory_reserved(bench.device) / 2**20 if bench.on_gpu else 0.0)
    assert not messages, messages
    assert reserved[-1] <= 1.5 * reserved[1], reserved
    return f"reserved MiB after each of 8 shapes: {', '.join(f'{value:.0f}' for value in reserved)}"


def _nothing_waits_in_submit(bench: Bench) -> str:
    if not bench.on_gpu:
        return "only on a GPU"
    images = photographs(bench.sizes[0], 1)
    for graphs in (True, False):
        pipeline = bench.pipeline(graphs=graphs)
        pipeline.prepare(images, OPTIONS)
        torch.cuda.set_sync_debug_mode("error")
        try:
            pending = pipeline.submit(images, OPTIONS)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        pipeline.collect(pending)
    return "neither with graphs nor with single kernels"


def _convolutions_are_fused(bench: Bench) -> str:
    if not bench.on_gpu:
        return "only on a GPU"
    used = {precision: type(bench.backend(precision)._network).__name__ for precision in ("fp16", "bf16", "fp32")}
    assert used["fp16"] == FusedNetwork.__name__, used
    return str(used)


def _fused_convolutions_read_no_old_memory(bench: Bench) -> str:
    """At the sizes of real images too, for which cuDNN may choose other kernels than for the probe at the start."""
    if not bench.on_gpu:
        return "only on a GPU"
    network = bench.backend()
    shapes = [(1, *size) for size in bench.sizes] + [(8, *bench.sizes[0]), (1, 375, 1242)]  # the last: KITTI's
    for batch, height, width in shapes:
        images = torch.rand(batch, 1, -(-height // 8) * 8, -(-width // 8) * 8, device=bench.device)
        expected = network(images)
        widest = 2 * CONFIG.encoder_hidden_sizes[0] * images.numel()  # bytes of the first maps
        fill_free_memory_with_nan(bench.device, widest, count=6)
        for ours, theirs in zip(network(images)[:2], expected[:2]):
            assert bool(torch.isfinite(ours).all()), f"{batch}x{height}x{width}: not finite"
            torch.testing.assert_close(ours, theirs, atol=0.05 * float(theirs.abs().max()), rtol=0)
    return ", ".join("x".join(map(str, shape)) for shape in shapes)


def _a_full_gpu_recovers(bench: Bench) -> str:
    if not bench.on_gpu:
        return "only on a GPU"
    pipeline = bench.pipeline()
    small, large = photographs(bench.sizes[0], 1), photographs((2160, 3840), 4)
    expected = extract(pipeline, small)
    total = torch.cuda.get_device_properties(bench.device).total_memory
    torch.cuda.set_per_process_memory_fraction(2**31 / total, bench.device)
    try:
        extract(pipeline, large)
    except MemoryError as error:
        message = str(error)
    else:
        raise AssertionError("four 4K images fitted into 2 GiB")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, bench.device)
    _assert_equal(extract(pipeline, small), expected)
    return message[:120]

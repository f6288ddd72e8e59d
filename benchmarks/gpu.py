"""Checks and times the GPU path of the extractor on one CUDA GPU, in less than five minutes.

    python benchmarks/gpu.py

Needs no ROS and no network: PyTorch with CUDA and the dependencies of the library; transformers is compared if it is
there. Prints progress, then JSON, then Markdown tables, and writes both into --output. Every measurement runs in a
process of its own, so that one that fails, hangs or loses the GPU shows up in the report and the others still run.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import json
import logging
import math
import platform
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from superpoint_ros import geometry  # noqa: E402
from superpoint_ros.superpoint import (  # noqa: E402
    DetectionOptions,
    Features,
    SuperPointExtractor,
    load_checkpoint,
    save_pretrained,
)
from superpoint_ros.superpoint.backends import TorchBackend  # noqa: E402
from superpoint_ros.superpoint.cuda_decoding import decode_fixed, suppress  # noqa: E402
from superpoint_ros.superpoint.cuda_frame import FrameBuffers, FrameComputation, FrameShape, to_network_input  # noqa: E402
from superpoint_ros.superpoint.cuda_graphs import GraphRecorder  # noqa: E402
from superpoint_ros.superpoint.cuda_network import FusedNetwork, cudnn_conv_relu  # noqa: E402
from superpoint_ros.superpoint.cuda_pipeline import CudaPipeline, Pending  # noqa: E402
from superpoint_ros.superpoint.decoding import score_map  # noqa: E402
from superpoint_ros.superpoint.features import FloatArray  # noqa: E402

Image = NDArray[np.uint8]
Row = dict[str, Any]

TOTAL_SECONDS = 290.0
MEASUREMENT_SECONDS = 75.0
OPTIONS = DetectionOptions(threshold=0.005, max_keypoints=1024, subpixel="soft_argmax")
CHECKPOINT = load_checkpoint("default")
CONFIG = CHECKPOINT.config


# What measurements share


@dataclass(frozen=True)
class Bench:
    """Where and how large to measure; on a CPU everything is small and only shows that this script runs."""

    device: torch.device

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of images; the first one is VGA."""
        return [(480, 640), (1080, 1920)] if self.on_gpu else [(40, 56)]

    @property
    def precision(self) -> str:
        return "fp16" if self.on_gpu else "fp32"

    def rounds(self, count: int) -> int:
        return count if self.on_gpu else 1

    def backend(self, precision: str = "") -> TorchBackend:
        return TorchBackend(CHECKPOINT.network(), self.device, precision or self.precision)

    def pipeline(self, precision: str = "", graphs: bool = True, **arguments: Any) -> CudaPipeline:
        if not graphs:
            arguments["make_recorder"] = lambda: None
        size = CONFIG.descriptor_decoder_dim
        return CudaPipeline(self.backend(precision), self.device, CONFIG.descriptor_grid, size, **arguments)

    def extractor(self, device: str, precision: str) -> SuperPointExtractor:
        return SuperPointExtractor(CHECKPOINT, device, "torch", precision, OPTIONS)

    def synchronise(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def milliseconds(self, work: Callable[[], Any], repetitions: int = 30, as_graph: bool = True) -> float:
        """Return the device time of `work`, which has fixed buffers; as a graph without gaps between kernels."""
        self.synchronise()  # what was prepared on another stream
        if not self.on_gpu:
            started = time.perf_counter()
            work()
            return 1e3 * (time.perf_counter() - started)

        def replays() -> float:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(repetitions):
                replay()
            end.record()
            end.synchronize()
            return begin.elapsed_time(end) / repetitions

        with torch.inference_mode():
            replay = GraphRecorder(self.device)(work) if as_graph else work
            return float(np.median([replays() for _ in range(5)]))


def photographs(size: tuple[int, int], count: int, colour: bool = False) -> list[Image]:
    """Return images of (height, width) `size`: those of scikit-image or of docs/, else drawn ones."""
    originals = _originals()
    images = [cv2.resize(originals[k % len(originals)], size[::-1], interpolation=cv2.INTER_AREA) for k in range(count)]
    return [cv2.cvtColor(image, cv2.COLOR_BGR2RGB if colour else cv2.COLOR_BGR2GRAY) for image in images]


@functools.cache
def _originals() -> list[Image]:
    folders = [REPOSITORY / "docs" / "images"]
    with contextlib.suppress(ImportError):
        import skimage

        folders.insert(0, Path(skimage.__file__).parent / "data")
    paths = sorted(path for folder in folders if folder.is_dir() for path in folder.glob("*.[pj][np]g"))
    names = ("astronaut", "brick", "camera", "chelsea", "coffee", "grass", "gravel", "rocket", "motorcycle_left")
    chosen = [path for path in paths if path.stem in names] or paths
    read = [cv2.imread(str(path), cv2.IMREAD_COLOR) for path in chosen]
    return [image for image in read if image is not None and min(image.shape[:2]) > 200] or _drawings()


def _drawings() -> list[Image]:
    random = np.random.default_rng(0)
    images = []
    for _ in range(8):
        image = np.full((960, 1280, 3), 128, np.uint8)
        for _ in range(400):
            corners = random.integers(0, 160, (4, 2)) + random.integers(-80, 1280, 2)
            cv2.fillConvexPoly(image, cv2.convexHull(corners), random.integers(0, 256, 3).tolist(), cv2.LINE_AA)
        images.append(image)
    return images


def extract(pipeline: CudaPipeline, images: Sequence[Image], options: DetectionOptions = OPTIONS) -> list[Features]:
    return pipeline.collect(pipeline.submit(images, options))


def agreement(ours: Features, reference: Features) -> tuple[float, FloatArray, FloatArray]:
    """Share of the reference's keypoints found within a pixel, and of those the cosines and score differences."""
    distances = np.linalg.norm(reference.keypoints[:, None] - ours.keypoints, axis=2)
    nearest = distances.argmin(axis=1)
    found = distances.min(axis=1) < 1
    cosines = (reference.descriptors[found] * ours.descriptors[nearest[found]]).sum(axis=1)
    return float(found.mean()), cosines, np.abs(reference.scores[found] - ours.scores[nearest[found]])


def roofline(bench: Bench) -> dict[str, float]:
    """Measure what the device can do: operations per second in half precision, bytes per second."""
    side, count = (8192, 2**30) if bench.on_gpu else (64, 2**12)
    dtype = torch.float16 if bench.on_gpu else torch.float32
    left, right = (torch.randn(side, side, device=bench.device, dtype=dtype) for _ in range(2))
    product = torch.empty_like(left)
    source = torch.randint(0, 255, (count,), dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    host = torch.ones(count // 16, dtype=torch.uint8, pin_memory=bench.on_gpu)

    def seconds(work: Callable[[], Any]) -> float:
        return 1e-3 * bench.milliseconds(work, 5, as_graph=False)

    return {
        "fp16 matrix product, FLOP/s": 2 * side**3 / seconds(lambda: torch.mm(left, right, out=product)),
        "copy on the device, B/s read and written": 2 * count / seconds(lambda: target.copy_(source)),
        "upload from pinned memory, B/s": len(host) / seconds(lambda: target[: len(host)].copy_(host, True)),
        "download to pinned memory, B/s": len(host) / seconds(lambda: host.copy_(target[: len(host)], True)),
    }


def percentiles(seconds: Sequence[float]) -> Row:
    p50, p95 = 1e3 * np.percentile(seconds, (50, 95))
    return {"p50 ms": p50, "p95 ms": p95}


# Measurements: each returns the rows of a table


def machine(bench: Bench) -> list[Row]:
    """Machine, and what it was measured to be capable of."""
    facts: dict[str, Any] = {"PyTorch": torch.__version__, "Python": platform.python_version()}
    if bench.on_gpu:
        properties = torch.cuda.get_device_properties(bench.device)
        facts |= {
            "GPU": properties.name,
            "driver": _nvidia_smi("driver_version"),
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
            "multiprocessors": properties.multi_processor_count,
            "GPU memory, GB": properties.total_memory / 1e9,
        }
    return [{"what": name, "value": value} for name, value in (facts | roofline(bench)).items()]


def correctness(bench: Bench) -> list[Row]:
    """Correctness."""
    rows = []
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
        _a_full_gpu_recovers,
    ):
        try:
            outcome, detail = "passed", check(bench)
        except Exception:
            outcome, detail = "FAILED", " ".join(traceback.format_exc(limit=-2).split())[-300:]
        rows.append({"check": check.__name__.strip("_").replace("_", " "), "outcome": outcome, "detail": detail})
    return rows


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


def precision(bench: Bench) -> list[Row]:
    """Precisions against float32 on the same device, photographs under known homographies."""
    size = bench.sizes[0]
    images = photographs(size, bench.rounds(9))
    random = np.random.default_rng(1)
    pairs = [(image, *_warped(image, random)) for image in images for _ in range(bench.rounds(10))]
    pipelines = {name: bench.pipeline(name, graphs=False) for name in ("fp32", bench.precision, "bf16")}
    reference = [(extract(pipelines["fp32"], [a])[0], extract(pipelines["fp32"], [b])[0]) for a, b, _ in pairs]
    rows = []
    for name, pipeline in pipelines.items():
        found = [(extract(pipeline, [a])[0], extract(pipeline, [b])[0]) for a, b, _ in pairs]
        same = [agreement(ours[0], theirs[0]) for ours, theirs in zip(found, reference)]
        cosines = np.concatenate([one[1] for one in same])
        errors = np.array([_corner_error(*two, homography) for two, (_, _, homography) in zip(found, pairs)])
        row: Row = {
            "precision": name,
            "pairs": len(pairs),
            "keypoint overlap": np.mean([one[0] for one in same]),
            "descriptor cosine, mean": cosines.mean(),
            "1st percentile": np.percentile(cosines, 1),
        }
        rows.append(row | {f"homography {limit} px": (errors <= limit).mean() for limit in (1, 3, 5)})
    return rows


def _warped(image: Image, random: np.random.Generator) -> tuple[Image, NDArray[np.float64]]:
    height, width = image.shape
    corners = np.array([(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)], np.float32)
    moved = corners + random.uniform(-0.2, 0.2, (4, 2)).astype(np.float32) * (width, height)
    homography = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    return np.asarray(cv2.warpPerspective(image, homography, (width, height)), np.uint8), homography


def _corner_error(first: Features, second: Features, homography: NDArray[np.float64]) -> float:
    matches = geometry.match_descriptors(first.descriptors, second.descriptors).indices
    if len(matches) < 4:
        return math.inf
    estimate = geometry.estimate_homography(first.keypoints[matches[:, 0]], second.keypoints[matches[:, 1]])
    return geometry.corner_error(estimate.matrix, homography, *first.image_size) if estimate else math.inf


def latency(bench: Bench) -> list[Row]:
    """One frame at a time, host image to host features, 1024 keypoints."""
    rows = []
    for size in bench.sizes:
        for colour in (False, True):
            frames = [[image] for image in photographs(size, 8, colour)]
            ways: dict[str, Callable[[list[Image]], Any]] = {}
            for name, graphs in (("graph", True), ("single kernels", False)):
                pipeline = bench.pipeline(graphs=graphs)
                pipeline.prepare(frames[0], OPTIONS)
                ways[name] = lambda frame, pipeline=pipeline: extract(pipeline, frame)  # type: ignore[misc]
            if not colour:
                unfixed = bench.extractor(str(bench.device), bench.precision)
                unfixed.pipeline = None
                ways["shapes that depend on data"] = unfixed
            for name, way in ways.items():
                row = {"size": f"{size[0]}x{size[1]}", "image": "RGB" if colour else "gray", "way": name}
                rows.append(row | percentiles(_times(way, frames, bench.rounds(300))))
    return rows


def _times(way: Callable[[list[Image]], Any], frames: Sequence[list[Image]], rounds: int) -> list[float]:
    seconds = []
    for index in range(-min(rounds, 20), rounds):
        started = time.perf_counter()
        way(frames[index % len(frames)])
        if index >= 0:
            seconds.append(time.perf_counter() - started)
    return seconds


def throughput(bench: Bench) -> list[Row]:
    """Frames per second with up to three batches in flight, host images to host features, 1024 keypoints."""
    rows = []
    for size in bench.sizes:
        for batch in (1, 2, 4, 8) if bench.on_gpu else (1,):
            frames = [[image] * batch for image in photographs(size, 4)]
            rounds = bench.rounds((200 if size == bench.sizes[0] else 64) // batch)
            row: Row = {"size": f"{size[0]}x{size[1]}", "batch": batch}
            pipeline = bench.pipeline(slots=3)
            pipeline.prepare(frames[0], OPTIONS)
            for in_flight in (1, 2, 3):
                row[f"{in_flight} in flight"] = batch * _rate(pipeline, frames, in_flight, rounds)
            rows.append(row)
    return rows


def _rate(pipeline: CudaPipeline, frames: Sequence[list[Image]], in_flight: int, rounds: int) -> float:
    """Submissions per second, the median of three runs."""
    rates = []
    for _ in range(3):
        pending: list[Pending] = []
        started = time.perf_counter()
        for index in range(rounds):
            if len(pending) == in_flight:
                pipeline.collect(pending.pop(0))
            pending.append(pipeline.submit(frames[index % len(frames)], OPTIONS))
        for frame in pending:
            pipeline.collect(frame)
        rates.append(rounds / (time.perf_counter() - started))
    return float(np.median(rates))


def memory(bench: Bench) -> list[Row]:
    """GPU memory in MiB, 1024 keypoints; the driver's figure includes the CUDA context."""
    if not bench.on_gpu:
        return [{"what": "only on a GPU"}]
    before = float(_nvidia_smi("memory.used"))
    torch.zeros(1, device=bench.device)
    rows: list[Row] = [{"what": "CUDA context", "driver": float(_nvidia_smi("memory.used")) - before}]
    for size in bench.sizes:
        for slots in (1, 2):
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            pipeline = bench.pipeline(slots=slots)
            frame = photographs(size, 1)
            pipeline.prepare(frame, OPTIONS)
            for _ in range(20):
                extract(pipeline, frame)
            rows.append(
                {
                    "what": f"{size[0]}x{size[1]}, {slots} in flight",
                    "driver": float(_nvidia_smi("memory.used")) - before,
                    "PyTorch, most allocated": torch.cuda.max_memory_allocated() / 2**20,
                    "PyTorch, reserved": torch.cuda.memory_reserved() / 2**20,
                }
            )
            del pipeline
    return rows


def _nvidia_smi(field: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split("\n")[0]
    except (OSError, subprocess.SubprocessError):
        return "nan"


def stages(bench: Bench) -> list[Row]:
    """Stages of one gray frame against the roofline: the fewest operations and bytes, at the rates measured above."""
    rates = list(roofline(bench).values())
    rows = []
    for size in bench.sizes:
        for stage in _stages(bench, size):
            rate = {"upload": rates[2], "download": rates[3]}.get(stage.name, rates[1])
            floor = 1e3 * max(stage.operations / rates[0], stage.bytes / rate)
            with torch.inference_mode():
                took = bench.milliseconds(stage.work, as_graph=stage.name not in ("upload", "download"))
            rows.append(
                {"size": f"{size[0]}x{size[1]}", "stage": stage.name, "ms": took, "floor ms": floor, "x": took / floor}
            )
        rows += _host_work(bench, size)
    return rows


@dataclass(frozen=True)
class Stage:
    name: str
    work: Callable[[], Any]
    bytes: float
    operations: float = 0.0


@torch.inference_mode()
def _stages(bench: Bench, size: tuple[int, int]) -> list[Stage]:
    device, backend = bench.device, bench.backend()
    images = photographs(size, 1)
    raw = torch.from_numpy(images[0])[None]
    host = raw.pin_memory() if bench.on_gpu else raw
    uploaded = raw.to(device)
    batch = to_network_input(uploaded, size)
    output = backend(batch)
    scores = score_map(output.keypoint_logits)
    threshold, border = (torch.tensor(value, dtype=torch.float32, device=device) for value in (0.005, 4.0))
    peaks = scores.masked_fill(~suppress(scores, OPTIONS.nms_radius, threshold), 0.0).flatten(1)
    count = min(OPTIONS.max_keypoints, peaks.shape[1])
    pixels, rows = batch.numel(), count * (3 + CONFIG.descriptor_decoder_dim) * 4
    result = torch.empty(rows, dtype=torch.uint8, device=device)
    back = torch.empty(rows, dtype=torch.uint8, pin_memory=bench.on_gpu)
    operations, moved = _network_cost(batch.shape[2], batch.shape[3])
    buffers = FrameBuffers(
        FrameShape.of(images, OPTIONS, None),
        FrameComputation(backend, CONFIG.descriptor_grid, CONFIG.descriptor_decoder_dim),
        device,
    )
    buffers.write(images, OPTIONS, None)
    buffers.launch()

    def decode() -> Any:
        return decode_fixed(output, OPTIONS, threshold, border, CONFIG.descriptor_grid, size, size)

    read = output.keypoint_logits.nbytes + count * (25 * 4 + 4 * CONFIG.descriptor_decoder_dim * 2)
    return [
        Stage("upload", lambda: uploaded.copy_(host, non_blocking=True), raw.numel()),
        Stage("conversion", lambda: to_network_input(uploaded, size), 5 * pixels),
        Stage("network", lambda: backend(batch), moved, operations),
        Stage("decoding: score map", lambda: score_map(output.keypoint_logits), 6 * pixels),
        Stage("decoding: suppression", lambda: suppress(scores, OPTIONS.nms_radius, threshold), 5 * pixels),
        Stage("decoding: best", lambda: peaks.topk(count), 4 * pixels),
        Stage("decoding, all", decode, read + rows),
        Stage("download", lambda: back.copy_(result, non_blocking=True), rows),
        Stage("all between upload and download", buffers.compute, moved + pixels + read + rows, operations),
    ]


def _host_work(bench: Bench, size: tuple[int, int]) -> list[Row]:
    """What the host does for a frame, in its own time."""
    images = photographs(size, 1)
    pipeline = bench.pipeline()
    pipeline.prepare(images, OPTIONS)
    submit, collect = [], []
    for _ in range(bench.rounds(200)):
        started = time.perf_counter()
        pending = pipeline.submit(images, OPTIONS)
        submit.append(time.perf_counter() - started)
        bench.synchronise()
        started = time.perf_counter()
        pipeline.collect(pending)
        collect.append(time.perf_counter() - started)
    return [
        {"size": f"{size[0]}x{size[1]}", "stage": name, "ms": 1e3 * float(np.median(seconds))}
        for name, seconds in (("host: submit", submit), ("host: collect", collect))
    ]


@dataclass(frozen=True)
class Layer:
    name: str
    inputs: int
    outputs: int
    kernel: int
    shrink: int
    """Pixels of the image along a side for each of the map."""


def _layers() -> list[Layer]:
    sizes, hidden = CONFIG.encoder_hidden_sizes, CONFIG.decoder_hidden_size
    layers = []
    for index, (before, after) in enumerate(zip((1, *sizes[:-1]), sizes)):
        layers.append(Layer(f"conv{index + 1}a", before, after, 3, 2**index))
        layers.append(Layer(f"conv{index + 1}b", after, after, 3, 2**index))
    for name, channels in (("keypoints", CONFIG.keypoint_decoder_dim), ("descriptors", CONFIG.descriptor_decoder_dim)):
        layers.append(Layer(f"{name} a", sizes[-1], hidden, 3, 8))
        layers.append(Layer(f"{name} b", hidden, channels, 1, 8))
    return layers


def _layer_cost(layer: Layer, height: int, width: int) -> tuple[float, float]:
    """Operations, and bytes in half precision: inputs and weights read, outputs written, once each."""
    pixels = height * width // layer.shrink**2
    weights = layer.inputs * layer.outputs * layer.kernel**2
    return 2.0 * pixels * weights, 2.0 * (pixels * (layer.inputs + layer.outputs) + weights)


def _network_cost(height: int, width: int) -> tuple[float, float]:
    costs = [_layer_cost(layer, height, width) for layer in _layers()]
    return sum(cost[0] for cost in costs), sum(cost[1] for cost in costs)


def layers(bench: Bench) -> list[Row]:
    """Convolutions with bias and ReLU at the first size, fused and plain, against the roofline."""
    rates = list(roofline(bench).values())
    dtype = torch.float16 if bench.on_gpu else torch.float32
    height, width = bench.sizes[0]
    rows = []
    for layer in _layers():
        row: Row = {"layer": layer.name}
        operations, moved = _layer_cost(layer, height, width)
        floor = 1e3 * max(operations / rates[0], moved / rates[1])
        for name, channels in (("plain ms", layer.inputs), ("fused ms", max(layer.inputs, 8))):
            shape = (1, channels, height // layer.shrink, width // layer.shrink)
            features, weight = (
                torch.randn(one, device=bench.device, dtype=dtype).to(memory_format=torch.channels_last)
                for one in (shape, (layer.outputs, channels, layer.kernel, layer.kernel))
            )
            bias = torch.randn(layer.outputs, device=bench.device, dtype=dtype)
            convolve = cudnn_conv_relu if name == "fused ms" and bench.on_gpu else _plain_conv_relu
            row[name] = bench.milliseconds(lambda f=features, w=weight, b=bias, c=convolve: c(f, w, b))
        rows.append(row | {"floor ms": floor, "x": row["fused ms"] / floor})
    return rows


def _plain_conv_relu(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.conv2d(features, weight, bias, padding=weight.shape[2] // 2).relu()


def networks(bench: Bench) -> list[Row]:
    """The network alone at the first size, ms per image; with cudnn.benchmark, cuDNN tries its kernels."""
    dtype = torch.float16 if bench.on_gpu else torch.float32
    plain = CHECKPOINT.network().to(bench.device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fused = FusedNetwork(plain) if bench.on_gpu else FusedNetwork(plain, _plain_conv_relu)
    rows = []
    for name, network, tries in (
        ("plain", plain, False),
        ("fused", fused, False),
        ("plain", plain, True),
        ("fused", fused, True),
    ):
        row: Row = {"network": name, "cudnn.benchmark": tries}
        torch.backends.cudnn.benchmark = tries
        for batch in (1, 8):
            images = torch.rand(batch, 1, *bench.sizes[0], device=bench.device, dtype=dtype)
            images = images.to(memory_format=torch.channels_last)
            row[f"batch {batch}"] = bench.milliseconds(lambda i=images, n=network: n(i), 10) / batch
        rows.append(row)
    return rows


def recording(bench: Bench) -> list[Row]:
    """A new size between frames of a known one: what each frame takes, ms."""
    if not bench.on_gpu:
        return [{"what": "only on a GPU"}]
    pipeline = bench.pipeline()
    known, new = photographs(bench.sizes[0], 1), photographs((600, 800), 1)
    pipeline.prepare(known, OPTIONS)

    def frames(images: list[Image], count: int) -> list[float]:
        return _times(lambda frame: extract(pipeline, frame), [images], count)

    rows: list[Row] = [{"what": "known size", **percentiles(frames(known, 100))}]
    started = time.perf_counter()
    extract(pipeline, new)
    rows.append({"what": "first frame of a new size", "p50 ms": 1e3 * (time.perf_counter() - started)})
    started = time.perf_counter()
    extract(pipeline, new)  # has it recorded
    rows.append({"what": "second frame", "p50 ms": 1e3 * (time.perf_counter() - started)})
    beside = []
    recorded = pipeline._recording.submit(lambda: None)
    while not recorded.done() and time.perf_counter() - started < 20:
        beside += frames(known, 1)
    pipeline.finish_recording()
    rows.append({"what": "recording", "p50 ms": 1e3 * (time.perf_counter() - started)})
    rows.append({"what": "known size beside it", **percentiles(beside or [math.nan])})
    rows[-1]["max ms"] = 1e3 * max(beside, default=math.nan)
    rows.append({"what": "new size, recorded", **percentiles(frames(new, 100))})
    return rows


def transformers(bench: Bench) -> list[Row]:
    """Frames per second against transformers on the same device, the same weights and photographs, 1024 keypoints."""
    import transformers as peer

    size = bench.sizes[0]
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(folder, CHECKPOINT)
        model = peer.SuperPointForKeypointDetection.from_pretrained(folder, max_keypoints=OPTIONS.max_keypoints)
    model = model.to(bench.device).eval()
    processor = peer.SuperPointImageProcessor(size={"height": size[0], "width": size[1]}, do_grayscale=True)

    def theirs(images: list[Image], dtype: torch.dtype) -> Any:
        with torch.inference_mode():
            inputs = processor(images, return_tensors="pt")["pixel_values"].to(bench.device, dtype)
            outputs = model(inputs)
            results = processor.post_process_keypoint_detection(outputs, [size] * len(images))
            return [{name: value.float().cpu().numpy() for name, value in result.items()} for result in results]

    rows = []
    for name, dtype in (("fp32", torch.float32), ("fp16", torch.float16)):
        model.to(dtype)
        for batch in (1, 8) if bench.on_gpu else (1,):
            colour, gray = ([image] * batch for image in photographs(size, 1, True) + photographs(size, 1))
            row: Row = {"transformers": name, "batch": batch}
            rows.append(row)
            try:
                rate = batch / float(np.median(_times(lambda f, d=dtype: theirs(f, d), [colour], bench.rounds(15))))
            except Exception as error:  # its half precision is not promised to work
                row["note"] = f"{type(error).__name__}: {error}"[:100]
                continue
            pipeline = bench.pipeline()
            pipeline.prepare(gray, OPTIONS)
            pipeline.prepare(colour, OPTIONS)
            ours = batch / float(np.median(_times(lambda f, p=pipeline: extract(p, f), [colour], bench.rounds(100))))
            overlapped = batch * _rate(pipeline, [colour], 2, bench.rounds(100))
            row |= {
                "theirs": rate,
                "ours": ours,
                "ratio": ours / rate,
                "ours, two in flight": overlapped,
                "its ratio": overlapped / rate,
            }
    return rows


def training(bench: Bench) -> list[Row]:
    """Training steps of config/training/cuda.yaml on random crops of photographs, and how often one waits."""
    import warnings

    from superpoint_ros.training.configuration import load_config
    from superpoint_ros.training.train import Trainer

    config = load_config(REPOSITORY / "config" / "training" / "cuda.yaml")
    random = np.random.default_rng(0)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "crops.npy", np.stack(photographs((288, 384), 16)))
        points = np.concatenate([random.uniform(8, 280, (16, 200, 2)), random.random((16, 200, 1))], axis=2)
        np.save(folder / "labels.npy", points.astype(np.float32))
        config = replace(
            config,
            crops=str(folder / "crops.npy"),
            labels=str(folder / "labels.npy"),
            validation=replace(config.validation, pairs=0),
        )
        for phase in config.phases:
            phase = replace(phase, until=1.0) if bench.on_gpu else replace(phase, pairs=1, height=64, width=64)
            trainer = Trainer(replace(config, phases=(phase,)), folder / "run", bench.device)
            for _ in range(bench.rounds(10)):
                trainer.train_step()
            bench.synchronise()
            started, steps = time.perf_counter(), bench.rounds(20)
            for _ in range(steps):
                trainer.train_step()
            bench.synchronise()
            row: Row = {"views": f"{phase.height}x{phase.width}", "pairs": phase.pairs}
            row["steps/s"] = steps / (time.perf_counter() - started)
            if bench.on_gpu:
                torch.cuda.set_sync_debug_mode("warn")
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    trainer.train_step()
                torch.cuda.set_sync_debug_mode("default")
                row["waits per step"] = sum("synchroniz" in str(warning.message) for warning in caught)
                row["GPU memory, MiB"] = torch.cuda.max_memory_allocated() / 2**20
            rows.append(row)
    return rows


def compiled(bench: Bench) -> list[Row]:
    """The plain network compiled by TorchInductor, ms per image, for comparison with the table of networks."""
    if not bench.on_gpu:
        return [{"what": "only on a GPU"}]
    height, width = bench.sizes[0]
    plain = CHECKPOINT.network().to(bench.device, torch.float16).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(1, 1, height, width, device=bench.device, dtype=torch.float16)
    started = time.perf_counter()
    with torch.inference_mode():
        network = torch.compile(plain)
        network(images)
    bench.synchronise()
    seconds = time.perf_counter() - started
    return [{"ms": bench.milliseconds(lambda: network(images)), "seconds to compile": seconds}]


MEASUREMENTS: dict[str, Callable[[Bench], list[Row]]] = {
    function.__name__: function
    for function in (
        machine,
        correctness,
        latency,
        throughput,
        transformers,
        precision,
        memory,
        stages,
        layers,
        networks,
        recording,
        training,
        compiled,
    )
}


# Running and reporting


@dataclass(frozen=True)
class Outcome:
    """What came of a measurement: rows, or the text of an error."""

    rows: list[Row]
    error: str = ""
    seconds: float = 0.0


def run_here(name: str, bench: Bench) -> Outcome:
    started = time.perf_counter()
    try:
        rows = MEASUREMENTS[name](bench)
    except Exception:
        return Outcome([], traceback.format_exc(limit=-6), time.perf_counter() - started)
    return Outcome(rows, "", time.perf_counter() - started)


def run_apart(name: str, device: torch.device, timeout: float) -> Outcome:
    """Run a measurement in a process of its own."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "rows.json"
        command = [sys.executable, __file__, "--device", str(device), "--only", name, "--rows", str(result)]
        try:
            process = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
            error = process.stderr[-1500:] if process.returncode else ""
        except subprocess.TimeoutExpired:
            error = f"stopped after {timeout:.0f} s"
        rows = json.loads(result.read_text()) if result.exists() else []
    return Outcome(rows, error, time.perf_counter() - started)


def markdown(outcomes: dict[str, Outcome]) -> str:
    parts = []
    for name, outcome in outcomes.items():
        columns = list(dict.fromkeys(column for row in outcome.rows for column in row))
        lines = [f"### {name}: {(MEASUREMENTS[name].__doc__ or '').strip()}"]
        if columns:
            lines += [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
            lines += [f"| {' | '.join(_cell(row.get(column, '')) for column in columns)} |" for row in outcome.rows]
        if outcome.error:
            lines += ["```", outcome.error.strip(), "```"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _cell(value: Any) -> str:
    is_number = isinstance(value, (float, np.floating))
    return (f"{value:.4g}" if abs(value) < 1e5 else f"{value:.3e}") if is_number else str(value).replace("|", "/")


def _as_json(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS), metavar="NAME")
    parser.add_argument("--output", type=Path, default=Path("benchmark_output"), help="folder of gpu.json and gpu.md")
    parser.add_argument("--device", default="cuda:0", help=argparse.SUPPRESS)  # cpu: only to see that this script runs
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)  # of one measurement in a process of its own
    args = parser.parse_args(arguments)
    bench = Bench(torch.device(args.device))
    if args.rows:
        rows = MEASUREMENTS[args.only[0]](bench)
        args.rows.write_text(json.dumps(rows, default=_as_json))
        return 0
    if bench.on_gpu and not torch.cuda.is_available():
        print("no CUDA GPU is here, or this PyTorch is built without CUDA", file=sys.stderr)
        return 2
    begun = time.perf_counter()
    outcomes: dict[str, Outcome] = {}
    for name in args.only:
        left = TOTAL_SECONDS - (time.perf_counter() - begun)
        if not bench.on_gpu:
            outcomes[name] = run_here(name, bench)
        elif left < 10:
            outcomes[name] = Outcome([], "not measured: the time was up")
        else:
            outcomes[name] = run_apart(name, bench.device, min(left, MEASUREMENT_SECONDS))
        state = "failed" if outcomes[name].error else "done"
        print(f"{name}: {state} after {outcomes[name].seconds:.0f} s", flush=True)
    record = {name: {"rows": outcome.rows, "error": outcome.error} for name, outcome in outcomes.items()}
    text, table = json.dumps(record, default=_as_json), markdown(outcomes)
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "gpu.json").write_text(text + "\n", encoding="utf-8")
    (args.output / "gpu.md").write_text(table, encoding="utf-8")
    print(text, table, sep="\n\n")
    failed = [name for name, outcome in outcomes.items() if outcome.error]
    failed += [row["check"] for row in outcomes.get("correctness", Outcome([])).rows if row["outcome"] == "FAILED"]
    print(f"failed: {', '.join(failed)}" if failed else f"all done in {time.perf_counter() - begun:.0f} s")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

"""What the measurements share: device, sizes, photographs, and ways to time."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from superpoint_ros.superpoint import (
    DetectionOptions,
    Features,
    SuperPointExtractor,
    load_checkpoint,
)
from superpoint_ros.superpoint.backends import TorchBackend
from superpoint_ros.superpoint.cuda_graphs import GraphRecorder
from superpoint_ros.superpoint.cuda_pipeline import CudaPipeline, Pending
from superpoint_ros.superpoint.features import FloatArray

REPOSITORY = Path(__file__).resolve().parents[2]
Image = NDArray[np.uint8]
Row = dict[str, Any]

OPTIONS = DetectionOptions(threshold=0.005, max_keypoints=1024, subpixel="soft_argmax")
CHECKPOINT = load_checkpoint("default")
CONFIG = CHECKPOINT.config

_RUNS_IN_A_GRAPH = 10  # a graph of one or two small kernels would take as long as its launch


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
        """Return the device time of `work`, which has fixed buffers; as a graph without gaps between kernels.

        Parameters
        ----------
        repetitions : int
            A multiple of ten for a graph.
        """
        self.synchronise()  # what was prepared on another stream
        if not self.on_gpu:
            started = time.perf_counter()
            work()
            return 1e3 * (time.perf_counter() - started)

        def several() -> None:
            for _ in range(_RUNS_IN_A_GRAPH):
                work()

        def replays() -> float:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            for _ in range(repetitions // runs):
                replay()
            end.record()
            end.synchronize()
            return begin.elapsed_time(end) / repetitions

        with torch.inference_mode():
            replay, runs = (GraphRecorder(self.device)(several), _RUNS_IN_A_GRAPH) if as_graph else (work, 1)
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


def frame_times(way: Callable[[list[Image]], Any], frames: Sequence[list[Image]], rounds: int) -> list[float]:
    seconds = []
    for index in range(-min(rounds, 20), rounds):
        started = time.perf_counter()
        way(frames[index % len(frames)])
        if index >= 0:
            seconds.append(time.perf_counter() - started)
    return seconds


def submission_rate(pipeline: CudaPipeline, frames: Sequence[list[Image]], in_flight: int, rounds: int) -> float:
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


def nvidia_smi(field: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.split("\n")[0]
    except (OSError, subprocess.SubprocessError):
        return "nan"

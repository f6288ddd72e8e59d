"""How long frames take: alone, in flight, while a new size is recorded, and in transformers."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from superpoint_ros.superpoint import (
    save_pretrained,
)

from .bench import (
    CHECKPOINT,
    OPTIONS,
    Bench,
    Image,
    Row,
    extract,
    frame_times,
    percentiles,
    photographs,
    submission_rate,
)


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
                rows.append(row | percentiles(frame_times(way, frames, bench.rounds(300))))
    return rows


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
                row[f"{in_flight} in flight"] = batch * submission_rate(pipeline, frames, in_flight, rounds)
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
        return frame_times(lambda frame: extract(pipeline, frame), [images], count)

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
    """Frames per second against transformers on the same device, weights and images; its fp32 is PyTorch's TF32."""
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
            row: Row = {"precision": name, "batch": batch}
            rows.append(row)
            try:
                rate = batch / float(
                    np.median(frame_times(lambda f, d=dtype: theirs(f, d), [colour], bench.rounds(15)))
                )
            except Exception as error:  # its half precision is not promised to work
                row["note"] = f"{type(error).__name__}: {error}"[:100]
                continue
            pipeline = bench.pipeline(name)
            pipeline.prepare(gray, OPTIONS)
            pipeline.prepare(colour, OPTIONS)
            ours = batch / float(
                np.median(frame_times(lambda f, p=pipeline: extract(p, f), [colour], bench.rounds(100)))
            )
            overlapped = batch * submission_rate(pipeline, [colour], 2, bench.rounds(100))
            row |= {
                "theirs": rate,
                "ours": ours,
                "ratio": ours / rate,
                "ours, two in flight": overlapped,
                "its ratio": overlapped / rate,
            }
    return rows

"""Does OpenVINO gain where several images wait? Batches, and requests side by side, against one after the other.

All take turns on the same eight images, network only. Prints a Markdown table of the time per image and of its ratio to
one after the other, taken within each round (below 1 is a gain):

    scripts/ros_env python benchmarks/openvino_batches.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from superpoint_ros.superpoint.backends import make_backend
from superpoint_ros.superpoint.checkpoints import load_checkpoint
from superpoint_ros.superpoint.openvino_backend import OpenVinoBackend, import_openvino

IMAGES = 8


def in_batches(backend: OpenVinoBackend, images: torch.Tensor, size: int) -> Callable[[], object]:
    batches = images.split(size)
    return lambda: [backend(batch) for batch in batches]


def side_by_side(backend: OpenVinoBackend, images: torch.Tensor) -> Callable[[], object]:
    """As many requests at once as OpenVINO takes for the best when it is asked for throughput."""
    openvino = import_openvino()
    settings = {**backend.settings, "PERFORMANCE_HINT": "THROUGHPUT"}
    model = backend.model_for(tuple(images[:1].shape), is_uint8=True)
    queue = openvino.AsyncInferQueue(openvino.Core().compile_model(model, "CPU", settings))
    print(f"<!-- {len(queue)} requests side by side -->")
    arrays = [image.numpy() for image in images.split(1)]

    def run() -> None:
        for array in arrays:
            queue.start_async([array], share_inputs=True)
        queue.wait_all()

    return run


def milliseconds_per_image(contestants: list[Callable[[], object]], rounds: int) -> np.ndarray:
    """Return (rounds, contestants), after a round that compiles."""
    times = np.zeros((rounds + 1, len(contestants)))
    for row in times:
        for index, run in enumerate(contestants):
            started = time.perf_counter()
            run()
            row[index] = 1e3 * (time.perf_counter() - started) / IMAGES
    return times[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["240x320", "480x640"], help="HEIGHTxWIDTH in pixels")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16", "int8"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)  # as many as the backend takes
    checkpoint = load_checkpoint("default")
    print("| size | precision | | ms per image | ratio (quartiles) |\n| --- | --- | --- | ---: | ---: |")
    for size in arguments.sizes:
        height, width = map(int, size.split("x"))
        images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (IMAGES, 1, height, width), np.uint8))
        for precision in arguments.precisions:
            backends = [make_backend("openvino", checkpoint, torch.device("cpu"), precision) for _ in range(4)]
            contestants = [in_batches(backend, images, count) for backend, count in zip(backends, (1, 2, 4, IMAGES))]
            times = milliseconds_per_image([*contestants, side_by_side(backends[0], images)], arguments.rounds)
            names = ("one after the other", "batches of 2", "batches of 4", f"batches of {IMAGES}", "side by side")
            for index, name in enumerate(names):
                low, median, high = np.percentile(times[:, index] / times[:, 0], (25, 50, 75))
                cost = np.median(times[:, index])
                print(
                    f"| {size} | {precision} | {name} | {cost:.1f} | {median:.2f} ({low:.2f} to {high:.2f}) |",
                    flush=True,
                )


if __name__ == "__main__":
    main()

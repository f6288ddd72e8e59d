"""How much memory OpenVINO keeps for the image sizes and batches that it has compiled.

Each row is a process of its own that takes images of random grey levels, a few times each size; prints a Markdown table
of what it holds afterwards beyond what it held with the model loaded:

    scripts/ros_env python benchmarks/openvino_memory.py
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Sequence

import numpy as np
import psutil

from superpoint_ros.superpoint import SuperPointExtractor

REPEATS = 3

Batch = tuple[int, int, int]
"""Number of images, height and width."""


def of_width(*widths: int) -> tuple[Batch, ...]:
    return tuple((1, width * 3 // 4, width) for width in widths)


COURSES: dict[str, tuple[Batch, ...]] = {
    "480x640, one at a time": ((1, 480, 640),),
    "480x640, one to four at a time": tuple((count, 480, 640) for count in (1, 2, 3, 4)),
    "1000, 1300 and 1500 pixels wide": of_width(1000, 1300, 1500),
    "then 2000": of_width(1000, 1300, 1500, 2000),
    "then 640, 320 and 1000": of_width(1000, 1300, 1500, 2000, 640, 320, 1000),
}


def megabytes_kept(precision: str, course: Sequence[Batch]) -> float:
    """Memory of this process in MB after images of all sizes, beyond that with the model loaded."""
    most = max(count for count, _, _ in course)
    extractor = SuperPointExtractor.from_pretrained(
        "default", backend="openvino", precision=precision, max_batch_size=most
    )
    process, rng = psutil.Process(), np.random.default_rng(0)
    before = process.memory_info().rss
    for count, height, width in course:
        images = list(rng.integers(0, 256, (count, height, width), np.uint8))
        for _ in range(REPEATS):
            extractor(images)
    return (process.memory_info().rss - before) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "int8"])
    arguments = parser.parse_args()
    print(f"| images | {' | '.join(f'{precision} [MB]' for precision in arguments.precisions)} |")
    print(f"| --- |{' ---: |' * len(arguments.precisions)}")
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for name, course in COURSES.items():
            kept = [pool.apply(megabytes_kept, (precision, course)) for precision in arguments.precisions]
            print(f"| {name} | {' | '.join(f'{megabytes:.0f}' for megabytes in kept)} |", flush=True)


if __name__ == "__main__":
    main()

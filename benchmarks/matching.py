"""Times the matching of two frames on one core, against OpenCV and plain PyTorch, all taking turns.

Prints a Markdown table:

    scripts/ros_env python benchmarks/matching.py
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from unittest import mock

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before the libraries are loaded

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from superpoint_ros.geometry import match_descriptors, near_predictions  # noqa: E402


def unit_vectors(generator: np.random.Generator, count: int, size: int) -> np.ndarray:
    vectors = generator.normal(size=(count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def mutual_in_torch(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """The usual few lines."""
    similarity = first @ second.T
    forth, back = similarity.max(dim=1).indices, similarity.max(dim=0).indices
    rows = torch.arange(len(first))
    return rows[back[forth] == rows]


def without_torch(run: Callable[[], object]) -> Callable[[], object]:
    """As in a process that has not imported PyTorch."""

    def wrapped() -> object:
        with mock.patch.dict(sys.modules, torch=None):
            return run()

    return wrapped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keypoints", type=int, default=1024)
    parser.add_argument("--descriptor-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=50)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    generator = np.random.default_rng(0)
    count, size = arguments.keypoints, arguments.descriptor_size
    first, second = unit_vectors(generator, count, size), unit_vectors(generator, count, size)
    half = count // 2
    second[:half] = first[:half] + 0.5 * second[:half]
    second /= np.linalg.norm(second, axis=1, keepdims=True)
    int8 = [np.rint(127 * descriptors).astype(np.int8) for descriptors in (first, second)]
    tensors = torch.from_numpy(first), torch.from_numpy(second)
    points = generator.uniform(0, 640, (count, 2)).astype(np.float32)
    brute_force = cv2.BFMatcher(cv2.NORM_L2, crossCheck=True)
    cases: dict[str, Callable[[], object]] = {
        "`match_descriptors`": lambda: match_descriptors(first, second),
        "with `max_ratio`": lambda: match_descriptors(first, second, max_ratio=0.9),
        "int8": lambda: match_descriptors(*int8),
        "guided by predictions": lambda: match_descriptors(
            first, second, candidates=near_predictions(points, points, 50.0)
        ),
        "without PyTorch": without_torch(lambda: match_descriptors(first, second)),
        "int8, without PyTorch": without_torch(lambda: match_descriptors(*int8)),
        "the product of the descriptors alone, NumPy": lambda: first @ second.T,
        "plain PyTorch: product, maxima, mutual check": lambda: mutual_in_torch(*tensors),
        "OpenCV's `BFMatcher` with `crossCheck`": lambda: brute_force.match(first, second),
    }
    milliseconds: dict[str, list[float]] = {name: [] for name in cases}
    for round_ in range(arguments.rounds + 2):
        for name, run in cases.items():
            started = time.perf_counter()
            run()
            if round_ >= 2:  # the first ones warm up
                milliseconds[name].append(1e3 * (time.perf_counter() - started))
    print(f"| {count} x {count} x {size}, one core | p50 [ms] | p10 to p90 [ms] |\n| --- | ---: | ---: |")
    for name, values in milliseconds.items():
        low, middle, high = np.percentile(values, (10, 50, 90))
        print(f"| {name} | {middle:.2f} | {low:.2f} to {high:.2f} |")
    ours = {tuple(pair) for pair in match_descriptors(first, second).indices.tolist()}
    theirs = {(match.queryIdx, match.trainIdx) for match in brute_force.match(first, second)}
    print(f"\n{len(ours)} matches, {len(ours ^ theirs)} differ from OpenCV's")


if __name__ == "__main__":
    main()

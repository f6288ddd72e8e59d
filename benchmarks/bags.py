"""Times the command ``bag`` against the bare extractor on the same images, taking turns.

Writes recordings of colour images into a temporary folder and prints a Markdown table:

    scripts/ros_env python benchmarks/bags.py

A recording of one image tells what a run costs before and after its images, such as loading the model; the rest is the
time of the further images: reading, converting, detecting and writing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from superpoint_ros.__main__ import main as superpoint_ros
from superpoint_ros.bags.messages import make_typestore
from superpoint_ros.simulation.photographs import load_photograph
from superpoint_ros.superpoint import SuperPointExtractor

TOPIC = "/camera/image_raw"


def photographs(count: int, width: int, height: int) -> list[np.ndarray]:
    """Views of one photograph, each a little further right."""
    wall = cv2.resize(load_photograph("rocket.jpg"), (width + count, height), interpolation=cv2.INTER_CUBIC)
    return [np.ascontiguousarray(wall[:, index : index + width]) for index in range(count)]


def record(path: Path, images: list[np.ndarray], storage: str) -> None:
    store = make_typestore()
    message_type, header, stamp = (
        store.types[name] for name in ("sensor_msgs/msg/Image", "std_msgs/msg/Header", "builtin_interfaces/msg/Time")
    )
    with Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        connection = writer.add_connection(TOPIC, message_type.__msgtype__, typestore=store)
        for index, image in enumerate(images):
            height, width, _ = image.shape
            head = header(stamp=stamp(sec=index, nanosec=0), frame_id="camera")
            message = message_type(head, height, width, "rgb8", 0, 3 * width, image.ravel())
            writer.write(connection, index * 10**9, store.serialize_cdr(message, message_type.__msgtype__))


def run_command(source: Path, out: Path, batch: int, further: list[str]) -> float:
    """Return the seconds that the command takes."""
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
        status = superpoint_ros(["bag", str(source), str(out), "--batch", str(batch), *further])
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(errors.getvalue())
    shutil.rmtree(out)
    return seconds


def run_extractor(extractor: SuperPointExtractor, images: list[np.ndarray], batch: int) -> float:
    """Return the seconds that the extractor takes for images that are in memory."""
    started = time.perf_counter()
    for start in range(0, len(images), batch):
        extractor(images[start : start + batch])
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--size", default="640x480", metavar="WIDTHxHEIGHT")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--storage", choices=("mcap", "sqlite3"), default="mcap")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--further", nargs="*", default=[], help="options of the command, such as matches (no dashes)")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    images = photographs(arguments.images + 1, width, height)
    extractors = {
        batch: SuperPointExtractor.from_pretrained("default", max_batch_size=batch) for batch in arguments.batches
    }
    further = [f"--{option}" for option in arguments.further]
    rates: dict[tuple[str, int], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        one, all_of_them, out = (Path(folder) / name for name in ("one", "all", "out"))
        record(one, images[:1], arguments.storage)
        record(all_of_them, images, arguments.storage)
        for batch, extractor in extractors.items():
            run_extractor(extractor, images[:batch], batch)
        for _ in range(arguments.rounds):
            for batch, extractor in extractors.items():
                bare = run_extractor(extractor, images[1:], batch)
                command = run_command(all_of_them, out, batch, further) - run_command(one, out, batch, further)
                for name, seconds in (("extractor", bare), ("bag", command)):
                    rates.setdefault((name, batch), []).append(arguments.images / seconds)
    print(f"{arguments.size}, {arguments.storage}, {extractor.backend} {extractor.precision}, ", end="")
    print(f"{extractor.threads} threads\n")
    print("| | batch | images/s, median | lowest to highest |\n| --- | ---: | ---: | ---: |")
    for (name, batch), values in rates.items():
        print(f"| {name} | {batch} | {np.median(values):.1f} | {min(values):.1f} to {max(values):.1f} |")


if __name__ == "__main__":
    main()

"""Command ``bag``: adds keypoints to a recording."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection
from tqdm import tqdm

from ..superpoint import SuperPointExtractor
from ..superpoint.arguments import add_extractor_arguments, extractor_from, non_negative_int, positive_int
from .keypoints import KeypointWriter, choose_cameras, output_topics
from .messages import DESCRIPTOR_TYPES, MessageMaker, make_typestore
from .recordings import STORAGES, BagError, Recording, bag_files, open_recording
from .resumable import ResumableBag, partial_folder

_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "input", type=Path, metavar="IN", help="rosbag2 folder, or an .mcap or .db3 file; stays as it is"
    )
    parser.add_argument("output", type=Path, metavar="OUT", help="rosbag2 folder to write; must not exist")
    parser.add_argument("--topics", nargs="+", default=[], help="image topics, raw or compressed (default: all)")
    parser.add_argument("--matches", action="store_true", help="match each image with the one before of its topic, too")
    parser.add_argument("--only-keypoints", action="store_true", help="leave out all other messages")
    parser.add_argument("--storage", choices=sorted(STORAGES.values()), help="of OUT (default: that of IN)")
    parser.add_argument("--descriptor-type", choices=DESCRIPTOR_TYPES, default="float32", help="in the messages")
    parser.add_argument(
        "--batch",
        type=positive_int,
        default=0,
        metavar="IMAGES",
        help="that run as one batch (default: 8 with torch, 1 with openvino)",
    )
    parser.add_argument(
        "--split",
        type=non_negative_int,
        default=1000,
        metavar="IMAGES",
        help="images per file of OUT, after the last of which a killed run goes on (default: 1000; 0: one file)",
    )
    add_extractor_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the bag; returns the exit status."""
    source, out = arguments.input, arguments.output
    if out.exists():
        raise BagError(f"{out}: exists already; give the name of a new bag")
    if source.is_dir() and source.resolve() in out.resolve().parents:
        raise BagError(f"{out}: lies inside the bag {source}, which stays as it is; choose another place")
    with open_recording(source, scratch=partial_folder(out) / "input") as recording:
        cameras = choose_cameras(recording.connections, arguments.topics)
        store = make_typestore()
        copied = [] if arguments.only_keypoints else _copied(recording)
        topics = output_topics(copied, cameras, arguments.matches, store)
        extractor = extractor_from(arguments, arguments.batch)
        maker = MessageMaker(store, extractor.model_name, arguments.descriptor_type)
        keys = {(connection.topic, connection.msgtype) for connection in copied}
        writer = KeypointWriter(extractor, store, maker, cameras, keys, arguments.matches)
        storage = arguments.storage or recording.storage
        try:
            with ResumableBag(out, storage, topics, _job(arguments, recording, extractor, storage)) as bag:
                if not bag.is_complete:
                    images = sum(one.msgcount for one in recording.connections if one.topic in cameras)
                    _write(writer, recording, bag, images, arguments)
                bag.finish()
        except KeyboardInterrupt:
            print(f"interrupted; the same command continues from {partial_folder(out)}", file=sys.stderr)
            return _INTERRUPTED
    mean = bag.progress.keypoints / max(bag.progress.images, 1)
    places = ", ".join(camera.keypoints for camera in cameras.values())
    print(f"{out}: {bag.progress.images} images, {mean:.0f} keypoints each ({extractor.model_name}), in {places}")
    return 0


def _copied(recording: Recording) -> list[Connection]:
    """Return the topics that can be copied, and warn of the others."""
    copied = []
    for connection in recording.connections:
        encoding = connection.ext.serialization_format  # type: ignore[union-attr]
        if encoding == "cdr" and "/" in connection.msgtype:
            copied.append(connection)
        else:
            recording.warnings.append(f"{connection.topic} is left out: encoding {encoding or 'unknown'}, not cdr")
    return copied


def _job(
    arguments: argparse.Namespace, recording: Recording, extractor: SuperPointExtractor, storage: str
) -> dict[str, Any]:
    """Return everything that decides what the bag will hold."""
    files = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in bag_files(recording.path)]
    return {
        "input": str(recording.path.resolve()),
        "input files": files,
        "storage": storage,
        "topics": arguments.topics,
        "matches": arguments.matches,
        "only-keypoints": arguments.only_keypoints,
        "descriptor-type": arguments.descriptor_type,
        "model": extractor.model_name,
        "device": extractor.device.partition(":")[0],  # GPUs are interchangeable
        "backend": extractor.backend,
        "precision": extractor.precision,
        "options": asdict(extractor.options),
    }


def _write(
    writer: KeypointWriter, recording: Recording, bag: ResumableBag, images: int, arguments: argparse.Namespace
) -> None:
    """Write all messages with a progress bar over the images, and warnings as they come."""
    failures: Counter[str] = Counter()
    shown = 0

    def warn() -> None:
        nonlocal shown
        for warning in recording.warnings[shown:]:
            tqdm.write(f"warning: {warning}", file=sys.stderr)
        shown = len(recording.warnings)

    with tqdm(total=images, initial=bag.progress.images, unit="image", smoothing=0.05) as progress:

        def report(done: int, reasons: list[str]) -> None:
            progress.update(done)
            for reason in reasons:
                failures[reason.partition(":")[0]] += 1
                if failures[reason.partition(":")[0]] == 1:
                    tqdm.write(f"warning: {reason}; such images are copied without keypoints", file=sys.stderr)
            warn()

        warn()
        writer.run(recording, bag, arguments.split, report)
        warn()
    for topic, count in failures.items():
        tqdm.write(f"warning: {topic}: {count} images could not be read", file=sys.stderr)

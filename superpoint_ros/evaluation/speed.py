"""Command ``benchmark``: how fast whole extractors are, image in, features out, in paired runs."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from ..superpoint import DetectionOptions, SuperPointExtractor, load_checkpoint, save_pretrained
from ..superpoint.backends import resolve_device
from ..superpoint.checkpoints import Checkpoint
from ..superpoint.files import replacing
from .report import software_versions, write_json
from .speed_peers import Images, Run, load_peer

REFERENCE = "transformers"
CPU_CONTESTANTS = (
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
)


@dataclass(frozen=True)
class Setting:
    """What all contestants do alike.

    Attributes
    ----------
    height, width : int
        Of the images, in pixels.
    batch : int
        Images per call.
    max_keypoints : int
    threads : int
        CPU threads of each library.
    """

    height: int
    width: int
    batch: int
    max_keypoints: int
    threads: int


@dataclass(frozen=True)
class Timing:
    """One contestant in one setting.

    Attributes
    ----------
    name : str
    setting : Setting
    milliseconds : float
        Median per image.
    ratios : tuple of float
        First quartile, median and third quartile of how many times as fast as the reference it was in
        the same round; empty without reference.
    """

    name: str
    setting: Setting
    milliseconds: float
    ratios: tuple[float, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``benchmark``."""
    parser.add_argument("--images", type=Path, help="folder of photographs (default: those of scikit-image)")
    parser.add_argument("--sizes", nargs="+", default=["480x640"], metavar="HxW", help="default: 480x640")
    parser.add_argument("--batches", nargs="+", type=int, default=[1], help="images per call (default: 1)")
    parser.add_argument("--max-keypoints", nargs="+", type=int, default=[1024], help="default: 1024")
    parser.add_argument("--threads", nargs="+", type=int, default=[2], help="CPU threads (default: 2)")
    parser.add_argument("--rounds", type=int, default=15, help="counted rounds of all contestants (default: 15)")
    parser.add_argument("--weights", default="default", help="used by all SuperPoint contestants")
    parser.add_argument("--device", default="cpu", help="of the SuperPoint contestants: cpu or cuda:N")
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME:FOLDER",
        help="another implementation to measure: lightglue or rpautrat, and the folder of its source; may be repeated",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("benchmark_output"), help="folder of speed.json, speed.md and speed.png"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run ``benchmark``; returns the exit status."""
    photographs = _read_photographs(arguments.images)
    checkpoint = load_checkpoint(arguments.weights)
    device = resolve_device(arguments.device)
    settings = [
        Setting(*_parse_size(size), batch, limit, threads)
        for threads in arguments.threads
        for size in arguments.sizes
        for batch in arguments.batches
        for limit in arguments.max_keypoints
    ]
    timings: list[Timing] = []
    for setting in settings:
        contestants = _contestants(setting, checkpoint, device, arguments.peer)
        timings += _time_contestants(setting, contestants, photographs, arguments.rounds)
    machine = {"processor": _processor(device), "threads available": torch.get_num_threads()}
    record = {"machine": machine, "software": _versions(), "weights": checkpoint.name, "rounds": arguments.rounds}
    table = _table(timings)
    write_json(arguments.output / "speed.json", {**record, "timings": [asdict(timing) for timing in timings]})
    text = f"{table}\n{json.dumps(record)}\n"
    with replacing(arguments.output / "speed.md") as partial:
        partial.write_text(text, encoding="utf-8")
    if find_spec("matplotlib"):
        from .speed_plots import plot_speed

        plot_speed(arguments.output / "speed.png", timings)
    print(table)
    return 0


def _time_contestants(setting: Setting, contestants: dict[str, Run], photographs: Images, rounds: int) -> list[Timing]:
    """Run all contestants in turn, round after round, so that all meet the same moods of the machine."""
    size = (setting.width, setting.height)
    images = [np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8) for image in photographs]
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    label = f"{setting.height}x{setting.width}, batch {setting.batch}, {setting.max_keypoints} keypoints"
    for index in tqdm(range(-2, rounds), desc=label, unit="round"):
        batch = [images[(index + offset) % len(images)] for offset in range(setting.batch)]
        for name, contestant in contestants.items():
            started = time.perf_counter()
            contestant(batch)
            if index >= 0:
                seconds[name].append(time.perf_counter() - started)
    reference = seconds.get(REFERENCE)
    return [
        Timing(
            name,
            setting,
            1e3 * float(np.median(values)) / setting.batch,
            tuple(np.percentile(np.divide(reference, values), (25, 50, 75)).tolist()) if reference else (),
        )
        for name, values in seconds.items()
    ]


def _contestants(
    setting: Setting, checkpoint: Checkpoint, device: torch.device, peers: Sequence[str]
) -> dict[str, Run]:
    torch.set_num_threads(setting.threads)
    cv2.setNumThreads(setting.threads)
    options = DetectionOptions.from_config(checkpoint.config)
    options = DetectionOptions(**{**asdict(options), "max_keypoints": setting.max_keypoints})

    def ours(backend: str, precision: str) -> Run:
        return SuperPointExtractor(checkpoint, str(device), backend, precision, options)

    contestants: dict[str, Run] = {}
    if find_spec("transformers"):
        contestants[REFERENCE] = _transformers(setting, checkpoint, device)
    for peer in peers:
        name, _, folder = peer.partition(":")
        contestants[name] = load_peer(name, Path(folder).expanduser(), checkpoint, options)
    if device.type == "cuda":
        contestants |= {f"ours, torch {precision}": ours("torch", precision) for precision in ("fp32", "bf16", "fp16")}
        return contestants
    for backend, precision in CPU_CONTESTANTS:
        try:
            contestants[f"ours, {backend} {precision}"] = ours(backend, precision)
        except ValueError as error:
            tqdm.write(f"left out: {backend} {precision}: {error}", file=sys.stderr)
    opencv: Any = cv2  # its type stubs lack the detectors
    contestants["OpenCV SIFT"] = _each(opencv.SIFT_create(nfeatures=setting.max_keypoints))
    contestants["OpenCV ORB"] = _each(opencv.ORB_create(nfeatures=setting.max_keypoints))
    return contestants


def _transformers(setting: Setting, checkpoint: Checkpoint, device: torch.device) -> Run:
    """Processor, model and post-processing of transformers with the same weights, at the images' own size."""
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(folder, checkpoint)
        model = transformers.SuperPointForKeypointDetection.from_pretrained(folder, max_keypoints=setting.max_keypoints)
    model = model.to(device).eval()
    processor = transformers.SuperPointImageProcessor(
        size={"height": setting.height, "width": setting.width}, do_grayscale=True
    )

    @torch.inference_mode()
    def extract(images: Images) -> Any:
        outputs = model(**processor(list(images), return_tensors="pt").to(device))
        sizes = [image.shape[:2] for image in images]
        return [
            {name: value.cpu().numpy() for name, value in result.items()}
            for result in processor.post_process_keypoint_detection(outputs, sizes)
        ]

    return extract


def _each(detector: Any) -> Run:
    return lambda images: [detector.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None) for image in images]


def _read_photographs(folder: Path | None) -> Images:
    """Read colour photographs as RGB.

    Raises
    ------
    ValueError
        If there are none.
    """
    if folder is None:
        try:
            import skimage
        except ImportError:
            raise ValueError("the default photographs are those of scikit-image: install it or give --images") from None
        folder = Path(skimage.__file__).parent / "data"
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    read = (cv2.imread(str(path), cv2.IMREAD_COLOR) for path in paths)
    images = [
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in read if image is not None and min(image.shape[:2]) > 250
    ]
    if not images:
        raise ValueError(f"{folder}: no photographs (.png, .jpg) of at least 250 pixels")
    return [np.asarray(image, np.uint8) for image in images]


def _parse_size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise ValueError(f"--sizes takes HEIGHTxWIDTH such as 480x640, got {text!r}")
    return int(height), int(width)


def _table(timings: Sequence[Timing]) -> str:
    """Return a Markdown table."""
    lines = [
        "| size | batch | keypoints | threads | extractor | ms per image | times as fast as transformers (quartiles) |",
        "| --- | ---: | ---: | ---: | --- | ---: | ---: |",
    ]
    for timing in timings:
        setting = timing.setting
        ratio = "{1:.1f} ({0:.1f} to {2:.1f})".format(*timing.ratios) if timing.ratios else ""
        lines.append(
            f"| {setting.height}x{setting.width} | {setting.batch} | {setting.max_keypoints} | {setting.threads} "
            f"| {timing.name} | {timing.milliseconds:.1f} | {ratio} |"
        )
    return "\n".join(lines) + "\n"


def _processor(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in cpuinfo.open() if line.startswith("model name")]
        if cpuinfo.exists()
        else []
    )
    return names[0] if names else platform.processor()


def _versions() -> dict[str, str]:
    extra = {name: version(name) for name in ("transformers", "openvino") if find_spec(name)}
    return software_versions() | extra

"""``prepare-data``: fetch freely licensed images, choose the usable ones and cache them as small grayscale crops."""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from ..superpoint.backends import make_backend, resolve_backend, resolve_device, resolve_precision
from ..superpoint.checkpoints import load_checkpoint
from ..superpoint.files import make_output_folder, replacing
from .crop_packs import read_pack, save_array, save_crops, write_pack
from .data_configuration import DataConfig, LabelOptions
from .labels import ScoreMap, corner_response, label_crops, network_score_map
from .licences import licence_class, licence_of
from .pictures import CropOptions, Gray, cut_crops, image_hash, to_gray, unsuitable
from .sources import fetch, read_images, read_licences
from .yaml_files import naming, read_dataclass

_DUPLICATE_BITS = 5  # hashes of 64 bits that differ in fewer bits belong to the same picture


@dataclass(frozen=True)
class ManifestRow:
    """Where a picture comes from and under what licence; the order is that of the cached crops."""

    split: str
    package: str
    version: str
    path: str
    licence: str
    crops: int


@dataclass
class Selection:
    """Crops and manifest rows as they are collected."""

    rows: list[ManifestRow] = field(default_factory=list)
    crops: dict[str, list[Gray]] = field(default_factory=lambda: {"train": [], "validation": []})
    hashes: list[int] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)

    def reject(self, reason: str) -> None:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line of ``prepare-data``."""
    parser.add_argument("--config", type=Path, default=Path("config/training/data.yaml"), help="list of sources (YAML)")
    parser.add_argument("--output", type=Path, default=Path("data"), help="folder for downloads, cache and manifest")
    crops = parser.add_mutually_exclusive_group()
    crops.add_argument("--labels-only", action="store_true", help="keep the crops and label them again")
    crops.add_argument(
        "--pack", type=Path, metavar="FILE", help="only write the crops to one small file, to carry them"
    )
    crops.add_argument("--unpack", type=Path, metavar="FILE", help="take the crops from such a file, and label them")
    parser.add_argument("--quality", type=int, default=75, help="of the pictures in a --pack, 1 to 100 (default: 75)")
    parser.add_argument("--detector", default="corners", help="labels from: corners, or a weights folder to adapt")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="of the labels (default: OUTPUT/labels_train.npy)")
    parser.add_argument("--precision", default="auto", help="of a network that labels: auto, fp32, bf16 or fp16")
    parser.add_argument("--device", default="auto", help="where labels are computed: auto, cpu or cuda:N")


def run(args: argparse.Namespace) -> int:
    """Run ``prepare-data`` and return the exit status."""
    if args.pack:
        write_pack(args.output, args.pack, args.quality)
        return 0
    path = args.labels or args.output / "labels_train.npy"
    if path.suffix != ".npy":
        raise ValueError(f"{path}: --labels must end in .npy")
    device = resolve_device(args.device)
    config = read_dataclass(args.config, DataConfig)
    score_map, options = _detector(args.detector, config.labels, device, args.precision)
    if args.labels:
        make_output_folder(path.parent)
    if args.unpack:
        read_pack(args.unpack, args.output)
    elif not args.labels_only:
        with naming(args.config):
            prepare(config, args.output)
    crops = torch.from_numpy(np.load(args.output / "crops_train.npy"))
    labels = label_crops(crops, score_map, options, options.seed, device).numpy()
    save_array(path, labels)
    print(f"{(labels[..., 2] > 0).sum(1).mean():.0f} labels per crop")
    return 0


def prepare(config: DataConfig, output: Path) -> Selection:
    """Fetch all sources and write ``crops_<split>.npy``, ``manifest.json`` and ``manifest.csv`` to `output`.

    Raises
    ------
    ValueError
        If a source cannot be had or a split ends without crops; the message names it, and what was in `output`
        before stays.
    """
    for source in config.sources:
        if source.kind == "folder" and not Path(source.module).is_dir():
            raise ValueError(f"sources: {source.name!r}: module: {source.module} is no folder")
    options = {"train": config.crops.train, "validation": config.crops.validation}
    rng = np.random.default_rng(config.seed)
    selection = Selection()
    for source in sorted(config.sources, key=lambda source: source.split != "validation"):
        folder, version = fetch(source, output)
        licences = read_licences(source, folder)
        for path, content in tqdm(list(read_images(source, folder)), desc=source.name):
            licence = licence_of(path, licences)
            if licence is None or licence_class(licence) not in config.licence_classes:
                selection.reject(f"licence: {licence or 'not named'}")
                continue
            crops = _usable_crops(content, options[source.split], selection, rng)
            if crops:
                row = ManifestRow(source.split, source.name, version, path, licence, len(crops))
                selection.rows.append(row)
                selection.crops[source.split].extend(crops)
    for split in sorted({"train"} | {source.split for source in config.sources}):
        if not selection.crops[split]:
            raise ValueError(f"no crops for {split}; pictures rejected: {selection.rejected or 'none'}")
    _write(selection, output)
    return selection


def _detector(name: str, options: LabelOptions, device: torch.device, precision: str) -> tuple[ScoreMap, LabelOptions]:
    """Return what labels, "corners" or the network of weights as `load_checkpoint` takes them, and its options."""
    if name == "corners":
        return corner_response, options
    backend, precision = resolve_backend("auto", device), resolve_precision(precision, device)
    network = make_backend(backend, load_checkpoint(name), device, precision)
    return network_score_map(network), replace(options, floor=options.network_floor)


def _usable_crops(content: bytes, options: CropOptions, selection: Selection, rng: np.random.Generator) -> list[Gray]:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if content else None
    reason = "not decodable" if image is None else unsuitable(image, options)
    if image is None or reason:
        selection.reject(reason or "")
        return []
    gray = to_gray(image)
    fingerprint = image_hash(gray)
    if any((fingerprint ^ other).bit_count() < _DUPLICATE_BITS for other in selection.hashes):
        selection.reject("duplicate")
        return []
    crops = cut_crops(gray, options, rng)
    if crops:
        selection.hashes.append(fingerprint)
    else:
        selection.reject("too few corners")
    return crops


def _write(selection: Selection, output: Path) -> None:
    save_crops(output, selection.crops)
    images = [asdict(row) for row in selection.rows]
    with replacing(output / "manifest.json") as partial:
        partial.write_text(json.dumps({"images": images, "rejected": selection.rejected}, indent=1))
    with replacing(output / "manifest.csv") as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, [item.name for item in fields(ManifestRow)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(images)
    counts = {split: len(crops) for split, crops in selection.crops.items()}
    print(f"{len(selection.rows)} pictures, crops {counts}; rejected {selection.rejected}")

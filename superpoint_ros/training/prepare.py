"""``prepare-data``: fetch freely licensed images, choose the usable ones and cache them as small grayscale crops."""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from tqdm import tqdm

from ..superpoint.backends import resolve_device
from ..superpoint.checkpoints import load_checkpoint
from ..superpoint.files import replacing
from .configuration import build_dataclass, read_yaml
from .crop_packs import read_pack, save_array, save_crops, write_pack
from .labels import AdaptationOptions, ScoreMap, corner_response, label_crops, network_score_map
from .licences import licence_class, licence_of
from .pictures import CropOptions, Gray, cut_crops, image_hash, to_gray, unsuitable
from .sources import fetch, read_images, read_licences, read_source

_DUPLICATE_BITS = 5  # hashes of 64 bits that differ in fewer bits belong to the same picture

_SECTIONS = {int: "a whole number", list: "a list", dict: "a mapping"}

_Options = TypeVar("_Options", CropOptions, AdaptationOptions)


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
    parser.add_argument("--device", default="auto", help="where labels are computed: auto, cpu or cuda:N")


def run(args: argparse.Namespace) -> int:
    """Run ``prepare-data`` and return the exit status."""
    if args.pack:
        write_pack(args.output, args.pack, args.quality)
        return 0
    device = resolve_device(args.device)
    options, seed = read_label_options(args.config, network=args.detector != "corners")
    if args.unpack:
        read_pack(args.unpack, args.output)
    elif not args.labels_only:
        prepare(args.config, args.output)
    make_labels(args.output, args.detector, options, seed, device)
    return 0


def prepare(config_path: Path, output: Path) -> Selection:
    """Fetch all sources and write ``crops_<split>.npy``, ``manifest.json`` and ``manifest.csv`` to `output`.

    Raises
    ------
    ValueError
        If the configuration is faulty, a source cannot be had or a split ends without crops; the message names it,
        and what was in `output` before stays.
    """
    config = _read_sections(config_path, {"seed": int, "licence_classes": list, "crops": dict, "sources": list})
    sources = [read_source(entry, config_path) for entry in config["sources"]]
    options = {
        split: _build(f"{config_path}: crops: {split}", CropOptions, config["crops"].get(split))
        for split in {source.split for source in sources}
    }
    rng = np.random.default_rng(config["seed"])
    selection = Selection()
    for source in sorted(sources, key=lambda source: source.split != "validation"):
        folder, version = fetch(source, output)
        licences = read_licences(source, folder)
        for path, content in tqdm(list(read_images(source, folder)), desc=source.name):
            licence = licence_of(path, licences)
            if licence is None or licence_class(licence) not in config["licence_classes"]:
                selection.reject(f"licence: {licence or 'not named'}")
                continue
            crops = _usable_crops(content, options[source.split], selection, rng)
            if crops:
                row = ManifestRow(source.split, source.name, version, path, licence, len(crops))
                selection.rows.append(row)
                selection.crops[source.split].extend(crops)
    for split in sorted({"train"} | {source.split for source in sources}):
        if not selection.crops[split]:
            raise ValueError(f"{config_path}: no crops for {split}; pictures rejected: {selection.rejected or 'none'}")
    _write(selection, output)
    return selection


def read_label_options(config_path: Path, network: bool) -> tuple[AdaptationOptions, int]:
    """Read the section `labels`: fields of `AdaptationOptions`, the seed, and the floor for a network's scores.

    Raises
    ------
    ValueError
        If the section is missing or faulty; the message names file and field.
    """
    settings = dict(_read_sections(config_path, {"labels": dict})["labels"])
    seed, network_floor = settings.pop("seed", None), settings.pop("network_floor", 0.005)
    if type(seed) is not int:
        raise ValueError(f"{config_path}: labels: seed: expected a whole number, got {seed!r}")
    if network:
        settings["floor"] = network_floor
    return _build(f"{config_path}: labels", AdaptationOptions, settings), seed


def make_labels(output: Path, detector: str, options: AdaptationOptions, seed: int, device: torch.device) -> None:
    """Label the training crops in `output` by homographic adaptation and write ``labels_train.npy``.

    Parameters
    ----------
    output : Path
        Where ``crops_train.npy`` lies.
    detector : str
        "corners" for the classical corner response, else weights as `load_checkpoint` takes them.
    options : AdaptationOptions
    seed : int
    device : torch.device
    """
    score_map: ScoreMap = corner_response
    if detector != "corners":
        score_map = network_score_map(load_checkpoint(detector).network().to(device))
    crops = torch.from_numpy(np.load(output / "crops_train.npy"))
    labels = label_crops(crops, score_map, options, seed, device)
    save_array(output / "labels_train.npy", labels.numpy())
    print(f"{float((labels[..., 2] > 0).sum(1).float().mean()):.0f} labels per crop")


def _read_sections(path: Path, sections: dict[str, type]) -> dict[str, Any]:
    try:
        config = read_yaml(path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    for name, kind in sections.items():
        value = config.get(name) if isinstance(config, dict) else None
        if not isinstance(value, kind):
            raise ValueError(f"{path}: {name}: expected {_SECTIONS[kind]}, got {value!r}")
    return dict(config)


def _build(where: str, kind: type[_Options], values: Any) -> _Options:
    try:
        options: _Options = build_dataclass(kind, values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None
    return options


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

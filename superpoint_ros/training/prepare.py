"""``prepare-data``: fetch freely licensed images, choose the usable ones and cache them as small grayscale crops."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from tqdm import tqdm

from ..superpoint.checkpoints import load_checkpoint
from ..superpoint.files import replacing
from .archives import read_rcc, read_zip
from .labels import AdaptationOptions, ScoreMap, corner_response, label_crops, network_score_map
from .licences import FileLicence, licence_class, licence_of, parse_copyright

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".pgm", ".ppm")
_ARCHIVES = {".rcc": read_rcc, ".zip": read_zip, ".pk3": read_zip}
_DUPLICATE_BITS = 5  # hashes of 64 bits that differ in fewer bits belong to the same picture

Gray = NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """A package with images. Patterns are shell patterns on the path inside the package."""

    name: str
    kind: str
    split: str
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    module: str = ""
    licence: str = ""
    basis: str = ""


@dataclass(frozen=True)
class CropOptions:
    """How pictures are cut: sizes in pixels, `scales` relative to the picture just covering one crop."""

    height: int
    width: int
    per_image: int
    scales: tuple[float, ...] = (1.0,)
    min_corners: int = 60


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
    parser.add_argument("--labels-only", action="store_true", help="keep the crops and label them again")
    parser.add_argument("--detector", default="corners", help="labels from: corners, or a weights folder to adapt")
    parser.add_argument("--device", default="auto", help="where labels are computed: auto, cpu or cuda:N")


def run(args: argparse.Namespace) -> int:
    """Run ``prepare-data`` and return the exit status."""
    if not args.labels_only:
        prepare(args.config, args.output)
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device)
    make_labels(args.config, args.output, args.detector, device)
    return 0


def prepare(config_path: Path, output: Path) -> Selection:
    """Fetch all sources and write ``crops_<split>.npy``, ``manifest.json`` and ``manifest.csv`` to `output`.

    Raises
    ------
    ValueError
        If the configuration is faulty or a source cannot be had; the message names it.
    """
    config = yaml.safe_load(config_path.read_text())
    sources = [_source(entry, config_path) for entry in config["sources"]]
    options = {split: CropOptions(**values) for split, values in config["crops"].items()}
    rng = np.random.default_rng(config["seed"])
    selection = Selection()
    for source in sorted(sources, key=lambda source: source.split != "validation"):
        folder, version = _fetch(source, output)
        licences = _licences(source, folder)
        for path, content in tqdm(list(_images(source, folder)), desc=source.name):
            licence = licence_of(path, licences)
            if licence is None or licence_class(licence) not in config["licence_classes"]:
                selection.reject(f"licence: {licence or 'not named'}")
                continue
            crops = _usable_crops(content, options[source.split], selection, rng)
            if crops:
                row = ManifestRow(source.split, source.name, version, path, licence, len(crops))
                selection.rows.append(row)
                selection.crops[source.split].extend(crops)
    _write(selection, output)
    return selection


def make_labels(config_path: Path, output: Path, detector: str, device: torch.device) -> None:
    """Label the training crops in `output` by homographic adaptation and write ``labels_train.npy``.

    Parameters
    ----------
    config_path : Path
        Its section `labels` holds a seed and fields of `AdaptationOptions`.
    output : Path
        Where ``crops_train.npy`` lies.
    detector : str
        "corners" for the classical corner response, else weights as `load_checkpoint` takes them.
    device : torch.device
    """
    settings = dict(yaml.safe_load(config_path.read_text())["labels"])
    seed = settings.pop("seed")
    score_map: ScoreMap = corner_response
    if detector != "corners":
        settings["floor"] = settings.pop("network_floor", 0.005)
        score_map = network_score_map(load_checkpoint(detector).network().to(device))
    settings.pop("network_floor", None)
    crops = torch.from_numpy(np.load(output / "crops_train.npy"))
    labels = label_crops(crops, score_map, AdaptationOptions(**settings), seed, device)
    _save_array(output / "labels_train.npy", labels.numpy())
    print(f"{float((labels[..., 2] > 0).sum(1).float().mean()):.0f} labels per crop")


def image_hash(gray: Gray) -> int:
    """Return the 64-bit difference hash: the signs of horizontal differences in a 9 x 8 thumbnail."""
    thumbnail = cv2.resize(gray, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    return int.from_bytes(np.packbits(np.diff(thumbnail, axis=1) > 0).tobytes(), "big")


def unsuitable(image: NDArray[Any], options: CropOptions) -> str | None:
    """Return why a decoded picture is of no use (small, transparent, flat, drawing or text), or None."""
    height, width = image.shape[:2]
    if height < options.height / 1.2 or width < options.width / 1.2:
        return "too small"
    if image.ndim == 3 and image.shape[2] == 4 and np.mean(image[..., 3] < 250) > 0.01:
        return "transparent"
    gray = to_gray(image)
    histogram = np.bincount(gray.ravel(), minlength=256) / gray.size
    if gray.std() < 12:
        return "too flat"
    if histogram.max() > 0.3 or np.count_nonzero(histogram > 1e-4) < 64:
        return "drawing, text or logo"
    return None


def to_gray(image: NDArray[Any]) -> Gray:
    """Convert a decoded picture of any depth and channel count to 8-bit luminance."""
    if image.dtype == np.uint16:
        image = (image // 257).astype(np.uint8)
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_BGRA2GRAY if image.shape[2] == 4 else cv2.COLOR_BGR2GRAY)
    return image.astype(np.uint8, copy=False)


def cut_crops(gray: Gray, options: CropOptions, rng: np.random.Generator) -> list[Gray]:
    """Cut a picture into textured tiles at several scales, at most ``options.per_image`` of them."""
    height, width = gray.shape
    cover = max(options.height / height, options.width / width)
    crops = []
    for scale in options.scales:
        factor = cover * scale
        if factor > max(1.0, cover):
            break
        resized = cv2.resize(
            gray,
            (max(options.width, round(width * factor)), max(options.height, round(height * factor))),
            interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC,
        )
        for top in _tile_starts(resized.shape[0], options.height):
            for left in _tile_starts(resized.shape[1], options.width):
                tile = np.asarray(resized[top : top + options.height, left : left + options.width], np.uint8)
                if _corner_count(tile, options.min_corners) >= options.min_corners:
                    crops.append(np.ascontiguousarray(tile))
    keep = rng.permutation(len(crops))[: options.per_image]
    return [crops[index] for index in sorted(keep)]


def _tile_starts(length: int, tile: int) -> list[int]:
    count = length // tile
    return [round(start) for start in np.linspace(0, length - tile, count)]


def _corner_count(tile: Gray, wanted: int) -> int:
    blurred = cv2.GaussianBlur(tile, (0, 0), 1.0)
    response = cv2.cornerMinEigenVal(blurred, 5)
    maxima = (response == cv2.dilate(response, np.ones((9, 9)))) & (response > 1e-4)
    return int(maxima.sum())


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


def _source(entry: dict[str, Any], config_path: Path) -> Source:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    try:
        source = Source(**values)
    except TypeError as error:
        raise ValueError(f"{config_path}: source {entry.get('name', entry)!r}: {error}") from None
    if source.kind not in ("debian", "python", "folder") or source.split not in ("train", "validation"):
        raise ValueError(
            f"{config_path}: source {source.name!r}: kind must be debian, python or folder and split train or "
            f"validation, got {source.kind!r} and {source.split!r}"
        )
    return source


def _fetch(source: Source, output: Path) -> tuple[Path, str]:
    """Return the folder that holds a source's files, and its version."""
    if source.kind == "folder":
        return Path(source.module), "local"
    if source.kind == "python":
        spec = importlib.util.find_spec(source.module)
        if spec is None or not spec.submodule_search_locations:
            raise ValueError(f"source {source.name!r}: the Python package is not installed (pip install {source.name})")
        return Path(spec.submodule_search_locations[0]), version(source.name)
    return _fetch_debian(source.name, output)


def _fetch_debian(name: str, output: Path) -> tuple[Path, str]:
    downloads, folder = output / "packages", output / "unpacked" / name
    downloads.mkdir(parents=True, exist_ok=True)
    if not list(downloads.glob(f"{name}_*.deb")):
        try:
            subprocess.run(["apt-get", "download", name], cwd=downloads, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", "") or error
            raise ValueError(f"source {name!r}: 'apt-get download' failed: {reason}") from None
    archive = sorted(downloads.glob(f"{name}_*.deb"))[-1]
    if not folder.exists():
        partial = folder.with_name(f"{name}.partial")
        subprocess.run(["dpkg-deb", "-x", str(archive), str(partial)], check=True)
        partial.rename(folder)
    return folder, archive.name.split("_")[1].replace("%3a", ":")


def _licences(source: Source, folder: Path) -> list[FileLicence]:
    if source.licence:
        return [FileLicence(("*",), source.licence)]
    documents = sorted(folder.glob("usr/share/doc/*/copyright")) or sorted(folder.glob("copyright"))
    return [licence for document in documents for licence in parse_copyright(document.read_text(errors="replace"))]


def _images(source: Source, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (path inside the package, encoded image) in a fixed order."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        relative = file.relative_to(folder).as_posix()
        if file.suffix in _ARCHIVES:
            for name, content in sorted(_ARCHIVES[file.suffix](file)):
                if name.lower().endswith(_SUFFIXES) and _wanted(relative + name, source):
                    yield relative + name, content
        elif file.suffix.lower() in _SUFFIXES and _wanted(relative, source):
            yield relative, file.read_bytes()


def _wanted(path: str, source: Source) -> bool:
    included = any(fnmatchcase(path, pattern) for pattern in source.include)
    return included and not any(fnmatchcase(path, pattern) for pattern in source.exclude)


def _write(selection: Selection, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    for split, crops in selection.crops.items():
        if crops:
            _save_array(output / f"crops_{split}.npy", np.stack(crops))
    images = [asdict(row) for row in selection.rows]
    with replacing(output / "manifest.json") as partial:
        partial.write_text(json.dumps({"images": images, "rejected": selection.rejected}, indent=1))
    with replacing(output / "manifest.csv") as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, [item.name for item in fields(ManifestRow)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(images)
    counts = {split: len(crops) for split, crops in selection.crops.items()}
    print(f"{len(selection.rows)} pictures, crops {counts}; rejected {selection.rejected}")


def _save_array(path: Path, array: NDArray[Any]) -> None:
    with replacing(path) as partial:
        np.save(partial, array)

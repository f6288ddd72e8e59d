"""Crops as one small file, to be carried to where they are trained on: a ZIP archive of JPEG pictures."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..superpoint.files import make_output_folder, replacing

_SPLITS = ("train", "validation")
_MANIFESTS = ("manifest.csv", "manifest.json")


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array to an ``.npy`` file, whole or not at all."""
    with replacing(path) as partial:
        np.save(partial, array)


def save_crops(folder: Path, crops: Mapping[str, Sequence[NDArray[np.uint8]]]) -> None:
    """Write ``crops_<split>.npy`` of every split that has crops to `folder`, and remove labels of earlier ones."""
    folder.mkdir(parents=True, exist_ok=True)
    # First, as nothing would show that they belong to other crops if the run were killed before it has made new ones.
    (folder / "labels_train.npy").unlink(missing_ok=True)
    for split, pictures in crops.items():
        if pictures:
            save_array(folder / f"crops_{split}.npy", np.stack(pictures))


def write_pack(folder: Path, pack: Path, quality: int) -> None:
    """Write the crops in `folder` and their manifest, which tells sources and licences, to `pack`.

    Parameters
    ----------
    folder : Path
        Where ``prepare-data`` has put ``crops_<split>.npy``.
    pack : Path
    quality : int, 1 to 100
        Of JPEG, which at equal size leaves more corners where they were than WebP.

    Raises
    ------
    ValueError
        If `folder` holds no crops, `quality` is out of range, or `pack` cannot be written there.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"the quality of pictures must be 1 to 100, got {quality}")
    arrays = [(split, folder / f"crops_{split}.npy") for split in _SPLITS if (folder / f"crops_{split}.npy").is_file()]
    if not arrays:
        raise ValueError(f"{folder}: holds no crops_train.npy; make it with prepare-data")
    make_output_folder(pack.parent)
    with replacing(pack) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for split, path in arrays:
            for index, crop in enumerate(tqdm(np.load(path, mmap_mode="r", allow_pickle=False), desc=split)):
                options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
                encoded = cv2.imencode(".jpg", crop, options)[1]
                archive.writestr(f"{split}/{index:06d}.jpg", encoded.tobytes())
        for name in _MANIFESTS:
            if (folder / name).is_file():
                archive.write(folder / name, name)
    print(f"wrote {pack}, {pack.stat().st_size / 2**20:.1f} MiB")


def read_pack(pack: Path, folder: Path) -> None:
    """Write what is in `pack` to `folder`, as ``prepare-data`` would.

    Raises
    ------
    ValueError
        If it is no pack of crops, or one of its pictures is damaged or of another size; the message names it.
    """
    try:
        with zipfile.ZipFile(pack) as archive:
            names = sorted(archive.namelist())
            crops = {split: _read_crops(archive, pack, split, names) for split in _SPLITS}
            manifests = {name: archive.read(name) for name in _MANIFESTS if name in names}
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{pack}: cannot be read as a pack of crops: {error}") from None
    if not crops["train"]:
        raise ValueError(f"{pack}: is no pack of crops: it has no pictures in train/")
    save_crops(folder, crops)
    for name, content in manifests.items():
        with replacing(folder / name) as partial:
            partial.write_bytes(content)
    print(f"{folder}: crops { ({split: len(pictures) for split, pictures in crops.items()}) }")


def _read_crops(archive: zipfile.ZipFile, pack: Path, split: str, names: list[str]) -> list[NDArray[np.uint8]]:
    crops: list[NDArray[np.uint8]] = []
    for name in names:
        if not (name.startswith(f"{split}/") and name.endswith(".jpg")):
            continue
        crop = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_GRAYSCALE)
        if crop is None or (crops and crop.shape != crops[0].shape):
            expected = f", expected one of {crops[0].shape[1]} x {crops[0].shape[0]} pixels" if crops else ""
            raise ValueError(f"{pack}: {name} is not a picture that fits{expected}")
        crops.append(np.asarray(crop, np.uint8))
    return crops

"""Image pairs with known homographies: HPatches, and photographs warped at random."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from .views import change_light, fit_photo, place_first_view, random_homography, render

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
LONGEST_SIDE = 1600
VALIDATION_CROPS = Path("data/crops_validation.npy")
SCIKIT_IMAGE_PHOTOS = (
    "astronaut",
    "brick",
    "camera",
    "chelsea",
    "coffee",
    "grass",
    "gravel",
    "motorcycle_left",
    "rocket",
)


class DatasetError(ValueError):
    """A data set is missing or malformed; the message names the folder or file and what was expected."""


@dataclass(frozen=True)
class ImagePair:
    """Two grey images of one size and how they are related.

    Attributes
    ----------
    name : str
        Unique in its data set.
    scene : str
        The photograph or sequence that it is made of: pairs of one scene are not independent.
    category : str
        "viewpoint", "illumination" or "both".
    image0, image1 : ndarray, (H, W), uint8
    homography : ndarray, (3, 3), float64
        Maps pixels of `image0` to `image1`.
    """

    name: str
    scene: str
    category: str
    image0: NDArray[np.uint8]
    image1: NDArray[np.uint8]
    homography: NDArray[np.float64]


class HomographyDataset(Protocol):
    """A fixed list of image pairs, at any size."""

    @property
    def description(self) -> str:
        """What the pairs are, for the report."""

    def __len__(self) -> int:
        """Count the pairs."""

    def pairs(self, shape: tuple[int, int]) -> Iterator[ImagePair]:
        """Yield the pairs as images of `shape` (height, width)."""


@dataclass(frozen=True)
class Photo:
    """A grey photograph, or a crop of one, that is read when it is needed.

    Attributes
    ----------
    name : str
    source : str
        The folder, file or package it comes from.
    picture : str
        The photograph it shows, which several crops may share.
    load : callable
        Returns its pixels.
    """

    name: str
    source: str
    picture: str
    load: Callable[[], NDArray[np.uint8]]


def find_photos(source: Path | None) -> list[Photo]:
    """List photographs in a fixed order.

    Parameters
    ----------
    source : Path, optional
        A folder, searched recursively, or an array file (``.npy``) of the shape (N, H, W), uint8, as
        ``prepare-data`` writes it. None: ``data/crops_validation.npy`` where it exists, else the
        photographs that come with scikit-image.

    Raises
    ------
    DatasetError
        If there are none.
    """
    if source is None:
        return photos_of_array(VALIDATION_CROPS) if VALIDATION_CROPS.is_file() else photos_of_scikit_image()
    return photos_of_array(source) if source.suffix == ".npy" else photos_of_folder(source)


def photos_of_folder(folder: Path) -> list[Photo]:
    """List the image files below a folder, by path."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not files:
        raise DatasetError(f"{folder}: no such folder, or no image files in it")
    names = [path.relative_to(folder).as_posix() for path in files]
    return [Photo(name, str(folder), name, partial(read_gray, path)) for name, path in zip(names, files)]


def photos_of_array(path: Path) -> list[Photo]:
    """List the images of an array file, by index.

    Which of them show one picture is told by the ``manifest.csv`` of ``prepare-data`` beside it, if there is one.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not an array of images: {error}") from error
    if array.ndim != 3 or array.dtype != np.uint8 or array.size == 0:
        raise DatasetError(f"{path}: expected uint8 images of shape (N, H, W), got {array.dtype} {array.shape}")
    names = [f"{path.stem} {index:04d}" for index in range(len(array))]
    pictures = _pictures(path)
    if len(pictures) != len(array):
        pictures = names
    return [
        Photo(name, str(path), picture, partial(np.asarray, image))
        for name, picture, image in zip(names, pictures, array)
    ]


def _pictures(crops: Path) -> list[str]:
    """The picture of each crop in an array of ``prepare-data``; none where no manifest tells."""
    manifest = crops.with_name("manifest.csv")
    if not manifest.is_file():
        return []
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if f"crops_{row.get('split')}" == crops.stem]
    return [f"{row['package']} {row['path']}" for row in rows for _ in range(int(row["crops"]))]


def photos_of_scikit_image() -> list[Photo]:
    """List photographs that are part of the scikit-image package."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise DatasetError(
            f"no photographs: {VALIDATION_CROPS} does not exist (python -m superpoint_ros prepare-data makes it) and "
            "scikit-image, which brings some, is not installed; name a folder of photographs with --images"
        )
    folder = Path(spec.submodule_search_locations[0]) / "data"
    files = sorted(path for path in folder.iterdir() if path.stem in SCIKIT_IMAGE_PHOTOS)
    names = [f"scikit-image {path.name}" for path in files]
    return [Photo(name, "scikit-image", name, partial(read_gray, path)) for name, path in zip(names, files)]


class WarpedPhotos:
    """Photographs under seeded random homographies and changes of light.

    A third of the pairs each are "viewpoint" (homography only), "illumination" (light only) and "both".

    Parameters
    ----------
    photos : sequence of Photo
        Each is used three times, once for each category; cycled if there are too few, evenly picked if
        there are more.
    count : int
        Number of pairs, at least 1.
    seed : int
        Same seed, same pairs.
    """

    CATEGORIES = ("viewpoint", "illumination", "both")

    def __init__(self, photos: Sequence[Photo], count: int, seed: int) -> None:
        self.photos = photos
        self.count = count
        self.seed = seed

    @property
    def description(self) -> str:
        """See :class:`HomographyDataset`."""
        used = {self._photo(index).picture for index in range(self.count)}
        every = {photo.picture for photo in self.photos}
        photos = f"{len(used)} of {len(every)} photographs of {self.photos[0].source}"
        return f"warped: {self.count} pairs from {photos}, seed {self.seed}"

    def __len__(self) -> int:
        return self.count

    def pairs(self, shape: tuple[int, int]) -> Iterator[ImagePair]:
        """See :class:`HomographyDataset`."""
        for index in range(self.count):
            yield self._pair(index, shape)

    def _photo(self, index: int) -> Photo:
        """Each photograph serves all three categories, so that they can be compared."""
        group, groups = index // len(self.CATEGORIES), -(-self.count // len(self.CATEGORIES))
        return self.photos[group * max(len(self.photos), groups) // groups % len(self.photos)]

    def _pair(self, index: int, shape: tuple[int, int]) -> ImagePair:
        category = self.CATEGORIES[index % len(self.CATEGORIES)]
        photo = self._photo(index)
        rng = np.random.default_rng([self.seed, index])
        pixels = limit_size(photo.load())
        homography = np.eye(3) if category == "illumination" else random_homography(rng, shape)
        photo_to_view = place_first_view(rng, pixels.shape, shape, homography)
        image0 = render(pixels, photo_to_view, shape)
        image1 = render(pixels, homography @ photo_to_view, shape)
        if category != "viewpoint":
            image1 = change_light(rng, image1)
        return ImagePair(f"{index:04d} {photo.name}", photo.picture, category, image0, image1, homography)


class HPatches:
    """HPatches' full sequences: folders ``i_*`` and ``v_*`` with images 1 to 6 and ``H_1_2`` to ``H_1_6``.

    Images are cut about their centre to the aspect ratio asked for and resized; the homographies follow.

    Parameters
    ----------
    directory : Path
        Holds the sequence folders.
    count : int, optional
        Take this many pairs, evenly spread over all; None takes all.

    Raises
    ------
    DatasetError
        If the folder has no sequences or a sequence lacks a file.
    """

    def __init__(self, directory: Path, count: int | None = None) -> None:
        sequences = sorted(path for path in directory.glob("[iv]_*") if path.is_dir())
        if not sequences:
            raise DatasetError(f"{directory}: no HPatches sequences (folders named i_* or v_*) found")
        every = [(sequence, number) for sequence in sequences for number in range(2, 7)]
        count = len(every) if count is None else min(count, len(every))
        self.directory = directory
        self.chosen = [every[index * len(every) // count] for index in range(count)]
        for sequence, number in self.chosen:
            for path in (_hpatches_image(sequence, 1), _hpatches_image(sequence, number)):
                if not path.is_file():
                    raise DatasetError(f"{path}: missing; an HPatches sequence has the images 1.ppm to 6.ppm")
            read_homography(sequence / f"H_1_{number}")

    @property
    def description(self) -> str:
        """See :class:`HomographyDataset`."""
        sequences = {sequence for sequence, _ in self.chosen}
        return f"HPatches: {len(self.chosen)} pairs of {len(sequences)} sequences"

    def __len__(self) -> int:
        return len(self.chosen)

    def pairs(self, shape: tuple[int, int]) -> Iterator[ImagePair]:
        """See :class:`HomographyDataset`."""
        for sequence, number in self.chosen:
            image0, to_image0 = fit_photo(read_gray(_hpatches_image(sequence, 1)), shape)
            image1, to_image1 = fit_photo(read_gray(_hpatches_image(sequence, number)), shape)
            homography = to_image1 @ read_homography(sequence / f"H_1_{number}") @ np.linalg.inv(to_image0)
            category = "illumination" if sequence.name.startswith("i") else "viewpoint"
            yield ImagePair(f"{sequence.name} 1-{number}", sequence.name, category, image0, image1, homography)


def _hpatches_image(sequence: Path, number: int) -> Path:
    found = (path for path in sequence.glob(f"{number}.*") if path.suffix.lower() in IMAGE_SUFFIXES)
    return next(found, sequence / f"{number}.ppm")


def read_homography(path: Path) -> NDArray[np.float64]:
    """Read a text file of 3 x 3 numbers.

    Raises
    ------
    DatasetError
        If it is missing or holds anything else.
    """
    try:
        matrix = np.array(path.read_text(encoding="ascii").split(), np.float64)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not a homography: {error}") from error
    if matrix.size != 9 or not np.isfinite(matrix).all() or np.linalg.det(matrix.reshape(3, 3)) == 0:
        raise DatasetError(f"{path}: expected an invertible matrix of 3 x 3 numbers")
    return matrix.reshape(3, 3)


def read_gray(path: Path) -> NDArray[np.uint8]:
    """Read an image file as luminance, 8 bits, with its pixels as they are stored.

    A note in the file on how to turn it (EXIF) is ignored: calibrations, poses and homographies are of stored pixels.

    Raises
    ------
    DatasetError
        If it is missing or cannot be decoded.
    """
    try:
        encoded = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}") from error
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(encoded, flags) if encoded.size else None
    if image is None:
        raise DatasetError(f"{path}: not an image that OpenCV can read")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)


def limit_size(photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink large photographs to a longer side of 1600 pixels: views need no more, and warping gets fast."""
    scale = LONGEST_SIDE / max(photo.shape)
    if scale >= 1:
        return photo
    return np.asarray(cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)

"""The pairs really have the homography they claim, and bad data is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpoint_ros.evaluation.datasets import (
    DatasetError,
    HPatches,
    ImagePair,
    WarpedPhotos,
    find_photos,
    photos_of_scikit_image,
    read_gray,
)
from superpoint_ros.evaluation.views import fit_photo, place_first_view, random_homography, render
from superpoint_ros.geometry import warp_points

SIZES = ((120, 160), (240, 320))


def photograph(height: int = 480, width: int = 640, seed: int = 0) -> np.ndarray:
    """Structure at several scales, smooth enough to be resampled with little loss."""
    rng = np.random.default_rng(seed)
    image = sum(
        (cv2.resize(rng.uniform(size=(height // size, width // size)), (width, height), interpolation=cv2.INTER_CUBIC))
        for size in (12, 24, 48)
    )
    return np.uint8(np.clip(image / 3, 0, 1) * 255)


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.jpg", "more/c.png")):
        cv2.imwrite(str(folder / name), photograph(seed=index))
    (folder / "readme.txt").write_text("no image")
    return folder


def difference(pair: ImagePair) -> float:
    """Mean grey level difference where the second image shows what the first does."""
    height, width = pair.image0.shape
    warped = cv2.warpPerspective(pair.image0.astype(np.float32), pair.homography, (width, height))
    mask = cv2.warpPerspective(np.ones(pair.image0.shape, np.uint8), pair.homography, (width, height))
    mask = cv2.erode(mask, np.ones((5, 5)), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    assert mask.mean() > 0.1
    return float(np.abs(warped - pair.image1)[mask].mean())


@pytest.mark.parametrize("shape", SIZES)
def test_warped_pairs_obey_their_homography(photo_folder: Path, shape: tuple[int, int]) -> None:
    pairs = list(WarpedPhotos(find_photos(photo_folder), 9, seed=0).pairs(shape))
    assert [pair.category for pair in pairs] == ["viewpoint", "illumination", "both"] * 3
    assert {pair.image0.shape for pair in pairs} == {pair.image1.shape for pair in pairs} == {shape}
    assert len({pair.name for pair in pairs}) == 9
    for pair in pairs:
        is_identity = np.array_equal(pair.homography, np.eye(3))
        assert is_identity == (pair.category == "illumination")
        if pair.category == "viewpoint":
            assert difference(pair) < 3
        else:
            assert not np.array_equal(pair.image0, pair.image1)


def test_a_wrong_homography_would_be_noticed(photo_folder: Path) -> None:
    pair = next(WarpedPhotos(find_photos(photo_folder), 3, seed=0).pairs((240, 320)))
    shifted = np.array([[1, 0, 1.5], [0, 1, 0], [0, 0, 1]]) @ pair.homography
    wrong = replace(pair, homography=shifted)
    assert difference(wrong) > 1.5 * difference(pair)


def test_the_seed_decides(photo_folder: Path) -> None:
    def images(seed: int) -> list[np.ndarray]:
        return [pair.image1 for pair in WarpedPhotos(find_photos(photo_folder), 3, seed).pairs((120, 160))]

    for first, again, other in zip(images(7), images(7), images(8)):
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)


def test_the_same_view_is_drawn_at_every_size() -> None:
    small, large = (random_homography(np.random.default_rng(5), shape) for shape in ((240, 320), (480, 640)))
    points = np.array([[-0.5, -0.5], [100, 50], [319.5, 239.5]])
    enlarged = warp_points((points + 0.5) * 2 - 0.5, large)
    np.testing.assert_allclose((warp_points(points, small) + 0.5) * 2 - 0.5, enlarged, atol=1.5)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), large=st.booleans())
def test_the_first_view_lies_in_the_photo_and_both_do_where_it_is_large(seed: int, large: bool) -> None:
    rng = np.random.default_rng(seed)
    shape, photo_shape = (240, 320), (1200, 1600) if large else (240, 320)
    homography = random_homography(rng, shape)
    to_photo = np.linalg.inv(place_first_view(rng, photo_shape, shape, homography))
    corners = np.array([[-0.5, -0.5], [319.5, -0.5], [319.5, 239.5], [-0.5, 239.5]])
    placed = [warp_points(corners, to_photo)]
    if large:
        placed.append(warp_points(warp_points(corners, np.linalg.inv(homography)), to_photo))
    for points in placed:
        assert (points >= -0.5 - 1e-6).all()
        assert (points <= np.array(photo_shape[::-1]) - 0.5 + 1e-6).all()


def test_rendering_shrinks_without_aliasing() -> None:
    stripes = np.tile(np.uint8([0, 255]), (400, 200))
    to_view = np.array([[0.25, 0, -0.375], [0, 0.25, -0.375], [0, 0, 1]])
    np.testing.assert_allclose(render(stripes, to_view, (100, 100)), 127.5, atol=1)


@pytest.mark.parametrize("size", [(480, 640), (600, 500), (300, 900), (100, 130), (241, 320)])
def test_fitting_a_photo_keeps_track_of_coordinates(size: tuple[int, int]) -> None:
    y, x = np.mgrid[: size[0], : size[1]]
    ramps = [np.uint8(np.rint(x * 200 / size[1])), np.uint8(np.rint(y * 200 / size[0]))]
    fitted = [fit_photo(ramp, (240, 320)) for ramp in ramps]
    points = np.array([[100.0, 100], [30, 200], [300, 20]])
    original = warp_points(points, np.linalg.inv(fitted[0][1]))
    for axis, (image, _) in enumerate(fitted):
        assert image.shape == (240, 320)
        values = [float(image[int(v), int(u)]) for u, v in points]
        np.testing.assert_allclose(values, original[:, axis] * 200 / size[1 - axis], atol=1.5)


@pytest.fixture
def hpatches(tmp_path: Path) -> Path:
    """Two sequences in HPatches' layout, of known homographies and sizes that need cutting."""
    for sequence in ("i_light", "v_move"):
        folder = tmp_path / "hpatches" / sequence
        folder.mkdir(parents=True)
        photo = photograph(400, 700)
        cv2.imwrite(str(folder / "1.ppm"), cv2.cvtColor(photo, cv2.COLOR_GRAY2BGR))
        for number in range(2, 7):
            homography = np.eye(3)
            if sequence.startswith("v"):
                homography = np.array([[1, 0.02 * number, 5], [0, 1 + 0.02 * number, -4], [1e-5 * number, 0, 1]])
            shape = (400 + 10 * number, 700)
            view = cv2.cvtColor(render(photo, homography, shape), cv2.COLOR_GRAY2BGR)
            cv2.imwrite(str(folder / f"{number}.ppm"), view)
            np.savetxt(folder / f"H_1_{number}", homography)
    return tmp_path / "hpatches"


@pytest.mark.parametrize("shape", SIZES)
def test_hpatches_pairs_obey_their_homography(hpatches: Path, shape: tuple[int, int]) -> None:
    pairs = list(HPatches(hpatches).pairs(shape))
    assert [pair.category for pair in pairs] == ["illumination"] * 5 + ["viewpoint"] * 5
    assert all(pair.image0.shape == pair.image1.shape == shape for pair in pairs)
    assert max(difference(pair) for pair in pairs) < 3


def test_some_hpatches_pairs_are_spread_over_all(hpatches: Path) -> None:
    dataset = HPatches(hpatches, 4)
    assert len(dataset) == len(list(dataset.pairs((120, 160)))) == 4
    assert {pair.category for pair in dataset.pairs((120, 160))} == {"illumination", "viewpoint"}
    assert len(HPatches(hpatches, 1000)) == 10


def test_hpatches_faults_are_named(hpatches: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere: no HPatches sequences"):
        HPatches(tmp_path / "nowhere")
    (hpatches / "v_move" / "H_1_3").write_text("1 0 0 0 1 0")
    with pytest.raises(DatasetError, match="H_1_3: expected"):
        HPatches(hpatches)
    (hpatches / "v_move" / "H_1_3").unlink()
    with pytest.raises(DatasetError, match="H_1_3: not a homography"):
        HPatches(hpatches)
    (hpatches / "i_light" / "4.ppm").unlink()
    with pytest.raises(DatasetError, match=r"4\.ppm: missing"):
        HPatches(hpatches)


def test_photographs_of_a_folder_or_an_array(photo_folder: Path, tmp_path: Path) -> None:
    assert [photo.name for photo in find_photos(photo_folder)] == ["a.png", "b.jpg", "more/c.png"]
    crops = np.stack([photograph(seed=index) for index in range(2)])
    np.save(tmp_path / "crops.npy", crops)
    photos = find_photos(tmp_path / "crops.npy")
    assert len(photos) == 2
    np.testing.assert_array_equal(photos[1].load(), crops[1])


@pytest.mark.parametrize(
    ("crops_of_first", "scenes"),
    [(2, ["x a.png", "x a.png", "x b.png"]), (3, [f"crops_validation 000{i}" for i in range(3)])],
)
def test_crops_of_one_picture_are_one_scene(tmp_path: Path, crops_of_first: int, scenes: list[str]) -> None:
    """Not where the manifest is that of other crops."""
    np.save(tmp_path / "crops_validation.npy", np.stack([photograph(seed=index) for index in range(3)]))
    (tmp_path / "manifest.csv").write_text(
        "split,package,version,path,licence,crops\n"
        f"validation,x,1,a.png,CC0-1.0,{crops_of_first}\nvalidation,x,1,b.png,CC0-1.0,1\ntrain,x,1,c.png,CC0-1.0,5\n"
    )
    dataset = WarpedPhotos(find_photos(tmp_path / "crops_validation.npy"), 9, seed=0)
    assert [pair.scene for pair in dataset.pairs((120, 160))] == [scene for scene in scenes for _ in range(3)]
    count = len(set(scenes))
    assert f"{count} of {count} photographs" in dataset.description


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere", None, "no such folder"),
        ("missing.npy", None, "not an array"),
        ("text.npy", b"not an array", "not an array"),
    ],
)
def test_missing_photographs_are_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=f"{name}: {message}"):
        find_photos(tmp_path / name)


def test_an_array_of_another_kind_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "floats.npy", np.zeros((2, 10, 10)))
    with pytest.raises(DatasetError, match="uint8"):
        find_photos(tmp_path / "floats.npy")


@pytest.mark.parametrize("content", [b"", b"GIF89a no image", None])
def test_a_broken_image_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"broken\.png"):
        read_gray(path)


def test_scikit_image_brings_photographs() -> None:
    pytest.importorskip("skimage", reason="needs scikit-image")
    photos = photos_of_scikit_image()
    assert len(photos) >= 5
    assert all(min(photo.load().shape) >= 300 for photo in photos)


def test_images_are_read_as_stored_whatever_their_orientation_tag_says(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow writes the orientation tag")
    image, tag = pillow.fromarray(photograph(120, 160)), pillow.Exif()
    tag[0x0112] = 6  # to be turned clockwise for viewing
    image.save(tmp_path / "plain.jpg")
    image.save(tmp_path / "tagged.jpg", exif=tag)
    assert cv2.imread(str(tmp_path / "tagged.jpg")).shape[:2] == (160, 120)
    assert np.array_equal(read_gray(tmp_path / "tagged.jpg"), read_gray(tmp_path / "plain.jpg"))


@pytest.mark.parametrize("kind", ["folder", "array", "prepared", "package"])
def test_the_description_names_where_photographs_come_from(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    pytest.importorskip("skimage", reason="needs scikit-image")
    monkeypatch.chdir(tmp_path)
    array = tmp_path / "data" / "crops_validation.npy"
    if kind != "package":
        array.parent.mkdir()
        np.save(array, photograph()[None])
    given, expected = {
        "folder": (photo_folder, str(photo_folder)),
        "array": (array, str(array)),
        "prepared": (None, "data/crops_validation.npy"),
        "package": (None, "scikit-image"),
    }[kind]
    assert f"photographs of {expected}, seed 0" in WarpedPhotos(find_photos(given), 3, seed=0).description

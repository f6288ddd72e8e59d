import csv
import re
import shutil
import struct
import subprocess
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from superpoint_ros.__main__ import main
from superpoint_ros.training.archives import read_rcc, read_zip
from superpoint_ros.training.crop_packs import read_pack, write_pack
from superpoint_ros.training.data_configuration import DataConfig
from superpoint_ros.training.licences import licence_class, licence_of, parse_copyright
from superpoint_ros.training.pictures import CropOptions, cut_crops, image_hash, unsuitable
from superpoint_ros.training.prepare import prepare
from superpoint_ros.training.yaml_files import read_dataclass

COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: pictures

Files: *
Copyright: 2020 Somebody
License: GPL-2+

Files: photos/*.jpg
       extra/one.png
Copyright: 2021 Somebody Else
License: CC-BY-4.0
 The text of the licence.

Files: photos/secret.jpg
Copyright: 2022 Nobody
License: CC-BY-NC-4.0
"""


def photo(seed: int, height: int = 150, width: int = 200) -> np.ndarray:
    """Random texture with detail at all scales, as photographs have."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width), np.float32)
    for cells in (4, 9, 20, 45):
        coarse = rng.normal(size=(cells, cells)).astype(np.float32)
        image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.clip(128 + 30 * image, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("path", "licence"),
    [
        ("usr/share/x/photos/a.jpg", "CC-BY-4.0"),
        ("usr/share/x/photos/a.jpg", "CC-BY-4.0"),
        ("usr/share/x/photos/secret.jpg", "CC-BY-NC-4.0"),
        ("usr/share/x/extra/one.png", "CC-BY-4.0"),
        ("usr/share/x/other/two.png", "GPL-2+"),
        ("usr/share/x/base/textures.pk3/photos/a.jpg", "CC-BY-4.0"),
        ("usr/share/x/other/one.png", "GPL-2+"),
    ],
)
def test_last_matching_paragraph_names_the_licence(path: str, licence: str) -> None:
    assert licence_of(path, parse_copyright(COPYRIGHT)) == licence


def test_the_bare_name_counts_where_no_pattern_matches() -> None:
    without_all = parse_copyright(COPYRIGHT.replace("Files: *", "Files: src/*"))
    assert licence_of("usr/share/backgrounds/one.jpg", without_all) == "CC-BY-4.0"
    assert licence_of("usr/share/backgrounds/secret.jpg", without_all) == "CC-BY-NC-4.0"
    assert licence_of("usr/share/backgrounds/unknown.jpg", without_all) is None


def test_copyright_in_prose_names_nothing() -> None:
    assert parse_copyright("This package was debianized by ...\n\nFiles: *\nLicense: MIT\n") == []
    assert licence_of("a.png", []) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CC0-1.0", "permissive"),
        ("public-domain", "permissive"),
        ("CC-BY-4.0 and CC-BY-3.0", "permissive"),
        ("CC-BY-SA-3.0", "share_alike"),
        ("GPL-3+ or CC-BY-3.0", "permissive"),
        ("GPL-2+ and CC0", "share_alike"),
        ("Apache-2.0 AND BSD-3-Clause", "permissive"),
        ("CC-BY-NC-SA-3.0", "unsuitable"),
        ("CC-BY-ND-4.0", "unsuitable"),
        ("GPL", "unsuitable"),
        ("CC-BY-3.0 and CC-sampling-plus-1.0", "unsuitable"),
        ("", "unsuitable"),
    ],
)
def test_licence_classes(name: str, expected: str) -> None:
    assert licence_class(name) == expected


def test_unsuitable_pictures_are_named_so() -> None:
    options = CropOptions(height=96, width=128, per_image=4)
    good = photo(0)
    transparent = np.dstack([good, good, good, np.where(good > 128, 255, 0).astype(np.uint8)])
    assert unsuitable(good, options) is None
    assert unsuitable(good[:60], options) == "too small"
    assert unsuitable(transparent, options) == "transparent"
    assert unsuitable(np.full_like(good, 90), options) == "too flat"
    assert unsuitable(np.where(good > 180, 255, 0).astype(np.uint8), options) == "drawing, text or logo"


def test_crops_have_the_asked_size_and_number() -> None:
    options = CropOptions(height=96, width=128, per_image=3, scales=(1.0, 2.0), min_corners=5)
    crops = cut_crops(photo(1, 400, 500), options, np.random.default_rng(0))
    assert len(crops) == 3
    assert all(crop.shape == (96, 128) and crop.dtype == np.uint8 for crop in crops)


def test_hash_survives_resizing_but_not_another_picture() -> None:
    first = cv2.GaussianBlur(photo(0, 300, 400), (0, 0), 4)
    smaller = cv2.resize(first, (200, 150), interpolation=cv2.INTER_AREA)
    assert (image_hash(first) ^ image_hash(smaller)).bit_count() < 5
    assert (image_hash(first) ^ image_hash(photo(1, 300, 400))).bit_count() > 10


def make_package(folder: Path, files: dict[str, np.ndarray]) -> None:
    for name, image in files.items():
        path = folder / "usr/share/x" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), image)
    (folder / "usr/share/doc/x").mkdir(parents=True)
    (folder / "usr/share/doc/x/copyright").write_text(COPYRIGHT)


def write_config(path: Path, sources: list[dict]) -> Path:
    crop = {"height": 96, "width": 128, "per_image": 2, "scales": [1.0], "min_corners": 5}
    config = {
        "seed": 1,
        "licence_classes": ["permissive"],
        "crops": {"train": crop, "validation": crop},
        "labels": {"seed": 7, "views": 3, "network_floor": 0.0},
        "sources": sources,
    }
    path.write_text(yaml.safe_dump(config))
    return path


def prepare_from(path: Path, output: Path) -> None:
    prepare(read_dataclass(path, DataConfig), output)


def test_prepare_keeps_free_new_and_usable_pictures(tmp_path: Path) -> None:
    make_package(
        tmp_path / "train",
        {
            "photos/a.jpg": photo(1),
            "photos/copy.jpg": cv2.resize(photo(1), (400, 300)),
            "photos/secret.jpg": photo(2),
            "photos/held_out.jpg": photo(3),
            "photos/flat.jpg": np.full((150, 200), 80, np.uint8),
            "copyleft/b.png": photo(4),
        },
    )
    make_package(tmp_path / "check", {"photos/same_as_held_out.jpg": photo(3)})
    sources = [
        {"name": "training", "kind": "folder", "module": str(tmp_path / "train"), "split": "train"},
        {"name": "checking", "kind": "folder", "module": str(tmp_path / "check"), "split": "validation"},
    ]
    prepare_from(write_config(tmp_path / "data.yaml", sources), tmp_path / "out")
    with (tmp_path / "out/manifest.csv").open() as file:
        rows = [(row["split"], row["path"], row["licence"], int(row["crops"])) for row in csv.DictReader(file)]
    assert [row[:3] for row in rows] == [
        ("validation", "usr/share/x/photos/same_as_held_out.jpg", "CC-BY-4.0"),
        ("train", "usr/share/x/photos/a.jpg", "CC-BY-4.0"),
    ]
    assert len(np.load(tmp_path / "out/crops_train.npy")) == rows[1][3]
    assert np.load(tmp_path / "out/crops_validation.npy").shape[1:] == (96, 128)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_debian_packages_are_unpacked(tmp_path: Path) -> None:
    make_package(tmp_path / "tree", {"photos/a.jpg": photo(1)})
    (tmp_path / "tree/DEBIAN").mkdir()
    fields = ("Package: pictures", "Version: 1:2.0-3", "Architecture: all", "Maintainer: a <a@b.c>", "Description: d")
    (tmp_path / "tree/DEBIAN/control").write_text("\n".join(fields) + "\n")
    archive = tmp_path / "out/packages/pictures_1%3a2.0-3_all.deb"
    archive.parent.mkdir(parents=True)
    subprocess.run(["dpkg-deb", "--build", tmp_path / "tree", archive], check=True, capture_output=True)
    config = write_config(tmp_path / "data.yaml", [{"name": "pictures", "kind": "debian", "split": "train"}])
    prepare_from(config, tmp_path / "out")
    with (tmp_path / "out/manifest.csv").open() as file:
        assert [(row["path"], row["version"]) for row in csv.DictReader(file)] == [
            ("usr/share/x/photos/a.jpg", "1:2.0-3")
        ]


def test_package_that_cannot_be_unpacked_is_named(tmp_path: Path) -> None:
    (tmp_path / "out/packages").mkdir(parents=True)
    (tmp_path / "out/packages/pictures_2.0-3_all.deb").write_bytes(b"cut off")
    config = write_config(tmp_path / "data.yaml", [{"name": "pictures", "kind": "debian", "split": "train"}])
    with pytest.raises(ValueError, match=r"source 'pictures': 'dpkg-deb .*pictures_2\.0-3_all\.deb"):
        prepare_from(config, tmp_path / "out")


@pytest.mark.parametrize("detector", ["corners", "random"])
def test_the_command_labels_the_crops_again(tmp_path: Path, detector: str) -> None:
    square = np.full((2, 96, 128), 60, np.uint8)
    square[:, 30:60, 40:80] = 200
    np.save(tmp_path / "crops_train.npy", square)
    config = write_config(tmp_path / "data.yaml", [])
    arguments = ["--config", config, "--output", tmp_path, "--labels-only", "--detector", detector, "--device", "cpu"]
    assert main(["prepare-data", *map(str, arguments)]) == 0
    labels = np.load(tmp_path / "labels_train.npy")
    assert labels.shape == (2, 400, 3)
    if detector == "corners":
        assert ((labels[..., 2] > 0).sum(1) == 4).all()


def test_labels_go_where_the_command_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "crops_train.npy", np.full((1, 96, 128), 60, np.uint8))
    config = write_config(tmp_path / "data.yaml", [])
    arguments = ["prepare-data", "--config", str(config), "--output", str(tmp_path), "--labels-only", "--labels"]
    assert main([*arguments, str(tmp_path / "own.npy")]) == 0
    assert np.load(tmp_path / "own.npy").shape == (1, 400, 3)
    assert not (tmp_path / "labels_train.npy").exists()
    assert main([*arguments, str(tmp_path / "other.npy"), "--detector", "nowhere"]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert main([*arguments, "/proc/nope/own.npy"]) == 1
    assert "/proc/nope: must be a folder that can be written to" in capsys.readouterr().err
    assert main([*arguments, str(tmp_path / "own")]) == 1
    assert "own: --labels must end in .npy" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"kind": "ftp"}, "kind: expected one of debian, python, folder, got 'ftp'"),
        ({"kind": "debian", "split": "test"}, "split: expected one of train, validation, got 'test'"),
        ({"kind": "debian", "color": "red"}, "unknown field color"),
        ({}, "missing field kind"),
        ({"kind": "folder", "module": "absent"}, "module: absent is no folder"),
        ({"kind": "folder"}, "kind folder needs module"),  # which would be the current folder
        ({"kind": "python"}, "kind python needs module"),
        ({"kind": "debian", "include": "*.png"}, r"include: expected a list, got '\*\.png'"),  # each letter a pattern
        ({"kind": "debian", "exclude": ["*logo*", 3]}, "exclude: number 2: expected text, got 3"),
    ],
)
def test_faulty_source_is_named_and_changes_nothing(
    tmp_path: Path, entry: dict, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path / "data.yaml", [{"name": "mine", "split": "train", **entry}])
    assert main(["prepare-data", "--config", str(config), "--output", str(tmp_path / "out"), "--device", "cpu"]) == 1
    assert re.search(rf"data\.yaml: sources: 'mine': {message}", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": None}, "seed: expected a whole number, got None"),
        ({"licence_classes": ["free"]}, "licence_classes: number 1: expected one of permissive, .*, got 'free'"),
        ({"sources": None}, "sources: expected a list, got None"),
        ({"sources": ["x"]}, "sources: number 1: expected a mapping, got 'x'"),
        ({"sources": [{"kind": "debian"}]}, "sources: number 1: missing field name, split"),
        ({"crops": {}}, "crops: missing field train, validation"),
        ({"crops": {"train": {"height": 96, "colour": 1}, "validation": {}}}, "crops: train: unknown field colour"),
        (
            {"crops": {"train": {"height": "tall", "width": 128, "per_image": 2}, "validation": {}}},
            "crops: train: height: expected a whole number, got 'tall'",
        ),
        ({"crops": {"train": {"height": 96}, "validation": {}}}, "crops: train: missing field width, per_image"),
        ({"labels": None}, "labels: expected a mapping, got None"),
        ({"labels": {"views": 3}}, "labels: missing field seed"),
        ({"labels": {"seed": 7, "view": 3}}, "labels: unknown field view"),
        ({"pictures": []}, "unknown field pictures"),
    ],
)
def test_faulty_section_is_named_and_changes_nothing(
    tmp_path: Path, changes: dict, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {"name": "mine", "kind": "folder", "module": str(tmp_path), "split": "train"}
    config = write_config(tmp_path / "data.yaml", [entry])
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | changes))
    for more in ((), ("--labels-only",)):
        arguments = ["--config", str(config), "--output", str(tmp_path / "out"), "--device", "cpu", *more]
        assert main(["prepare-data", *arguments]) == 1
        assert re.search(rf"data\.yaml: {message}\n", capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "reason"), [("sources: [\n", "not a YAML file: .* line 2"), ("", "expected a mapping, got None")]
)
def test_what_is_no_configuration_of_data_is_named(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"data\.yaml: {reason}"):
        read_dataclass(tmp_path / "data.yaml", DataConfig)


def test_the_shipped_configuration_of_data_is_valid() -> None:
    config = read_dataclass(Path("config/training/data.yaml"), DataConfig)
    assert len({(source.name, source.include) for source in config.sources}) == len(config.sources) > 20
    assert config.crops.validation.scales == (1.0, 1.8)


@pytest.mark.parametrize("empty", ["train", "validation"])
def test_split_without_crops_is_refused_and_changes_nothing(tmp_path: Path, empty: str) -> None:
    sources = []
    for seed, split in enumerate(("train", "validation")):
        image = np.full((150, 200), 80, np.uint8) if split == empty else photo(seed)
        make_package(tmp_path / split, {"photos/a.png": image})
        folder = str(tmp_path / split)
        sources.append({"name": split, "kind": "folder", "module": folder, "split": split, "licence": "CC0-1.0"})
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json").write_text("old")
    with pytest.raises(ValueError, match=rf"no crops for {empty}; .*too flat"):
        prepare_from(write_config(tmp_path / "data.yaml", sources), out)
    assert [path.name for path in out.iterdir()] == ["manifest.json"]
    assert (out / "manifest.json").read_text() == "old"


def qt_collection(files: dict[str, bytes]) -> bytes:
    """Build a version 1 resource collection with all files in its root, every second one compressed."""
    names, data, nodes = b"", b"", struct.pack(">IHII", 0, 2, len(files), 1)
    for index, (name, content) in enumerate(files.items()):
        packed = struct.pack(">I", len(content)) + zlib.compress(content) if index % 2 else content
        nodes += struct.pack(">IHHHI", len(names), index % 2, 0, 0, len(data))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        data += struct.pack(">I", len(packed)) + packed
    header = struct.pack(">4s4I", b"qres", 1, 20, 20 + len(nodes), 20 + len(nodes) + len(data))
    return header + nodes + data + names


def test_qt_collections_are_read(tmp_path: Path) -> None:
    files = {"a.jpg": b"first", "b.png": b"second" * 20, "ü.jpg": b""}
    (tmp_path / "x.rcc").write_bytes(qt_collection(files))
    assert dict(read_rcc(tmp_path / "x.rcc")) == {f"/{name}": content for name, content in files.items()}


def test_zip_archives_are_read(tmp_path: Path) -> None:
    files = {"textures/a.jpg": b"first", "b.png": b""}
    with zipfile.ZipFile(tmp_path / "x.pk3", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    assert dict(read_zip(tmp_path / "x.pk3")) == {f"/{name}": content for name, content in files.items()}
    (tmp_path / "y.pk3").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"y\.pk3"):
        list(read_zip(tmp_path / "y.pk3"))


@pytest.mark.parametrize("content", [b"", b"qres", b"PK\x03\x04" + bytes(40), b"qres" + struct.pack(">4I", 9, 0, 0, 0)])
def test_other_files_are_no_qt_collections(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.rcc").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.rcc"):
        list(read_rcc(tmp_path / "x.rcc"))


def test_crops_come_out_of_a_pack_nearly_as_they_went_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    crops = {"train": np.stack([photo(seed, 96, 128) for seed in range(3)]), "validation": photo(9, 120, 160)[None]}
    for split, array in crops.items():
        np.save(there / f"crops_{split}.npy", array)
    (there / "manifest.csv").write_text("split,package\n")
    pack = tmp_path / "crops.zip"
    assert main(["prepare-data", "--output", str(there), "--pack", str(pack), "--quality", "90"]) == 0
    config = write_config(tmp_path / "data.yaml", [{"name": "x", "kind": "folder", "module": "x", "split": "train"}])
    assert main(["prepare-data", "--config", str(config), "--output", str(here), "--unpack", str(pack)]) == 0
    for split, array in crops.items():
        found = np.load(here / f"crops_{split}.npy")
        assert found.shape == array.shape
        assert np.abs(found.astype(float) - array).mean() < 3
    assert (here / "manifest.csv").read_text() == "split,package\n"
    assert np.load(here / "labels_train.npy").shape == (3, 400, 3)
    assert pack.stat().st_size < crops["train"].nbytes


@pytest.mark.parametrize("source", ["folder", "pack"])
def test_new_crops_are_never_beside_labels_of_others(tmp_path: Path, source: str) -> None:
    out, pictures = tmp_path / "out", tmp_path / "pictures"
    for folder in (out, pictures):
        folder.mkdir()
    (out / "labels_train.npy").write_bytes(b"of other crops")
    if source == "pack":
        np.save(pictures / "crops_train.npy", photo(1, 96, 128)[None])
        write_pack(pictures, tmp_path / "crops.zip", 75)
        read_pack(tmp_path / "crops.zip", out)
    else:
        assert cv2.imwrite(str(pictures / "a.png"), photo(1))
        entry = {"name": "mine", "kind": "folder", "module": str(pictures), "split": "train", "licence": "CC0-1.0"}
        prepare_from(write_config(tmp_path / "data.yaml", [entry]), out)
    assert (out / "crops_train.npy").is_file()
    assert not (out / "labels_train.npy").exists()


def test_what_is_no_pack_of_crops_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no crops_train\.npy"):
        write_pack(tmp_path, tmp_path / "crops.zip", 75)
    np.save(tmp_path / "crops_train.npy", photo(0, 64, 64)[None])
    with pytest.raises(ValueError, match="1 to 100, got 0"):
        write_pack(tmp_path, tmp_path / "crops.zip", 0)
    with pytest.raises(ValueError, match=r"crops_train\.npy: must be a folder"):
        write_pack(tmp_path, tmp_path / "crops_train.npy" / "crops.zip", 75)
    assert not (tmp_path / "crops.zip").exists()
    pack, folder = tmp_path / "other.zip", tmp_path / "folder"
    with pytest.raises(ValueError, match=r"other\.zip: cannot be read"):
        read_pack(pack, folder)
    with zipfile.ZipFile(pack, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(ValueError, match="no pictures in train/"):
        read_pack(pack, folder)
    with zipfile.ZipFile(pack, "w") as archive:
        archive.writestr("train/000000.jpg", cv2.imencode(".jpg", photo(0, 64, 64))[1].tobytes())
        archive.writestr("train/000001.jpg", b"no picture")
    with pytest.raises(ValueError, match=r"train/000001\.jpg is not a picture.*64 x 64"):
        read_pack(pack, folder)
    assert not folder.exists()

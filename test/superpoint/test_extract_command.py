"""The command line finds keypoints in files and refuses what is none."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint_ros.__main__ import main
from superpoint_ros.superpoint import Features, SuperPointExtractor
from superpoint_ros.superpoint.overlay import draw_overlay


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8))
    return path


def extract(*arguments: object) -> int:
    return main(["extract", *map(str, arguments), "--weights", "random", "--device", "cpu"])


def test_extract_writes_arrays_and_a_picture(picture: Path, tmp_path: Path, capsys) -> None:
    assert extract(picture, "--output", tmp_path / "out", "--overlay", tmp_path / "o.png", "--max-keypoints", 9) == 0
    with np.load(tmp_path / "out" / "picture.npz") as features:
        assert features["keypoints"].shape == (9, 2)
        assert features["descriptors"].shape == (9, 256)
        assert features["image_size"].tolist() == [80, 64]
        assert str(features["model"]).startswith("superpoint_ros/random@")
    overlay = cv2.imread(str(tmp_path / "o.png"))
    assert overlay.shape == (64, 80, 3)
    assert (overlay != cv2.imread(str(picture))).any()
    assert "picture.png: 9 keypoints" in capsys.readouterr().out


def test_several_images_make_a_folder_of_pictures(picture: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jpg"
    cv2.imwrite(str(other), np.zeros((32, 32), np.uint8))
    assert extract(picture, other, "--overlay", tmp_path / "pictures") == 0
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["other.png", "picture.png"]


def test_outputs_that_would_overwrite_each_other_are_refused(picture: Path, tmp_path: Path, capsys) -> None:
    assert extract(picture, picture, "--output", tmp_path / "out") == 1
    assert "two images are called 'picture'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_files_and_folders_are_told_apart(picture: Path, tmp_path: Path, capsys) -> None:
    other = tmp_path / "other.png"
    other.write_bytes(picture.read_bytes())
    assert extract(picture, other, "--overlay", tmp_path / "new.png") == 1
    assert "new.png: --overlay takes a folder if there are several images" in capsys.readouterr().err
    assert extract(picture, "--output", other) == 1
    assert "other.png: is a file; --output takes a folder" in capsys.readouterr().err
    assert extract(tmp_path) == 1
    assert f"{tmp_path}: is a folder; give the image files" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.png", "picture.png"]


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, [], "broken.png: no such file"),
        ("no image", [], "broken.png: not an image"),
        ("image", ["--threshold", "2"], "threshold must be a number in"),
        ("image", ["--overlay", "picture.txt"], "the suffix must be that of an image format"),
        ("image", ["elsewhere/broken.png", "--output", "out"], "elsewhere/broken.png: no such file"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(picture: Path, tmp_path: Path, capsys, content, options, message) -> None:
    path = tmp_path / "broken.png"
    if content == "image":
        path.write_bytes(picture.read_bytes())
    elif content:
        path.write_text(content)
    assert extract(path, *options) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["FILE/below", "/proc/nope"])
@pytest.mark.parametrize(("option", "name"), [("--output", ""), ("--overlay", "/overlay.png")])
def test_an_unusable_output_is_named_before_anything_is_computed(
    picture: Path, monkeypatch: pytest.MonkeyPatch, capsys, option: str, name: str, folder: str
) -> None:
    monkeypatch.setattr(SuperPointExtractor, "__call__", lambda *_: pytest.fail("computed before the output was tried"))
    folder = folder.replace("FILE", str(picture))
    assert extract(picture, option, folder + name) == 1
    assert f"{folder}: must be a folder that can be written to" in capsys.readouterr().err


def test_a_folder_of_pictures_is_tried_before_anything_is_computed(
    picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(SuperPointExtractor, "__call__", lambda *_: pytest.fail("computed before the output was tried"))
    other = tmp_path / "other.png"
    other.write_bytes(picture.read_bytes())
    assert extract(picture, other, "--overlay", "/proc/nope") == 1
    assert "/proc/nope: must be a folder that can be written to" in capsys.readouterr().err


def test_overlay_circles_grow_and_redden_with_the_score() -> None:
    image = np.zeros((64, 96), np.uint8)
    keypoints = np.array([[24, 48], [72, 48]], np.float32)
    features = Features(keypoints, np.array([0.9, 0.01], np.float32), np.zeros((2, 256), np.float32), (96, 64))
    overlay = draw_overlay(image, features).astype(int)[32:]
    best, worst = overlay[:, :48], overlay[:, 48:]
    assert (best.sum(axis=2) > 0).sum() > 2 * (worst.sum(axis=2) > 0).sum()
    assert best[..., 0].sum() > best[..., 2].sum()
    assert worst[..., 0].sum() < worst[..., 2].sum()

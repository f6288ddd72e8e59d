"""The command line matches two files and refuses what is none."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from superpoint_ros.__main__ import main
from superpoint_ros.superpoint import SuperPointExtractor


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two crops of one pattern, the second one 8 pixels further right and 16 further down."""
    coarse = np.random.default_rng(0).integers(0, 256, (20, 24), np.uint8)
    pattern = cv2.resize(coarse, (240, 200), interpolation=cv2.INTER_CUBIC)
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / "first.png", folder / "second.png"]
    for path, (x, y) in zip(paths, ((0, 0), (8, 16))):
        cv2.imwrite(str(path), pattern[y : y + 160, x : x + 200])
    return paths


def match(*arguments: object) -> int:
    return main(["match", *map(str, arguments), "--device", "cpu", "--backend", "torch"])


def test_json_has_the_motion_between_the_pictures(pictures: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert match(*pictures, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(result["homography"], [[1, 0, -8], [0, 1, -16], [0, 0, 1]], atol=0.5)
    inliers = [each for each in result["matches"] if each["inlier"]]
    assert result["inliers"] == len(inliers) > 20
    moves = np.array([np.subtract(each["point1"], each["point0"]) for each in inliers])
    np.testing.assert_allclose(np.median(moves, axis=0), [-8, -16], atol=0.3)
    assert result["images"] == [str(path) for path in pictures] and "default@" in result["model"]


def test_overlay_shows_both_pictures(pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overlay = tmp_path / "new" / "overlay.png"
    assert match(*pictures, "--overlay", overlay, "--estimate", "none", "--max-keypoints", 30) == 0
    picture = cv2.imread(str(overlay))
    assert picture.shape == (160, 400, 3)
    plain = np.hstack([cv2.imread(str(path)) for path in pictures])
    assert 0.02 < (picture != plain).any(axis=2).mean() < 0.7
    assert "of 30 and 30 keypoints" in capsys.readouterr().out


def test_an_image_without_keypoints_matches_nothing(
    pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((64, 64), np.uint8))
    assert match(pictures[0], tmp_path / "black.png", "--overlay", tmp_path / "overlay.png") == 0
    assert "0 matches of" in capsys.readouterr().out
    assert (tmp_path / "overlay.png").exists()


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (None, [], "broken.png: no such file"),
        ("no image", [], "broken.png: not an image"),
        ("image", ["--max-ratio", 2], "max_ratio must be in"),
        ("image", ["--max-error", 0], "--max-error must be a number greater"),
        ("image", ["--max-error", "nan"], "--max-error must be a number greater"),
        ("image", ["--overlay", "picture.txt"], "the suffix must be that of an image format"),
        ("image", ["--overlay", "."], "must be a file"),
        ("image", ["--weights", "nowhere.pth"], "nowhere.pth"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    content: str | None,
    options: list[object],
    message: str,
    pictures: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "broken.png"
    if content == "image":
        path.write_bytes(pictures[0].read_bytes())
    elif content:
        path.write_text(content)
    assert match(pictures[0], path, "--overlay", tmp_path / "overlay.png", *options) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
    assert not (tmp_path / "overlay.png").exists()


def test_an_unusable_overlay_is_named_before_anything_is_computed(
    pictures: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(SuperPointExtractor, "__call__", lambda *_: pytest.fail("computed before --overlay was tried"))
    assert match(*pictures, "--overlay", pictures[0] / "overlay.png") == 1
    assert f"{pictures[0]}: must be a folder that can be written to" in capsys.readouterr().err

"""Mask images, and calibration from camera_info."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pillow

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

from superpoint_ros.nodes.detector.masks import MaskError, check_size, load_masks

LEFT = np.zeros((12, 16), np.uint8)
LEFT[:, :8] = 200


@pytest.mark.parametrize(
    "pixels",
    [
        LEFT,
        LEFT != 0,
        np.stack((0 * LEFT, 0 * LEFT, LEFT // 200), axis=2),  # blue 1: dark, but not black
        np.stack((LEFT, LEFT, LEFT, 255 + 0 * LEFT), axis=2),  # opaque everywhere
        LEFT.astype(np.uint16) * 256,
    ],
)
def test_everything_that_is_not_black_is_allowed(pixels: np.ndarray, tmp_path: Path) -> None:
    pillow.fromarray(pixels).save(tmp_path / "mask.png")
    mask = load_masks(f"{tmp_path}/mask.png", ["camera"])["camera"]
    np.testing.assert_array_equal(mask, LEFT != 0)
    assert mask.dtype == np.uint8


def test_each_camera_can_have_its_own(tmp_path: Path) -> None:
    pillow.fromarray(LEFT).save(tmp_path / "front_left.png")
    pillow.fromarray(255 - LEFT).save(tmp_path / "rear.png")
    masks = load_masks(f"{tmp_path}/{{camera}}.png", ["/front/left", "rear"])
    assert masks["/front/left"].sum() == (LEFT != 0).sum() and masks["rear"].all()
    assert load_masks("", ["rear"]) == {}


@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "BMP", "PPM", "GIF", "WEBP"])
def test_the_usual_formats_will_do_whatever_the_name(format: str, tmp_path: Path) -> None:
    pillow.fromarray(LEFT).save(tmp_path / "mask", format)
    assert load_masks(f"{tmp_path}/mask", ["camera"])["camera"][:, :7].all()


def test_no_program_is_run_for_a_mask_in_postscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter, witness = tmp_path / "gs", tmp_path / "witness"
    interpreter.write_text(f"#!/bin/sh\ntouch {witness}\n")
    interpreter.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # as if it had not been looked for yet
    (tmp_path / "mask.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 12\n%%EndComments\nshow\n")
    with pytest.raises(MaskError, match=f"{tmp_path}/mask.png cannot be read as an image"):
        load_masks(f"{tmp_path}/mask.png", ["camera"])
    assert not witness.exists()


def test_what_is_no_mask_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("black")
    os.mkfifo(tmp_path / "pipe.png")  # nobody ever writes into it
    for name in ("text.png", "missing.png", "pipe.png", ""):
        with pytest.raises(MaskError, match=str(tmp_path / name)):
            load_masks(str(tmp_path / name), ["camera"])
    with pytest.raises(MaskError, match="mask of rear has 16 x 12 pixels, its images have 640 x 480"):
        check_size(LEFT, (640, 480), "rear")

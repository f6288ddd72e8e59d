"""Mask images, and calibration from camera_info."""

from __future__ import annotations

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


def test_what_is_no_mask_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("black")
    for name in ("text.png", "missing.png", ""):
        with pytest.raises(MaskError, match=str(tmp_path / name)):
            load_masks(str(tmp_path / name), ["camera"])
    with pytest.raises(MaskError, match="mask of rear has 16 x 12 pixels, its images have 640 x 480"):
        check_size(LEFT, (640, 480), "rear")

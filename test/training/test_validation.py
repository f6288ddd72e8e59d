"""The check during training, on real photographs."""

from __future__ import annotations

import cv2
import numpy as np

from superpoint_ros.superpoint import DetectionOptions, load_checkpoint
from superpoint_ros.training.validation import validate, validation_pairs

SIZE = (120, 160)


def test_views_are_related_by_their_homography(photographs: np.ndarray) -> None:
    pairs = validation_pairs(photographs, 4, SIZE, seed=1)
    assert pairs.images.shape == (4, 2, 1, *SIZE)
    for (first, second), homography in zip(pairs.images[:, :, 0].numpy(), pairs.homographies.numpy()):
        moved = cv2.warpPerspective(first, homography, SIZE[::-1], borderValue=-1)
        seen = (moved >= 0) & (second > 0)
        assert seen.mean() > 0.4
        # Blurred, as the changes of light include noise; its slow shading goes with the mean around each pixel.
        details = [cv2.GaussianBlur(view, (0, 0), 1) - cv2.GaussianBlur(view, (0, 0), 4) for view in (moved, second)]
        inside = cv2.erode(seen.astype(np.uint8), np.ones((21, 21))) > 0
        assert np.corrcoef(*(detail[inside] for detail in details))[0, 1] > 0.8


def test_bundled_weights_pass(photographs: np.ndarray) -> None:
    network = load_checkpoint("default").network()
    pairs = validation_pairs(photographs, 6, SIZE, seed=1)
    options = DetectionOptions(threshold=0.01, subpixel="soft_argmax")
    found, elsewhere = (validate(network, pairs, options, grid) for grid in ("cell_centers", "magicleap"))
    assert found["homography_3px"] >= 0.6
    assert found["matching_1px"] <= found["matching_3px"] <= found["matching_5px"]
    assert found["localisation"] < 1
    assert found["keypoints"] == elsewhere["keypoints"] > 20
    assert found["matching_3px"] != elsewhere["matching_3px"]  # the grid counts


def test_a_network_that_finds_nothing_scores_nothing(photographs: np.ndarray) -> None:
    options = DetectionOptions(threshold=0.99)
    found = validate(
        load_checkpoint("default").network(), validation_pairs(photographs, 2, SIZE, 1), options, "magicleap"
    )
    assert np.isnan(found.pop("localisation"))
    assert set(found.values()) == {0.0}

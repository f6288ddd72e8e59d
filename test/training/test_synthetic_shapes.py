import cv2
import numpy as np
import pytest

from superpoint_ros.training import synthetic_shapes
from superpoint_ros.training.synthetic_shapes import SHAPES, render

WITH_CORNERS = [shape for shape in SHAPES if shape.__name__ not in ("draw_ellipses", "draw_noise")]


@pytest.mark.parametrize("shape", WITH_CORNERS, ids=lambda shape: shape.__name__)
def test_labels_lie_where_the_picture_has_corners(shape) -> None:
    found, total = 0, 0
    for seed in range(8):
        image = np.full((240, 320), 128, np.uint8)
        corners = shape(image, np.random.default_rng(seed))
        response = cv2.cornerMinEigenVal(cv2.GaussianBlur(image, (0, 0), 0.7), 5)
        for x, y in corners[((corners > 6) & (corners < (313, 233))).all(1)]:
            window = response[int(y + 0.5) - 4 : int(y + 0.5) + 5, int(x + 0.5) - 4 : int(x + 0.5) + 5]
            found += window.max() > 1e-3
            total += 1
    assert total >= 12
    assert found >= 0.8 * total  # a face may happen to have the shade of what lies behind it


@pytest.mark.parametrize("name", ["draw_ellipses", "draw_noise"])
def test_shapes_without_corners_have_no_labels(name: str) -> None:
    image = np.full((120, 160), 128, np.uint8)
    assert len(getattr(synthetic_shapes, name)(image, np.random.default_rng(0))) == 0
    assert image.std() > 1


@pytest.mark.parametrize("seed", range(20))
def test_render_repeats_and_keeps_labels_inside(seed: int) -> None:
    image, corners = render(np.random.default_rng(seed), (120, 160))
    again, corners_again = render(np.random.default_rng(seed), (120, 160))
    assert image.shape == (120, 160) and image.dtype == np.uint8
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(corners, corners_again)
    assert (corners >= 0).all() and (corners <= (159, 119)).all()

"""Directions of pixels, through every lens model of CameraInfo."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpoint_ros.geometry import CameraModel, bearing_vectors

MATRIX = np.array([[320.0, 0.0, 330.0], [0.0, 310.0, 235.0], [0.0, 0.0, 1.0]])
LENSES = [
    ("plumb_bob", []),
    ("plumb_bob", [-0.12, 0.03, 0.001, -0.002]),
    ("plumb_bob", [-0.12, 0.03, 0.001, -0.002, 0.001]),
    ("rational_polynomial", [0.3, 0.02, 0.0005, 0.0002, 0.001, 0.5, 0.05, 0.002]),
    ("equidistant", []),
    ("equidistant", [0.03, -0.01, 0.002, -0.0005]),
]


def camera(model: str = "plumb_bob", distortion: Any = (), matrix: Any = MATRIX) -> CameraModel:
    return CameraModel(np.asarray(matrix, float), model, np.array(distortion, float), (640, 480))


def seen(rays: np.ndarray, model: str, distortion: list[float]) -> np.ndarray:
    """Project (N, 3) rays to pixels."""
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    return project(rays[:, None], np.zeros(3), np.zeros(3), MATRIX, np.array(distortion or [0.0] * 4))[0][:, 0]


@pytest.mark.parametrize(("model", "distortion"), LENSES)
@given(angles=st.lists(st.tuples(st.floats(-0.7, 0.7), st.floats(-0.55, 0.55)), min_size=1, max_size=20))
def test_gives_back_the_rays_that_the_lens_projected(
    model: str, distortion: list[float], angles: list[tuple[float, float]]
) -> None:
    rays = np.array([(np.tan(right), np.tan(down), 1.0) for right, down in angles])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    bearings = bearing_vectors(seen(rays, model, distortion), camera(model, distortion))
    assert bearings.dtype == np.float32 and bearings.shape == rays.shape
    np.testing.assert_allclose(bearings, rays, atol=1e-5)


def test_the_principal_point_looks_ahead_and_axes_point_right_and_down() -> None:
    bearings = bearing_vectors([(330, 235), (650, 235), (330, 545)], camera())
    half = np.sqrt(0.5)
    np.testing.assert_allclose(bearings, [(0, 0, 1), (half, 0, half), (0, half, half)], atol=1e-6)


@pytest.mark.parametrize(
    ("model", "distortion"), [("plumb_bob", [-0.5, 0.0, 0.0, 0.0]), ("equidistant", [0.0, 0.0, 0.0, 0.0])]
)
def test_points_beyond_the_lens_model_are_nan(model: str, distortion: list[float]) -> None:
    bearings = bearing_vectors([(330, 235), (5000, 4000)], camera(model, distortion))
    assert np.isfinite(bearings[0]).all() and np.isnan(bearings[1]).all()


def test_no_points_give_no_directions() -> None:
    assert bearing_vectors(np.empty((0, 2)), camera()).shape == (0, 3)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"matrix": np.zeros((3, 3))}, "not calibrated"),
        ({"matrix": np.full((3, 3), np.nan)}, "finite"),
        ({"matrix": np.eye(2)}, "3 x 3"),
        ({"model": "pincushion"}, "'pincushion' is unknown; expected one of plumb_bob"),
        ({"distortion": [0.1, 0.2, 0.3]}, "3 distortion coefficients do not suit plumb_bob"),
        ({"model": "equidistant", "distortion": [0.0] * 5}, "5 distortion coefficients do not suit equidistant"),
        ({"distortion": [np.inf, 0, 0, 0]}, "finite"),
    ],
)
def test_refuses_what_is_no_calibration(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        camera(**values)


def test_an_error_does_not_repeat_a_name_of_any_length() -> None:
    with pytest.raises(ValueError, match=r"'xxxx.* is unknown; expected one of plumb_bob") as caught:
        camera("x" * 1_000_000)
    assert len(str(caught.value)) < 300

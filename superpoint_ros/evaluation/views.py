"""Renders views of a photograph under random homographies and changes of light."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ..geometry import warp_points

MAX_ROTATION_DEG = 45.0
MAX_TILT = 0.2
MAX_SHIFT = 0.1
SCALE_RANGE = (0.6, 1.5)
FIRST_VIEW_MAX_ROTATION_DEG = 10.0

Image = NDArray[np.uint8]
Matrix = NDArray[np.float64]


def random_homography(rng: np.random.Generator, shape: tuple[int, int]) -> Matrix:
    """Draw the homography between two views of `shape` (height, width).

    About the image centre: a perspective tilt that changes the scale by up to 20 % along either axis at
    the ends of the longer side, then rotation up to 45 degrees, scale 0.6 to 1.5 and a shift of up to a
    tenth of the image. The draws do not depend on the size: the same `rng` gives the same view.
    """
    height, width = shape
    angle = np.radians(rng.uniform(-MAX_ROTATION_DEG, MAX_ROTATION_DEG))
    scale = np.exp(rng.uniform(*np.log(SCALE_RANGE)))
    tilt = rng.uniform(-MAX_TILT, MAX_TILT, 2) / (max(shape) / 2)
    shift = rng.uniform(-MAX_SHIFT, MAX_SHIFT, 2) * (width, height)
    tilting = np.array([[1, 0, 0], [0, 1, 0], [*tilt, 1]])
    to_center = _translation(-(width - 1) / 2, -(height - 1) / 2)
    from_center = _translation((width - 1) / 2 + shift[0], (height - 1) / 2 + shift[1])
    return np.asarray(from_center @ _similarity(angle, scale) @ tilting @ to_center)


def place_first_view(
    rng: np.random.Generator, photo_shape: tuple[int, int], shape: tuple[int, int], homography: Matrix
) -> Matrix:
    """Draw where in the photograph a pair of views looks; returns the map from photograph to first view.

    The pair is placed so that both views lie inside the photograph, at no less than one pixel of the
    photograph per pixel of the view. Where it is too small for that, the first view lies inside, and the
    second, which :func:`render` continues by reflection, as far as it goes.
    """
    angle = np.radians(rng.uniform(-FIRST_VIEW_MAX_ROTATION_DEG, FIRST_VIEW_MAX_ROTATION_DEG))
    zoom, *position = rng.uniform(size=3)
    first = warp_points(_corners(shape), _similarity(angle, 1.0))
    second = warp_points(warp_points(_corners(shape), np.linalg.inv(homography)), _similarity(angle, 1.0))
    both = np.concatenate([first, second])
    limit = _largest_scale(both, photo_shape)
    area = both
    if limit < 1:
        area, limit = first, min(_largest_scale(first, photo_shape), 1.0)
    scale = limit**zoom if limit > 1 else limit
    room = (photo_shape[1], photo_shape[0]) - scale * np.ptp(area, axis=0)
    offset = np.array(position) * room - scale * area.min(axis=0) - 0.5
    return np.asarray(np.linalg.inv(_translation(*offset) @ _similarity(angle, scale)), np.float64)


def render(photo: Image, photo_to_view: Matrix, shape: tuple[int, int]) -> Image:
    """Draw the view of `shape` (height, width); each pixel is the mean over its area in the photograph."""
    height, width = shape
    samples = int(np.clip(np.ceil(_largest_step(photo_to_view, shape)), 1, 8))
    enlarge = np.array([[samples, 0, (samples - 1) / 2], [0, samples, (samples - 1) / 2], [0, 0, 1]])
    fine = cv2.warpPerspective(
        photo,
        enlarge @ photo_to_view,
        (width * samples, height * samples),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def change_light(rng: np.random.Generator, image: Image) -> Image:
    """Draw gamma (0.5 to 2), contrast, brightness, a shadow or light across the image, and sensor noise."""
    height, width = image.shape
    gamma = np.exp(rng.uniform(*np.log((0.5, 2.0))))
    gain, bias, strength, noise = rng.uniform((0.6, -0.15, -0.6, 0.0), (1.4, 0.15, 0.6, 0.02))
    center, spread = rng.uniform(size=2) * (width, height), rng.uniform(0.2, 0.6) * width
    y, x = np.mgrid[:height, :width]
    shading = 1 + strength * np.exp(-((x - center[0]) ** 2 + (y - center[1]) ** 2) / (2 * spread**2))
    light = (image / 255.0) ** gamma * shading
    light = gain * (light - light.mean()) + light.mean() + bias
    light += noise * rng.standard_normal(image.shape)
    return np.asarray(np.rint(np.clip(light, 0, 1) * 255), np.uint8)


def fit_photo(photo: Image, shape: tuple[int, int]) -> tuple[Image, Matrix]:
    """Cut `photo` about its centre to the aspect ratio of `shape` (height, width) and resize it.

    Returns the image and the homography from the photograph's pixels to the image's.
    """
    height, width = shape
    scale = max(height / photo.shape[0], width / photo.shape[1])
    rows, columns = (min(round(side / scale), limit) for side, limit in zip(shape, photo.shape))
    top, left = (photo.shape[0] - rows) // 2, (photo.shape[1] - columns) // 2
    cut = photo[top : top + rows, left : left + columns]
    fitted = cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    stretch_x, stretch_y = width / columns, height / rows
    to_fitted = np.array(
        [
            [stretch_x, 0, (0.5 - left) * stretch_x - 0.5],
            [0, stretch_y, (0.5 - top) * stretch_y - 0.5],
            [0, 0, 1],
        ]
    )
    return np.asarray(fitted, np.uint8), to_fitted


def _corners(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Outer corners of an image, half a pixel beyond the centres of its corner pixels."""
    bottom, right = shape[0] - 0.5, shape[1] - 0.5
    return np.array([[-0.5, -0.5], [right, -0.5], [right, bottom], [-0.5, bottom]])


def _largest_scale(points: NDArray[np.float64], photo_shape: tuple[int, int]) -> float:
    """By how much the bounding box of `points` may grow to fit into the photograph."""
    return float(((photo_shape[1], photo_shape[0]) / np.ptp(points, axis=0)).min())


def _largest_step(photo_to_view: Matrix, shape: tuple[int, int]) -> float:
    """Greatest distance in the photograph, in pixels, between neighbouring pixels at the view's corners."""
    to_photo = np.linalg.inv(photo_to_view)
    corners = _corners(shape)
    base = warp_points(corners, to_photo)
    steps = [np.linalg.norm(warp_points(corners + step, to_photo) - base, axis=1) for step in ((1.0, 0), (0, 1.0))]
    return float(np.max(steps))


def _translation(x: float, y: float) -> Matrix:
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def _similarity(angle: float, scale: float) -> Matrix:
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])

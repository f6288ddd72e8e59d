"""MagicPoint's synthetic shapes (DeTone et al. 2018, section 4), rendered on the fly with exact corner labels."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .dataset import PairBatch, PairOptions, make_pairs

_FRACTION_BITS = 4  # OpenCV draws at fractions of a pixel given in 1/16
_MAX_LABELS = 400

Canvas = NDArray[np.uint8]
Corners = NDArray[np.float32]


class SyntheticShapes:
    """Endless source of training pairs of synthetic shapes.

    Parameters
    ----------
    size : (int, int)
        (height, width) of the rendered crops in pixels.
    device : torch.device
        Where the pairs are made.
    """

    def __init__(self, size: tuple[int, int], device: torch.device) -> None:
        self.size, self.device = size, device

    def sample(self, count: int, size: tuple[int, int], options: PairOptions, generator: torch.Generator) -> PairBatch:
        """Render `count` pictures and make a pair of views of (height, width) `size` of each."""
        seeds = torch.randint(2**31, (count,), generator=generator, device=generator.device).tolist()
        pictures = [render(np.random.default_rng(seed), self.size) for seed in seeds]
        images = torch.from_numpy(np.stack([image for image, _ in pictures])).to(self.device)
        labels = torch.stack([_padded(corners) for _, corners in pictures]).to(self.device)
        return make_pairs(images, labels, size, options, generator)


def render(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Canvas, Corners]:
    """Draw one kind of shape, chosen at random, on a random background.

    Returns
    -------
    image : (H, W) uint8
    corners : (N, 2) float32
        x, y in pixels, in random order; none for ellipses and noise.
    """
    image = background(rng, size)
    corners = SHAPES[rng.integers(len(SHAPES))](image, rng)
    upper = (size[1] - 1, size[0] - 1)
    inside = ((corners >= 0) & (corners <= upper)).all(1)
    blurred = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.0)).astype(np.uint8, copy=False)
    return blurred, rng.permutation(corners[inside])


def background(rng: np.random.Generator, size: tuple[int, int]) -> Canvas:
    """Draw smooth light and dark patches."""
    coarse = rng.uniform(0, 255, (rng.integers(2, 6), rng.integers(2, 6))).astype(np.float32)
    smooth = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
    contrast = rng.uniform(0.1, 0.7)
    return np.clip(128 + contrast * (smooth - 128) + rng.uniform(-60, 60), 0, 255).astype(np.uint8)


def draw_lines(image: Canvas, rng: np.random.Generator) -> Corners:
    """Draw separate line segments; their ends are corners."""
    ends: list[Corners] = []
    for _ in range(rng.integers(1, 10)):
        segment = _random_points(rng, image, 2)
        if any(_segments_near(segment, other) for other in ends):
            continue
        _polyline(image, segment, _contrasting(image, segment, rng), int(rng.integers(1, 4)))
        ends.append(segment)
    return np.concatenate(ends).astype(np.float32, copy=False)


def draw_polygon(image: Canvas, rng: np.random.Generator) -> Corners:
    """Fill one convex polygon of three to six corners."""
    polygon = _convex_polygon(rng, image, int(rng.integers(3, 7)))
    _fill(image, polygon, _contrasting(image, polygon, rng))
    return polygon


def draw_star(image: Canvas, rng: np.random.Generator) -> Corners:
    """Draw line segments from a common centre; centre and ends are corners."""
    arms = _convex_polygon(rng, image, int(rng.integers(3, 6)))
    centre = arms.mean(0, keepdims=True)
    color, thickness = _contrasting(image, centre, rng), int(rng.integers(1, 4))
    for arm in arms:
        _polyline(image, np.stack([centre[0], arm]), color, thickness)
    return np.asarray(np.concatenate([centre, arms]), np.float32)


def draw_checkerboard(image: Canvas, rng: np.random.Generator) -> Corners:
    """Draw a checkerboard in perspective."""
    rows, columns = rng.integers(3, 8, 2)
    grid = np.stack(np.meshgrid(np.arange(columns + 1), np.arange(rows + 1)), -1).astype(np.float32)
    corners = _in_perspective(grid.reshape(-1, 2), (columns, rows), rng, image).reshape(rows + 1, columns + 1, 2)
    shades = rng.permutation([rng.uniform(0, 90), rng.uniform(165, 255)])
    for row in range(rows):
        for column in range(columns):
            quad = corners[[row, row, row + 1, row + 1], [column, column + 1, column + 1, column]]
            _fill(image, quad, float(shades[(row + column) % 2] + rng.uniform(-15, 15)))
    return corners.reshape(-1, 2)


def draw_stripes(image: Canvas, rng: np.random.Generator) -> Corners:
    """Draw parallel stripes of random widths in perspective."""
    edges = np.concatenate([[0.0], np.cumsum(rng.uniform(0.5, 2.0, rng.integers(3, 10)))]).astype(np.float32)
    ends = np.stack([np.stack([edges, np.full_like(edges, y)], 1) for y in (0, edges[-1])])
    corners = _in_perspective(ends.reshape(-1, 2), (edges[-1], edges[-1]), rng, image).reshape(2, -1, 2)
    shades = rng.uniform(0, 255, len(edges))
    for index in range(len(edges) - 1):
        shade = shades[index] if abs(shades[index] - shades[index - 1]) > 30 else (shades[index - 1] + 128) % 256
        shades[index] = shade
        _fill(image, corners[[0, 0, 1, 1], [index, index + 1, index + 1, index]], float(shade))
    return corners.reshape(-1, 2)


def draw_cube(image: Canvas, rng: np.random.Generator) -> Corners:
    """Draw the three visible faces of a cuboid in parallel projection; seven corners."""
    height, width = image.shape
    angles = np.radians(rng.uniform(0, 360) + np.array([0, 120, 240]) + rng.uniform(-25, 25, 3))
    axes = rng.uniform(0.15, 0.4, (3, 1)) * min(height, width) * np.stack([np.cos(angles), np.sin(angles)], 1)
    centre = rng.uniform((0.4 * width, 0.4 * height), (0.6 * width, 0.6 * height))
    shades = rng.permutation([rng.uniform(0, 70), rng.uniform(95, 160), rng.uniform(185, 255)])
    for first, second, shade in ((0, 1, shades[0]), (1, 2, shades[1]), (2, 0, shades[2])):
        face = np.array([np.zeros(2), axes[first], axes[first] + axes[second], axes[second]]) + centre
        _fill(image, face, float(shade))
    silhouette = np.concatenate([axes, axes + np.roll(axes, -1, 0)])
    return np.asarray(np.concatenate([[[0.0, 0.0]], silhouette]) + centre, np.float32)


def draw_ellipses(image: Canvas, rng: np.random.Generator) -> Corners:
    """Draw ellipses, which have no corners."""
    placed: list[tuple[NDArray[np.float64], float]] = []
    for _ in range(rng.integers(2, 12)):
        axes = rng.integers(8, min(image.shape) // 5, 2)
        centre = rng.uniform((0, 0), image.shape[::-1])
        if any(np.linalg.norm(centre - other) < axes.max() + reach + 4 for other, reach in placed):
            continue
        color = _contrasting(image, centre[None], rng)
        middle = (round(centre[0]), round(centre[1]))
        cv2.ellipse(image, middle, (int(axes[0]), int(axes[1])), rng.uniform(0, 180), 0, 360, color, -1, cv2.LINE_AA)
        placed.append((centre, float(axes.max())))
    return np.empty((0, 2), np.float32)


def draw_noise(image: Canvas, rng: np.random.Generator) -> Corners:
    """Add noise without any keypoint."""
    noise = rng.normal(0, rng.uniform(5, 60), image.shape)
    image[:] = np.clip(image + noise, 0, 255)
    return np.empty((0, 2), np.float32)


SHAPES = (
    draw_lines,
    draw_polygon,
    draw_star,
    draw_checkerboard,
    draw_stripes,
    draw_cube,
    draw_ellipses,
    draw_noise,
)


def _padded(corners: Corners) -> Tensor:
    labels = torch.full((_MAX_LABELS, 3), torch.inf)
    labels[:, 2] = 0
    labels[: len(corners), :2] = torch.from_numpy(corners)
    labels[: len(corners), 2] = 1
    return labels


def _random_points(rng: np.random.Generator, image: Canvas, count: int) -> Corners:
    return rng.uniform((0, 0), (image.shape[1] - 1, image.shape[0] - 1), (count, 2)).astype(np.float32)


def _convex_polygon(rng: np.random.Generator, image: Canvas, corners: int) -> Corners:
    """Corners on an ellipse, no two closer than a fair share of its circumference."""
    height, width = image.shape
    angles = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners) + rng.uniform()) * 2 * np.pi / corners
    radii = rng.uniform(0.15, 0.45, 2) * (width, height)
    centre = rng.uniform((0.35 * width, 0.35 * height), (0.65 * width, 0.65 * height))
    return np.asarray(centre + radii * np.stack([np.cos(angles), np.sin(angles)], 1), np.float32)


def _in_perspective(points: Corners, extent: tuple[float, float], rng: np.random.Generator, image: Canvas) -> Corners:
    """Map points of [0, extent] to a random convex quadrangle in the image."""
    height, width = image.shape
    frame = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    target = (0.1 + 0.8 * frame + rng.uniform(-0.12, 0.12, (4, 2))) * (width, height)
    matrix = cv2.getPerspectiveTransform(frame * np.array(extent, np.float32), target.astype(np.float32))
    turned = cv2.perspectiveTransform(points[None], matrix)[0]
    rotation = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-180, 180), rng.uniform(0.6, 1.1))
    return np.asarray(cv2.transform(turned[None], rotation)[0], np.float32)


def _contrasting(image: Canvas, points: Corners | NDArray[np.float64], rng: np.random.Generator) -> float:
    """Draw a gray level that differs from the image around `points`."""
    x, y = np.clip(points.mean(0).astype(int), 0, (image.shape[1] - 1, image.shape[0] - 1))
    return float((int(image[y, x]) + rng.uniform(50, 206)) % 256)


def _segments_near(first: Corners, second: Corners, margin: float = 6.0) -> bool:
    """Whether two line segments cross or come closer than `margin` pixels."""
    share = np.linspace(0, 1, 40)[:, None]
    points = first[0] + share * (first[1] - first[0])
    others = second[0] + share * (second[1] - second[0])
    step = max(np.linalg.norm(first[1] - first[0]), np.linalg.norm(second[1] - second[0])) / 39
    return bool(np.linalg.norm(points[:, None] - others[None], axis=2).min() < margin + step)


def _fill(image: Canvas, corners: Corners | NDArray[np.float64], shade: float) -> None:
    cv2.fillConvexPoly(image, _fixed_point(corners), np.clip(shade, 0, 255), cv2.LINE_AA, _FRACTION_BITS)


def _polyline(image: Canvas, points: Corners, shade: float, thickness: int) -> None:
    cv2.polylines(image, [_fixed_point(points)], False, shade, thickness, cv2.LINE_AA, _FRACTION_BITS)


def _fixed_point(points: Corners | NDArray[np.float64]) -> NDArray[np.int32]:
    return np.asarray(np.rint(points * 2**_FRACTION_BITS), np.int32)

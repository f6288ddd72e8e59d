"""What is found in one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Features:
    """Keypoints of one image with their descriptors, the best one first.

    Attributes
    ----------
    keypoints : ndarray, (N, 2), float32
        x, y in pixels of the given image; the centre of the top-left pixel is (0, 0).
    scores : ndarray, (N,), float32
        In (0, 1).
    descriptors : ndarray, (N, D), float32
        Of unit length.
    image_size : tuple of int
        (width, height) of the image in pixels.
    """

    keypoints: FloatArray
    scores: FloatArray
    descriptors: FloatArray
    image_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        """Say what there is: the arrays themselves would fill the screen."""
        size = "{} x {}".format(*self.image_size)
        return f"Features({len(self)} keypoints, {self.descriptors.shape[-1]} numbers per descriptor, image {size})"

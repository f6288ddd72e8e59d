"""Where the keypoints of a frame were in the frames before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Trails:
    """The way of every keypoint of a frame.

    Attributes
    ----------
    positions : ndarray, (N, L, 2), float32
        x, y in pixels, of keypoint n in the last L frames, the newest last; nan where it was not seen.
    """

    positions: NDArray[np.float32]

    @classmethod
    def start(cls, keypoints: NDArray[np.float32], length: int) -> Trails:
        """Begin with the keypoints (N, 2) of one frame; trails keep `length` frames, at least 2."""
        positions = np.full((len(keypoints), length, 2), np.nan, np.float32)
        positions[:, -1] = keypoints
        return cls(positions)

    def into(self, keypoints: NDArray[np.float32], indices: NDArray[np.int64]) -> Trails:
        """Return the trails of the next frame's keypoints.

        Parameters
        ----------
        keypoints : ndarray, (N1, 2)
            Of the next frame, in pixels.
        indices : ndarray, (M, 2)
            Which keypoint of this frame is which one of the next.
        """
        trails = Trails.start(keypoints, self.positions.shape[1])
        trails.positions[indices[:, 1], :-1] = self.positions[indices[:, 0], 1:]
        return trails

    def seen(self, keypoints: NDArray[np.float32], indices: NDArray[np.int64]) -> Trails:
        """Return the trails of the same keypoints, grown by where they are in the next frame; see `into`."""
        positions = np.roll(self.positions, -1, axis=1)
        positions[:, -1] = np.nan
        positions[indices[:, 0], -1] = keypoints[indices[:, 1]]
        return Trails(positions)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """In how many of the last frames each keypoint was seen, (N,)."""
        lengths: NDArray[np.int64] = np.isfinite(self.positions[:, :, 0]).sum(axis=1)
        return lengths

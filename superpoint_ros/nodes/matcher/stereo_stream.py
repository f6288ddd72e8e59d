"""Keypoints of the left camera of a stereo pair matched to those of the right one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.lifecycle import LifecycleNode

from superpoint_ros.matching import Trails

from ..messages.stamps import nanoseconds
from ..topics.pairing import Pairing
from .match_stream import Frame, MatchStream
from .parameters import MatcherParameters


class StereoStream(MatchStream):
    """Matches the left and the right image of each stereo pair."""

    def __init__(
        self,
        node: LifecycleNode,
        cameras: tuple[str, ...],
        parameters: Callable[[], MatcherParameters],
        place: Callable[[npt.NDArray[Any]], Any],
    ) -> None:
        outputs = f"{cameras[0]}/stereo_matches", f"{cameras[0]}/stereo_matches_image"
        super().__init__(node, cameras, outputs, parameters, place)
        self._pairing: Pairing[Frame] = Pairing(round(parameters().sync_slop * 1e9))

    def reset(self) -> None:
        """Forget the frames received."""
        self._pairing.clear()

    @property
    def unpaired(self) -> int | None:
        """Frames that stayed alone."""
        return self._pairing.unpaired

    def _process(self, side: int, frame: Frame) -> None:
        pair = self._pairing.add(side, nanoseconds(frame.header), frame)
        if pair is None:
            return
        left, right = pair
        result = self._match(left, right, None)
        if result is not None:
            rows, columns = result.matches.indices[result.inliers].T
            ends = np.stack([right.view.keypoints[columns], left.view.keypoints[rows]], axis=1)
            self._show(left, Trails(ends), result)

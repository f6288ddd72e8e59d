"""Keypoints of one camera matched over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from rclpy.lifecycle import LifecycleNode

from superpoint_ros.matching import FrameMatch, Trails

from ..messages.stamps import nanoseconds
from .match_stream import Frame, MatchStream
from .parameters import MatcherParameters

_ALIKE = 0.9  # distance of descriptors of one point, rarely reached; that of mutual neighbours by chance, rarely less
_TRUSTED_SHARE = 0.5  # of inliers among the matches, from which a homography predicts the next frame


class TemporalStream(MatchStream):
    """Matches each frame of a camera to the one before, or to the last key frame.

    A frame without keypoints gives a message without matches and is skipped as a reference. When stamps go back, as
    when a bag starts again, or a frame cannot be matched to the reference, it becomes the new reference.
    """

    def __init__(
        self,
        node: LifecycleNode,
        camera: str,
        parameters: Callable[[], MatcherParameters],
        place: Callable[[npt.NDArray[Any]], Any],
    ) -> None:
        super().__init__(node, (camera,), (f"{camera}/matches", f"{camera}/tracks_image"), parameters, place)
        self.reset()

    def reset(self) -> None:
        """Forget the frames received."""
        self._reference: Frame | None = None
        self._trails = Trails.start(np.empty((0, 2), np.float32), 2)  # of the reference
        self._motion: npt.NDArray[np.float64] | None = None
        self._newest: int | None = None

    def _process(self, side: int, frame: Frame) -> None:
        stamp = nanoseconds(frame.header)
        if self._newest is not None and stamp < self._newest:
            topic, seconds = self.keypoint_topics[0], (self._newest - stamp) * 1e-9
            self._node.get_logger().info(f"stamps on {topic} went back by {seconds:.3f} s: matching starts anew")
            self.reset()
        self._newest = stamp
        reference = self._reference
        if reference is None:
            self._start_at(frame)
            self.statistics.count("processed")
            return
        result = self._match(reference, frame, self._motion)
        if result is None:
            self._start_at(frame)
            return
        keypoints, indices = frame.view.keypoints, result.matches.indices[result.inliers]
        self._adapt_trails(reference)
        trails = self._trails.into(keypoints, indices)
        self._show(frame, trails, result)
        if self._becomes_reference(reference, frame, result):
            self._reference, self._trails = frame, trails
        else:
            self._trails = self._trails.seen(keypoints, indices)
        self._motion = self._prediction(result) if self._is_consecutive or self._reference is reference else None

    def _start_at(self, frame: Frame) -> None:
        if len(frame.view.keypoints) == 0:
            return
        self._reference, self._motion = frame, None
        self._trails = Trails.start(frame.view.keypoints, self._parameters().trail_length)

    def _adapt_trails(self, reference: Frame) -> None:
        if self._trails.positions.shape[1] != self._parameters().trail_length:  # changed meanwhile
            self._trails = Trails.start(reference.view.keypoints, self._parameters().trail_length)

    @staticmethod
    def _prediction(result: FrameMatch) -> npt.NDArray[np.float64] | None:
        """Return the homography that predicts the next frame, if this one is to be trusted."""
        is_trusted = (
            result.kind == "homography" and result.matrix is not None and result.inliers.mean() >= _TRUSTED_SHARE
        )
        return result.matrix if is_trusted else None

    @property
    def _is_consecutive(self) -> bool:
        return self._parameters().mode == "consecutive"

    def _becomes_reference(self, reference: Frame, frame: Frame, result: FrameMatch) -> bool:
        if len(frame.view.keypoints) == 0:
            return False
        # Without an estimate, a third of all keypoints have a mutual neighbour in any picture.
        found = result.matches.distances <= _ALIKE if result.kind == "none" else result.inliers
        least = self._parameters().keyframe_overlap * len(reference.view.keypoints)
        return self._is_consecutive or bool(found.sum() < least)

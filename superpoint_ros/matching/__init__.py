"""Frames of keypoints put together: matched, followed over time and drawn."""

from .pairs import KINDS, FrameMatch, Kind, MatchOptions, View, match_views
from .trails import Trails

__all__ = ["KINDS", "FrameMatch", "Kind", "MatchOptions", "Trails", "View", "match_views"]

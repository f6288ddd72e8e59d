"""What the matcher says about itself on /diagnostics."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus

from ..reporting.diagnostics import ERROR, OK, WARN, flow, latencies, silence, status
from ..reporting.stream_statistics import Snapshot
from .match_stream import MatchStream


def stream_status(name: str, stream: MatchStream, stale_after: float) -> DiagnosticStatus:
    """Describe one stream of the active node `name` since the last time; it is stale after so many seconds."""
    snapshot = stream.statistics.snapshot()
    totals = snapshot.totals
    values: dict[str, object] = {
        "keypoint topic": ", ".join(stream.keypoint_topics),
        **flow(snapshot, "frames", done="matched"),
        "dropped: malformed": totals["malformed"],
        "dropped: cannot be matched": totals["failed"],
        "missing: gaps between stamps": totals["missing"],
    }
    if stream.unpaired is not None:
        values["dropped: no partner"] = stream.unpaired
    if stream.last_match is not None:
        values["matches in the last frame"] = len(stream.last_match.matches)
        values["inliers in the last frame"] = int(stream.last_match.inliers.sum())
    verdict = _verdict(stream, snapshot, stale_after)
    return status(f"{name}: {stream.name}", stream.name, verdict, {**values, **latencies(snapshot)})


def _verdict(stream: MatchStream, snapshot: Snapshot, stale_after: float) -> tuple[bytes, str]:
    recent, topics = snapshot.recent, " or ".join(stream.keypoint_topics)
    if stream.is_idle:
        return OK, "idle: nobody subscribes to matches or overlay"
    if stale := silence(snapshot, stale_after, f"keypoints on {topics}"):
        return stale
    if recent["failed"]:
        return ERROR, f"frames that could not be matched: {recent['failed']} ({snapshot.failure})"
    if recent["malformed"]:
        return WARN, f"malformed messages: {recent['malformed']}, see the log"
    if stream.calibration_problem:
        return WARN, f"no essential matrix: {stream.calibration_problem}"
    if stream.unpaired and recent["received"] and not recent["processed"]:
        return WARN, f"no pairs: nothing on {stream.keypoint_topics[1]}, or stamps that differ by more than sync_slop"
    return OK, f"{snapshot.rates['processed']:.1f} Hz"

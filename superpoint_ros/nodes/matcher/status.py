"""What the matcher says about itself on /diagnostics."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from ..stream_statistics import Snapshot
from .match_stream import MatchStream
from .parameters import MatcherParameters

SILENCE_LIMIT = 2.0
"""Seconds without keypoints after which a stream counts as stale."""


def matcher_status(name: str, state: str, failure: str, parameters: MatcherParameters, device: str) -> DiagnosticStatus:
    """Describe the node.

    Parameters
    ----------
    name : str
        The node's name.
    state : str
        Of the lifecycle: "unconfigured", "inactive" or "active".
    failure : str
        Why the node could not be configured; empty if it could.
    parameters : MatcherParameters
    device : str
        Where descriptors are compared.
    """
    status = DiagnosticStatus(name=f"{name}: matcher", hardware_id=device, level=DiagnosticStatus.OK, message=state)
    if failure:
        status.level, status.message = DiagnosticStatus.ERROR, f"{state}: {failure}"
    values = {"state": state, "mode": parameters.mode, "backend": parameters.backend, "estimate": parameters.estimate}
    status.values = _key_values(values)
    return status


def stream_status(name: str, stream: MatchStream) -> DiagnosticStatus:
    """Describe one stream of an active node since the last time."""
    snapshot = stream.statistics.snapshot()
    level, message = _verdict(stream, snapshot)
    totals, rates = snapshot.totals, snapshot.rates
    values = {
        "keypoint topic": ", ".join(stream.keypoint_topics),
        "rate received [Hz]": f"{rates['received']:.1f}",
        "rate matched [Hz]": f"{rates['processed']:.1f}",
        "frames received": str(totals["received"]),
        "frames matched": str(totals["processed"]),
        "dropped: malformed": str(totals["malformed"]),
        "dropped: cannot be matched": str(totals["failed"]),
        "dropped: no subscriber": str(totals["unwatched"]),
        "missing: gaps between stamps": str(totals["missing"]),
    }
    if stream.unpaired is not None:
        values["dropped: no partner"] = str(stream.unpaired)
    if stream.last_match is not None:
        values["matches in the last frame"] = str(len(stream.last_match.matches))
        values["inliers in the last frame"] = str(int(stream.last_match.inliers.sum()))
    for stage, percentiles in snapshot.latencies.items():
        for percentile, milliseconds in percentiles._asdict().items():
            values[f"{stage} {percentile} [ms]"] = f"{milliseconds:.2f}"
    return DiagnosticStatus(
        name=f"{name}: {stream.name}",
        hardware_id=stream.name,
        level=level,
        message=message,
        values=_key_values(values),
    )


def _verdict(stream: MatchStream, snapshot: Snapshot) -> tuple[bytes, str]:
    recent, topics = snapshot.recent, " or ".join(stream.keypoint_topics)
    if snapshot.silence is None:
        return DiagnosticStatus.STALE, f"no keypoints on {topics} yet"
    if snapshot.silence > SILENCE_LIMIT:
        return DiagnosticStatus.STALE, f"no keypoints on {topics} for {snapshot.silence:.0f} s"
    if recent["failed"]:
        return DiagnosticStatus.ERROR, f"{recent['failed']} frames could not be matched: {snapshot.failure}"
    if recent["malformed"]:
        return DiagnosticStatus.WARN, f"{recent['malformed']} malformed messages, see the log"
    if stream.calibration_problem:
        return DiagnosticStatus.WARN, f"no essential matrix: {stream.calibration_problem}"
    if recent["unwatched"]:
        return DiagnosticStatus.OK, "idle: nobody subscribes to matches or overlay"
    if stream.unpaired and not recent["processed"]:
        return DiagnosticStatus.WARN, "no pairs: the stamps of left and right differ by more than sync_slop"
    return DiagnosticStatus.OK, f"{snapshot.rates['processed']:.1f} Hz"


def _key_values(values: dict[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value) for key, value in values.items()]

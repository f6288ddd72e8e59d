"""What the detector says about itself on /diagnostics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from .stream_statistics import Snapshot

if TYPE_CHECKING:
    from superpoint_ros.superpoint import SuperPointExtractor

SILENCE_LIMIT = 2.0
"""Seconds without an image after which a camera counts as stale."""


def model_status(name: str, state: str, failure: str, extractor: SuperPointExtractor | None) -> DiagnosticStatus:
    """Describe the node and its model.

    Parameters
    ----------
    name : str
        The node's name.
    state : str
        Of the lifecycle: "unconfigured", "inactive" or "active".
    failure : str
        Why the last ``configure`` failed; empty if it did not.
    extractor : SuperPointExtractor, optional
        The loaded model.
    """
    status = DiagnosticStatus(name=f"{name}: model", hardware_id="none", level=DiagnosticStatus.OK, message=state)
    if failure:
        status.level, status.message = DiagnosticStatus.ERROR, f"{state}: {failure}"
    values = {"state": state}
    if extractor is not None:
        status.hardware_id = extractor.device
        values["device"] = extractor.device
        values["backend"] = extractor.backend
        values["precision"] = extractor.precision
        values["weights"] = extractor.model_name
    status.values = _key_values(values)
    return status


def camera_status(name: str, camera: str, topic: str, mismatch: str, snapshot: Snapshot) -> DiagnosticStatus:
    """Describe the stream of one camera of an active node.

    Parameters
    ----------
    name : str
        The node's name.
    camera : str
        The camera's name.
    topic : str
        Where its images come from.
    mismatch : str
        Why nothing can arrive; empty if nothing speaks against it.
    snapshot : Snapshot
        Of the camera's statistics.
    """
    level, message = _verdict(topic, mismatch, snapshot)
    totals, recent = snapshot.totals, snapshot.recent
    values: dict[str, str] = {
        "image topic": topic,
        "rate received [Hz]": f"{recent['received'] / snapshot.period:.1f}",
        "rate processed [Hz]": f"{recent['processed'] / snapshot.period:.1f}",
        "images received": str(totals["received"]),
        "images processed": str(totals["processed"]),
        "dropped: overload": str(totals["overload"]),
        "dropped: malformed": str(totals["malformed"]),
        "dropped: failed": str(totals["failed"]),
        "dropped: no subscriber": str(totals["unwatched"]),
        "dropped: deactivated": str(totals["discarded"]),
        "missing: gaps between stamps": str(totals["missing"]),
    }
    for stage, percentiles in snapshot.latencies.items():
        for percentile, milliseconds in percentiles._asdict().items():
            values[f"{stage} {percentile} [ms]"] = f"{milliseconds:.2f}"
    return DiagnosticStatus(
        name=f"{name}: {camera}", hardware_id=camera, level=level, message=message, values=_key_values(values)
    )


def _verdict(topic: str, mismatch: str, snapshot: Snapshot) -> tuple[bytes, str]:
    recent = snapshot.recent
    if mismatch:
        return DiagnosticStatus.ERROR, mismatch
    if snapshot.silence is None:
        return DiagnosticStatus.STALE, f"no image on {topic} yet"
    if snapshot.silence > SILENCE_LIMIT:
        return DiagnosticStatus.STALE, f"no image on {topic} for {snapshot.silence:.0f} s"
    if recent["failed"]:
        return DiagnosticStatus.ERROR, f"{recent['failed']} images failed, see the log"
    if recent["malformed"]:
        return DiagnosticStatus.WARN, f"{recent['malformed']} malformed images, see the log"
    if recent["missing"]:
        return DiagnosticStatus.WARN, (
            f"{recent['missing']} images missing between stamps: lost on the way (docs/transport.md) or never sent"
        )
    if recent["unwatched"]:
        return DiagnosticStatus.OK, "idle: nobody subscribes to keypoints or overlay"
    return DiagnosticStatus.OK, f"{recent['processed'] / snapshot.period:.1f} Hz"


def _key_values(values: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value) for key, value in values.items()]

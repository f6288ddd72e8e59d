"""What the detector says about itself on /diagnostics."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from ..stream_statistics import Snapshot
from .camera import Camera
from .parameters import DetectorParameters

if TYPE_CHECKING:
    from superpoint_ros.superpoint import SuperPointExtractor

_OK, _WARN, _ERROR, _STALE = (
    DiagnosticStatus.OK,
    DiagnosticStatus.WARN,
    DiagnosticStatus.ERROR,
    DiagnosticStatus.STALE,
)


def model_status(name: str, state: str, failure: str, extractor: SuperPointExtractor | None) -> DiagnosticStatus:
    """Describe the node and its model.

    Parameters
    ----------
    name : str
        The node's name.
    state : str
        Of the lifecycle: "unconfigured", "inactive" or "active".
    failure : str
        Why the node could not be configured or gave up; empty if it did neither.
    extractor : SuperPointExtractor, optional
        The loaded model.
    """
    status = DiagnosticStatus(name=f"{name}: model", hardware_id="none", level=_OK, message=state)
    if failure:
        status.level, status.message = _ERROR, f"{state}: {failure}"
    values = {"state": state, "process memory [MB]": f"{_process_memory() / 1e6:.0f}"}
    if extractor is not None:
        status.hardware_id = extractor.device
        values["device"] = extractor.device
        values["backend"] = extractor.backend
        values["precision"] = extractor.precision
        values["threads"] = str(extractor.threads)
        values["weights"] = extractor.model_name
        if extractor.device.startswith("cuda"):
            values |= _gpu_memory(extractor.device)
    status.values = _key_values(values)
    return status


def camera_status(name: str, camera: Camera, parameters: DetectorParameters) -> DiagnosticStatus:
    """Describe the stream of one camera of an active node since the last time.

    Parameters
    ----------
    name : str
        The node's name.
    camera : Camera
    parameters : DetectorParameters
        The limits.
    """
    snapshot = camera.statistics.snapshot()
    level, message = _verdict(camera, snapshot, parameters)
    totals, rates = snapshot.totals, snapshot.rates
    values: dict[str, str] = {
        "image topic": camera.image_topic,
        "image size [px]": "{} x {}".format(*camera.image_size) if camera.image_size else "unknown",
        "rate received [Hz]": f"{rates['received']:.1f}",
        "rate processed [Hz]": f"{rates['processed']:.1f}",
        "images received": str(totals["received"]),
        "images processed": str(totals["processed"]),
        "dropped: overload": str(totals["overload"]),
        "dropped: max_rate": str(totals["rate limit"]),
        "dropped: malformed": str(totals["malformed"]),
        "dropped: failed": str(totals["failed"]),
        "dropped: no subscriber": str(totals["unwatched"]),
        "dropped: deactivated": str(totals["discarded"]),
        "missing: gaps between stamps": str(totals["missing"]),
    }
    if snapshot.foreign_stamps is not None:
        values["clock minus stamps [s]"] = f"{snapshot.foreign_stamps:.0f}"
    for stage, percentiles in snapshot.latencies.items():
        for percentile, milliseconds in percentiles._asdict().items():
            values[f"{stage} {percentile} [ms]"] = f"{milliseconds:.2f}"
    return DiagnosticStatus(
        name=f"{name}: {camera.name}",
        hardware_id=camera.name,
        level=level,
        message=message,
        values=_key_values(values),
    )


def _verdict(camera: Camera, snapshot: Snapshot, parameters: DetectorParameters) -> tuple[bytes, str]:
    """Return the worst level with all reasons for it."""
    mismatch = camera.subscription.mismatch if camera.subscription else ""
    if mismatch:
        return _ERROR, mismatch
    if snapshot.silence is None:
        return _STALE, f"no image on {camera.image_topic} yet"
    if snapshot.silence > parameters.stale_after:
        return _STALE, f"no image on {camera.image_topic} for {snapshot.silence:.0f} s"
    findings = _drops(snapshot) + _limits_crossed(snapshot, parameters)
    if parameters.publish_bearings and (problem := camera.calibration.problem(camera.image_size)):
        findings.append((_WARN, f"no bearings: {problem}"))
    if findings:
        worst = max(level for level, _ in findings)
        return worst, "; ".join(reason for level, reason in findings if level == worst)
    if snapshot.recent["unwatched"]:
        return _OK, "idle: nobody subscribes to keypoints or overlay"
    return _OK, f"{snapshot.rates['processed']:.1f} Hz"


def _drops(snapshot: Snapshot) -> list[tuple[bytes, str]]:
    findings, recent = [], snapshot.recent
    if recent["failed"]:
        findings.append((_ERROR, f"{recent['failed']} images failed: {snapshot.failure}"))
    if recent["malformed"]:
        findings.append((_WARN, f"{recent['malformed']} malformed images, see the log"))
    if recent["missing"]:
        reason = "images missing between stamps: lost on the way (docs/transport.md) or never sent"
        findings.append((_WARN, f"{recent['missing']} {reason}"))
    return findings


def _limits_crossed(snapshot: Snapshot, parameters: DetectorParameters) -> list[tuple[bytes, str]]:
    """Compare with the limits; they do not hold while results are not wanted."""
    findings: list[tuple[bytes, str]] = []
    if snapshot.recent["unwatched"]:
        return findings
    rate = snapshot.rates["processed"]
    for level, limit in ((_ERROR, parameters.error_below_rate), (_WARN, parameters.warn_below_rate)):
        if rate < limit:
            findings.append((level, f"{rate:.1f} Hz published, below the limit of {limit:g} Hz"))
            break
    latency = snapshot.latencies.get("reception to publication")
    for level, limit in ((_ERROR, parameters.error_above_latency), (_WARN, parameters.warn_above_latency)):
        if latency is not None and 0 < limit < latency.p95 * 1e-3:
            findings.append((level, f"latency of {latency.p95:.0f} ms (p95), above the limit of {1e3 * limit:g} ms"))
            break
    return findings


def _process_memory() -> int:
    """Return the resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _gpu_memory(device: str) -> dict[str, str]:
    import torch

    free, total = torch.cuda.mem_get_info(device)
    return {
        "GPU memory of this process [MB]": f"{torch.cuda.memory_reserved(device) / 1e6:.0f}",
        "GPU memory free [MB]": f"{free / 1e6:.0f}",
        "GPU memory in all [MB]": f"{total / 1e6:.0f}",
    }


def _key_values(values: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value) for key, value in values.items()]

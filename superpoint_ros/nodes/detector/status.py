"""What the detector says about itself on /diagnostics."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticStatus

from ..reporting.diagnostics import ERROR, OK, WARN, flow, latencies, silence, status
from ..reporting.stream_statistics import Snapshot, Stage
from .camera import Camera
from .parameters import DetectorParameters

if TYPE_CHECKING:
    from superpoint_ros.superpoint import SuperPointExtractor

_SETTLED = 2.0
"""Seconds over which a rate is compared with limits; over less it tells how soon the node found its camera."""


def model_details(extractor: SuperPointExtractor | None) -> dict[str, object]:
    """Describe the loaded model, if there is one, and the memory it takes."""
    values: dict[str, object] = {"process memory [MB]": f"{_process_memory() / 1e6:.0f}"}
    if extractor is not None:
        values["device"] = extractor.device
        values["backend"] = extractor.backend
        values["precision"] = extractor.precision
        values["threads"] = extractor.threads
        values["max batch size"] = extractor.max_batch_size
        values["weights"] = extractor.model_name
        if extractor.device.startswith("cuda"):
            values |= _gpu_memory(extractor.device)
    return values


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
    totals = snapshot.totals
    values: dict[str, object] = {
        "image topic": camera.image_topic,
        "image size [px]": "{} x {}".format(*camera.image_size) if camera.image_size else "unknown",
        **flow(snapshot, "images"),
        "dropped: overload": totals["overload"],
        "dropped: max_rate": totals["rate limit"],
        "dropped: malformed": totals["malformed"],
        "dropped: failed": totals["failed"],
        "dropped: no subscriber": totals["unwatched"],
        "dropped: deactivated": totals["discarded"],
        "missing: gaps between stamps": totals["missing"],
    }
    if snapshot.foreign_stamps is not None:
        values["clock minus stamps [s]"] = f"{snapshot.foreign_stamps:.0f}"
    verdict = _verdict(camera, snapshot, parameters)
    return status(f"{name}: {camera.name}", camera.name, verdict, {**values, **latencies(snapshot)})


def _verdict(camera: Camera, snapshot: Snapshot, parameters: DetectorParameters) -> tuple[bytes, str]:
    """Return the worst level with the reasons for that level; a mismatch or silence is reason enough."""
    mismatch = camera.subscription.mismatch if camera.subscription else ""
    if mismatch:
        return ERROR, mismatch
    if stale := silence(snapshot, parameters.stale_after, f"image on {camera.image_topic}"):
        return stale
    findings = _drops(snapshot) + _limits_crossed(snapshot, parameters)
    if parameters.publish_bearings and (problem := camera.calibration.problem(camera.image_size)):
        findings.append((WARN, f"no bearings: {problem}"))
    if findings:
        worst = max(level for level, _ in findings)
        return worst, "; ".join(reason for level, reason in findings if level == worst)
    if snapshot.recent["unwatched"]:
        return OK, "idle: nobody subscribes to keypoints or overlay"
    return OK, f"{snapshot.rates['processed']:.1f} Hz"


def _drops(snapshot: Snapshot) -> list[tuple[bytes, str]]:
    findings, recent = [], snapshot.recent
    if recent["failed"]:
        findings.append((ERROR, f"images failed: {recent['failed']} ({snapshot.failure})"))
    if recent["malformed"]:
        findings.append((WARN, f"malformed images: {recent['malformed']}, see the log"))
    if recent["missing"]:
        reason = "lost on the way (docs/transport.md) or never sent"
        findings.append((WARN, f"images missing between stamps: {recent['missing']}, {reason}"))
    return findings


def _limits_crossed(snapshot: Snapshot, parameters: DetectorParameters) -> list[tuple[bytes, str]]:
    """Compare with the limits; they do not hold while results are not wanted."""
    findings: list[tuple[bytes, str]] = []
    if snapshot.recent["unwatched"]:
        return findings
    rate = snapshot.rates["processed"]
    if rate == 0 and snapshot.rates["overload"] > 0:
        findings.append((WARN, "images come, but the model has finished none of late"))
    for level, limit in ((ERROR, parameters.error_below_rate), (WARN, parameters.warn_below_rate)):
        if rate < limit and snapshot.period >= _SETTLED:
            findings.append((level, f"{rate:.1f} Hz published, below the limit of {limit:g} Hz"))
            break
    latency = parameters.warn_above_latency, parameters.error_above_latency
    age = parameters.warn_above_age, parameters.error_above_age
    findings += _above(snapshot, "reception to publication", "latency", *latency)
    findings += _above(snapshot, "age at reception", "age at reception", *age)
    return findings


def _above(snapshot: Snapshot, stage: Stage, name: str, warn: float, error: float) -> list[tuple[bytes, str]]:
    """Compare the 95th percentile of a stage with its limits in seconds, of which 0 is none."""
    taken = snapshot.latencies.get(stage)
    for level, limit in ((ERROR, error), (WARN, warn)):
        if taken is not None and 0 < limit < taken.p95 * 1e-3:
            return [(level, f"{name} of {taken.p95:.0f} ms (p95), above the limit of {1e3 * limit:g} ms")]
    return []


def _process_memory() -> int:
    """Return the resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _gpu_memory(device: str) -> dict[str, str]:
    import torch

    try:
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError as error:  # the GPU is lost: the next image will say so, and the node must live to tell
        reason, _, _ = str(error).partition("\n")
        return {"GPU memory": f"unknown: {reason}"}
    return {
        "GPU memory of this process [MB]": f"{torch.cuda.memory_reserved(device) / 1e6:.0f}",
        "GPU memory free [MB]": f"{free / 1e6:.0f}",
        "GPU memory in all [MB]": f"{total / 1e6:.0f}",
    }

"""What the nodes' reports on /diagnostics have in common."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from .stream_statistics import Snapshot

OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE


def status(name: str, hardware: str, verdict: tuple[bytes, str], values: Mapping[str, object]) -> DiagnosticStatus:
    """Return a status.

    Parameters
    ----------
    name : str
        Node and part, such as "detector: camera".
    hardware : str
        Identifies the camera or device.
    verdict : (bytes, str)
        Level and the reason for it.
    values : mapping
        What is known in detail.
    """
    level, message = verdict
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return DiagnosticStatus(name=name, hardware_id=hardware, level=level, message=message, values=pairs)


def silence(snapshot: Snapshot, stale_after: float, what: str) -> tuple[bytes, str] | None:
    """Return the verdict on a stream from which nothing comes for more than `stale_after` seconds; None if it does."""
    if snapshot.silence is None:
        return STALE, f"no {what} yet"
    if snapshot.silence > stale_after:
        return STALE, f"no {what} for {snapshot.silence:.0f} s"
    return None


def flow(snapshot: Snapshot, items: str, done: str = "processed") -> dict[str, object]:
    """Return rates and numbers of the images or frames that came, and of those that were processed."""
    return {
        "rate received [Hz]": f"{snapshot.rates['received']:.1f}",
        f"rate {done} [Hz]": f"{snapshot.rates['processed']:.1f}",
        f"{items} received": snapshot.totals["received"],
        f"{items} {done}": snapshot.totals["processed"],
    }


def latencies(snapshot: Snapshot) -> dict[str, str]:
    """Return the percentiles of all stages, in milliseconds."""
    return {
        f"{stage} {percentile} [ms]": f"{milliseconds:.2f}"
        for stage, percentiles in snapshot.latencies.items()
        for percentile, milliseconds in percentiles._asdict().items()
    }

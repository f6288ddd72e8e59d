"""What odometry says about its poses on /diagnostics."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus

from superpoint_ros.odometry import State

from ..reporting.diagnostics import ERROR, OK, WARN, flow, latencies, silence, status
from ..reporting.stream_statistics import Snapshot
from .input import OdometryInput

_VERDICTS = {
    State.TRACKING: (OK, "tracking"),
    State.INITIALISING: (WARN, "initialising: not enough is seen, or moved, to begin a map"),
    State.LOST: (ERROR, "lost: looking for a known place"),
}


def stream_status(
    name: str, keypoints: OdometryInput, state: State, snapshot: Snapshot, stale_after: float, values: dict[str, object]
) -> DiagnosticStatus:
    """Describe the poses of an active node since the last time.

    Parameters
    ----------
    name : str
        The node's name.
    keypoints : OdometryInput
        Where they come from.
    state : State
        Of the newest frame.
    snapshot : Snapshot
        Of the frames.
    stale_after : float
        Seconds.
    values : dict
        More to tell.
    """
    totals = snapshot.totals
    values = {
        **values,
        "keypoint topic": ", ".join(keypoints.topics),
        **flow(snapshot, "frames"),
        "dropped: cannot be used": totals["failed"],
        "dropped: no partner": keypoints.unpaired,
        "missing: gaps between stamps": totals["missing"],
        **latencies(snapshot),
    }
    return status(
        f"{name}: {keypoints.name}", keypoints.name, _verdict(keypoints, state, snapshot, stale_after), values
    )


def _verdict(keypoints: OdometryInput, state: State, snapshot: Snapshot, stale_after: float) -> tuple[bytes, str]:
    if stale := silence(snapshot, stale_after, f"keypoints on {keypoints.topics[0]}"):
        return stale
    if snapshot.recent["failed"]:
        return ERROR, f"frames that cannot be used: {snapshot.recent['failed']} ({snapshot.failure})"
    if len(keypoints.topics) == 2 and not snapshot.rates["processed"]:
        return ERROR, f"no pairs: nothing on {keypoints.topics[1]}, or stamps that differ by more than sync_slop"
    return _VERDICTS[state]

"""The odometry node: keypoints in, poses out."""

from __future__ import annotations

import sys
import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from std_msgs.msg import Header

from superpoint_ros.odometry import Odometry, OdometryCamera, State, Update, check_installed

from ..lifecycle import ManagedNode
from ..messages.stamps import nanoseconds, seconds
from ..processes.node_process import run_node
from ..reporting.rare_warnings import RareWarnings
from ..reporting.stream_statistics import StreamStatistics
from .input import Arrival, DescriptorKind, InputError, OdometryInput
from .outputs import OdometryOutputs
from .parameters import OdometryParameters
from .status import stream_status


class OdometryNode(ManagedNode[OdometryParameters]):
    """Lifecycle node that follows a camera, or a stereo pair, by its keypoints.

    ``configure`` advertises, ``activate`` begins a new map and subscribes. All happens in the executor's thread: a pose
    takes less time than the detection before it.
    """

    def __init__(self) -> None:
        super().__init__("odometry", OdometryParameters)
        self._input: OdometryInput | None = None
        self._outputs: OdometryOutputs | None = None
        self._warn = RareWarnings(self)
        self._forget()

    # Lifecycle

    def set_up(self) -> None:
        """Advertise."""
        check_installed()
        self._outputs = OdometryOutputs(self, self.settings)

    def run(self) -> None:
        """Begin a new map and subscribe."""
        self._forget()
        self._statistics = StreamStatistics()
        self._counts = dict.fromkeys(("tracked", "lost", "key frames", "relocalisations", "maps"), 0)
        self._input = OdometryInput(self, self.settings, self._count_arrival, self._process, self._drop)

    def stop(self) -> None:
        """Unsubscribe and forget the map."""
        if self._input is not None:
            self._input.destroy()
            self._input = None
        self._forget()

    def clean_up(self) -> None:
        """Give up the topics."""
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None

    def _forget(self) -> None:
        """Know nothing of what was before."""
        self._odometry: Odometry | None = None
        self._kind: DescriptorKind | None = None
        self._newest = 0  # stamp in nanoseconds
        self._last = Update(State.INITIALISING)
        if self._outputs is not None:
            self._outputs.forget()

    # Frames

    def _count_arrival(self, header: Header) -> None:
        self._statistics.received(seconds(header), now=self.get_clock().now().nanoseconds * 1e-9)

    def _process(self, arrival: Arrival) -> None:
        began, stamp = time.monotonic(), nanoseconds(arrival.header)
        if stamp < self._newest:
            self.get_logger().info(f"stamps went back by {(self._newest - stamp) * 1e-9:.3f} s: everything starts anew")
            self._forget()
        odometry = self._odometry_for(arrival)
        self._newest = stamp
        update = odometry.process(arrival.frame)
        self._count(update)
        if update.pose is not None and self._outputs is not None:
            self._outputs.publish(arrival.header, update.pose, update, odometry.map.positions)
        self._statistics.count("processed")
        self._statistics.took({"odometry": time.monotonic() - began})

    def _odometry_for(self, arrival: Arrival) -> Odometry:
        """Return what follows the camera that these keypoints are of; a new map for a new camera."""
        camera = arrival.camera
        if self._odometry is not None and _is_same(self._odometry.camera, camera):
            self._kind = self._kind or arrival.kind
            if arrival.kind not in (None, self._kind):
                raise InputError(
                    f"the keypoints have {arrival.kind}, the map has {self._kind}, which cannot be matched: set the "
                    "detector's parameters back, or deactivate and activate this node to begin a new map"
                )
            return self._odometry
        self._odometry, self._kind = Odometry(camera, self.settings.algorithm()), arrival.kind
        kind = f"stereo, baseline {camera.baseline:g} m" if camera.baseline else "one camera"
        self.get_logger().info(f"new map ({kind}, focal length {camera.focal_length:.1f} px)")
        return self._odometry

    def _count(self, update: Update) -> None:
        self._counts["tracked"] += update.state is State.TRACKING
        self._counts["lost"] += update.state is State.LOST
        self._counts["key frames"] += update.is_key_frame
        self._counts["maps"] += update.state is State.TRACKING and update.covariance is None
        if update.state is not self._last.state:
            if update.state is State.LOST:
                self.get_logger().warning("lost: the keypoints fit no pose; looking for a known place")
            elif self._last.state is State.LOST and update.state is State.TRACKING:
                self._counts["relocalisations"] += update.covariance is not None
                how = "tracking again" if update.covariance is not None else "no known place found: a new map begins"
                self.get_logger().info(how)
        self._last = update

    def _drop(self, error: Exception) -> None:
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        self._statistics.failed(reason)
        self._warn(f"frame dropped: {reason}")

    # Diagnostics

    def details(self) -> tuple[str, str, dict[str, object]]:
        """Describe the node."""
        return "node", "none", {"kind": "stereo" if len(self.settings.cameras) == 2 else "one camera"}

    def reports(self, name: str) -> list[DiagnosticStatus]:
        """Describe the poses."""
        assert self._input is not None, "the node is active"
        values: dict[str, object] = {"odometry": self._last.state.value, "inliers": self._last.inliers, **self._counts}
        if self._odometry is not None:
            values["landmarks"] = len(self._odometry.map.positions)
        snapshot = self._statistics.snapshot()
        return [stream_status(name, self._input, self._last.state, snapshot, self.settings.stale_after, values)]


def _is_same(first: OdometryCamera, second: OdometryCamera) -> bool:
    return first.baseline == second.baseline and np.array_equal(first.matrix, second.matrix)


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns the exit code."""
    return run_node("odometry", OdometryNode, args)


if __name__ == "__main__":
    sys.exit(main())

"""The matcher node: keypoints in, matches and tracks out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticStatus

from ..lifecycle import ManagedNode
from ..processes.node_process import run_node
from .match_stream import MatchStream
from .parameters import MatcherParameters
from .status import stream_status
from .stereo_stream import StereoStream
from .temporal_stream import TemporalStream

_WATCHERS_PERIOD = 0.5  # seconds

Place = Callable[[npt.NDArray[Any]], Any]


class Matcher(ManagedNode[MatcherParameters]):
    """Lifecycle node that matches the keypoints of consecutive frames, of key frames or of stereo pairs.

    ``configure`` advertises, ``activate`` subscribes. All happens in the executor's thread: matching takes less time
    than the detection before it.
    """

    def __init__(self) -> None:
        super().__init__("matcher", MatcherParameters)
        self._streams: list[MatchStream] = []
        self._backend, self._device = "none", "none"  # until configured
        self.create_timer(_WATCHERS_PERIOD, self._follow_watchers, clock=self.steady_clock)

    def set_up(self) -> None:
        """Advertise."""
        settings = self.settings
        settings.check_cameras()
        place, self._backend, self._device = _placement(settings)
        if settings.mode == "stereo":
            self._streams = [StereoStream(self, settings.cameras, lambda: self.settings, place)]
        for camera in settings.cameras if settings.mode != "stereo" else ():
            self._streams.append(TemporalStream(self, camera, lambda: self.settings, place))

    def run(self) -> None:
        """Subscribe and match."""
        for stream in self._streams:
            stream.subscribe()

    def stop(self) -> None:
        """Unsubscribe and forget the frames received."""
        for stream in self._streams:
            stream.unsubscribe()

    def clean_up(self) -> None:
        """Give up the topics."""
        for stream in self._streams:
            stream.destroy()
        self._streams = []

    def _follow_watchers(self) -> None:
        if self.condition == "active":
            for stream in self._streams:
                stream.follow_watchers()

    def details(self) -> tuple[str, str, dict[str, object]]:
        """Describe the node."""
        settings = self.settings
        values = {"mode": settings.mode, "backend": self._backend, "estimate": settings.estimate}
        return "node", self._device, {**values}

    def reports(self, name: str) -> list[DiagnosticStatus]:
        """Describe the streams."""
        return [stream_status(name, stream, self.settings.stale_after) for stream in self._streams]


def _placement(settings: MatcherParameters) -> tuple[Place, str, str]:
    """Return what puts descriptors where they are compared, what compares them, and where that is.

    Raises
    ------
    ValueError
        If PyTorch or the device is missing, or NumPy is to compute on a GPU.
    """
    is_installed = find_spec("torch") is not None
    if settings.backend == "numpy" or (settings.backend == "auto" and not is_installed):
        if settings.device.startswith("cuda"):
            raise ValueError(f"device {settings.device}: NumPy computes on the CPU; take backend torch")
        return lambda descriptors: descriptors, "numpy", "cpu"
    if not is_installed:
        raise ValueError("backend torch: PyTorch is not installed; install it or take numpy")
    import torch

    count = torch.cuda.device_count()
    device = ("cuda" if count else "cpu") if settings.device == "auto" else settings.device
    if device == "cpu":
        # This process does nothing else with PyTorch; the products are small, and the detector needs the other cores.
        torch.set_num_threads(1)
        return lambda descriptors: descriptors, "torch", device  # arrays are multiplied by PyTorch once it is imported
    if int(device.partition(":")[2] or 0) >= count:
        raise ValueError(f"device {device}: PyTorch finds {count} CUDA GPUs")
    return lambda descriptors: torch.from_numpy(descriptors).to(device), "torch", device


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns the exit code."""
    return run_node("matcher", Matcher, args)


if __name__ == "__main__":
    sys.exit(main())

"""The matcher node: keypoints in, matches and tracks out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from ..node_process import run_node
from ..parameters import changed, declarations, declare
from .match_stream import MatchStream
from .parameters import MatcherParameters
from .status import matcher_status, stream_status
from .stereo_stream import StereoStream
from .temporal_stream import TemporalStream

_DIAGNOSTICS_PERIOD = 1.0  # seconds
_WATCHERS_PERIOD = 0.5  # seconds

Place = Callable[[npt.NDArray[Any]], Any]


class Matcher(LifecycleNode):
    """Lifecycle node that matches the keypoints of consecutive frames, of key frames or of stereo pairs.

    ``configure`` advertises, ``activate`` subscribes. All happens in the executor's thread: matching takes less time
    than the detection before it.

    Raises
    ------
    ValueError
        If a parameter's initial value is not allowed.
    """

    def __init__(self) -> None:
        super().__init__("matcher")
        self._parameters_now = declare(self, MatcherParameters)
        self._streams: list[MatchStream] = []
        self._state = "unconfigured"
        self._device = "cpu"
        self._failure = ""
        self.add_on_set_parameters_callback(self._check_changes)
        self.add_post_set_parameters_callback(self._apply_changes)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still or jump
        self.create_timer(_DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=steady)
        self.create_timer(_WATCHERS_PERIOD, self._follow_watchers, clock=steady)

    # Lifecycle

    def start(self) -> None:
        """Configure and activate, if the parameter ``autostart`` says so."""
        if self._parameters_now.autostart and self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Advertise; on failure the node stays unconfigured and can be configured again."""
        try:
            self._configure(self._parameters_now)
        except Exception as error:  # rclpy would swallow it without a word
            reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            self._failure = " ".join(reason.split())
            self.get_logger().error(f"cannot configure: {self._failure}")
            self.release()
            return TransitionCallbackReturn.FAILURE
        self._failure, self._state = "", "inactive"
        return super().on_configure(state)

    def _configure(self, parameters: MatcherParameters) -> None:
        parameters.check_cameras()
        place, self._device = _placement(parameters)
        if parameters.mode == "stereo":
            self._streams = [StereoStream(self, parameters.cameras, self._present_parameters, place)]
        for camera in parameters.cameras if parameters.mode != "stereo" else ():
            self._streams.append(TemporalStream(self, camera, self._present_parameters, place))

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and match; on failure the node stays inactive and can be activated again."""
        result = super().on_activate(state)  # the publishers
        try:
            for stream in self._streams:
                stream.subscribe()
        except Exception as error:  # as above
            self.get_logger().error(f"cannot activate: {error}")
            self.on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        self._state = "active"
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and forget the frames received."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the topics."""
        self.release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, whatever the state."""
        self.release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, so that the node can be configured again."""
        self.release()
        return TransitionCallbackReturn.SUCCESS

    def release(self) -> None:
        """Stop matching and give up the topics."""
        self._stop()
        for stream in self._streams:
            stream.destroy()
        self._streams = []
        self._state = "unconfigured"

    def _stop(self) -> None:
        for stream in self._streams:
            stream.unsubscribe()
        self._state = "inactive"

    # Parameters

    def _present_parameters(self) -> MatcherParameters:
        return self._parameters_now

    def _check_changes(self, changes: Sequence[Parameter[Any]]) -> SetParametersResult:
        known = declarations(MatcherParameters)
        if self._streams:
            for name in (change.name for change in changes if change.name in known and not known[change.name].live):
                reason = f"{name} takes effect at configure: deactivate and clean up the node before changing it"
                return SetParametersResult(successful=False, reason=reason)
        try:
            self._with(changes)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply_changes(self, changes: Sequence[Parameter[Any]]) -> None:
        self._parameters_now = self._with(changes)  # streams look here at each frame

    def _with(self, changes: Sequence[Parameter[Any]]) -> MatcherParameters:
        return changed(self._parameters_now, {change.name: change.value for change in changes})

    # Timers

    def _follow_watchers(self) -> None:
        if self._state == "active":
            for stream in self._streams:
                stream.follow_watchers()

    def _publish_diagnostics(self) -> None:
        name = self.get_fully_qualified_name().lstrip("/")
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status = [matcher_status(name, self._state, self._failure, self._parameters_now, self._device)]
        if self._state == "active":
            message.status += [stream_status(name, stream) for stream in self._streams]
        self._diagnostics.publish(message)


def _placement(parameters: MatcherParameters) -> tuple[Place, str]:
    """Return what puts descriptors where they are compared, and where that is.

    Raises
    ------
    ValueError
        If PyTorch or the device is missing.
    """
    if parameters.backend == "numpy":
        return lambda descriptors: descriptors, "cpu"
    try:
        import torch
    except ImportError as error:
        raise ValueError(
            f"backend torch: {error.name or error} cannot be imported; install it or take numpy"
        ) from error
    is_available = torch.cuda.is_available()
    device = ("cuda" if is_available else "cpu") if parameters.device == "auto" else parameters.device
    if device.startswith("cuda") and not is_available:
        raise ValueError(f"device {device}: PyTorch finds no CUDA GPU")
    torch.set_num_threads(1)  # the product is small, and the detector needs the cores
    return lambda descriptors: torch.from_numpy(descriptors).to(device), device


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns the exit code."""
    return run_node("matcher", Matcher, args)


if __name__ == "__main__":
    sys.exit(main())

"""The detector node: images in, SuperPoint keypoints out."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, JumpThreshold, TimeJump
from rclpy.clock_type import ClockType
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from ..node_process import run_node
from ..parameters import changed, declarations, declare
from .camera import Camera, Frame
from .masks import Mask, MaskError, check_size, load_masks
from .model_loading import ModelError, load_extractor
from .parameters import DetectorParameters
from .pipeline import Pipeline
from .status import camera_status, model_status

if TYPE_CHECKING:  # PyTorch is imported at configure, where its absence can be reported
    from superpoint_ros.superpoint import SuperPointExtractor

_DIAGNOSTICS_PERIOD = 1.0  # seconds
_WATCH_PERIOD = 0.5  # seconds
_CLOCK_JUMP = Duration(seconds=5.0)  # a step of simulated time is shorter, however fast it is played
_FIRST_SIZE = (64, 64)
"""Pixels of the image that is processed at configure, to find out what fails and to load libraries."""


class Detector(LifecycleNode):
    """Lifecycle node that finds keypoints in the images of any number of cameras.

    ``configure`` loads the model and advertises, ``activate`` subscribes and computes. Callbacks run in one executor
    thread and only store; the threads of `Pipeline` compute and publish.

    Raises
    ------
    ValueError
        If a parameter's initial value is not allowed.
    """

    def __init__(self) -> None:
        super().__init__("detector")
        self._parameters_now = declare(self, DetectorParameters)
        self._extractor: SuperPointExtractor | None = None
        self._pipeline: Pipeline | None = None
        self._cameras: list[Camera] = []
        self._new_masks: dict[str, Mask] = {}
        self._failure = ""
        self.add_on_set_parameters_callback(self._check_changes)
        self.add_post_set_parameters_callback(self._apply_changes)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still or jump
        self.create_timer(_DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=steady)
        self.create_timer(_WATCH_PERIOD, self._watch, clock=steady)
        jumps = JumpThreshold(min_forward=_CLOCK_JUMP, min_backward=Duration(nanoseconds=-1))
        self._jump_handle = self.get_clock().create_jump_callback(jumps, post_callback=self._on_clock_jump)

    # Lifecycle

    def start(self) -> None:
        """Configure and activate, if the parameter ``autostart`` says so."""
        if self._parameters_now.autostart and self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and advertise; on failure the node stays unconfigured and can be configured again."""
        try:
            self._configure(self._parameters_now)
        except Exception as error:  # rclpy would swallow it without a word
            reason = str(error) if isinstance(error, (ModelError, MaskError)) else f"{type(error).__name__}: {error}"
            self._failure = " ".join(reason.split())
            self.get_logger().error(f"cannot configure: {self._failure}")
            self.release()
            return TransitionCallbackReturn.FAILURE
        self._failure = ""
        return super().on_configure(state)

    def _configure(self, parameters: DetectorParameters) -> None:
        model = self._extractor = load_extractor(parameters)
        if parameters.weights == "random":
            self.get_logger().warning("weights are RANDOM, for tests only: keypoints and descriptors mean nothing")
        self.get_logger().info(f"{model.model_name} on {model.device} ({model.backend}, {model.precision})")
        self._pipeline = Pipeline(model, parameters.frame_policy == "all", self._on_device_failure)
        self._pipeline.warm_up(_FIRST_SIZE, parameters)
        masks = load_masks(parameters.mask, parameters.cameras)
        for name in parameters.cameras:
            camera = Camera(self, name, lambda: self._parameters_now, self._offer, self._warm_up)
            camera.mask = masks.get(name)
            self._cameras.append(camera)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and compute; on failure the node stays inactive and can be activated again."""
        assert self._pipeline is not None
        result = super().on_activate(state)  # the publishers
        self._pipeline.start()
        try:
            for camera in self._cameras:
                camera.subscribe()
        except Exception as error:  # as above
            self.get_logger().error(f"cannot activate: {error}")
            self.on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; nothing is published once this has returned."""
        self._stop()
        if self._failure:
            return TransitionCallbackReturn.ERROR
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release model and topics."""
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
        """Stop computing and give up model and topics."""
        self._stop()
        for camera in self._cameras:
            camera.destroy()
        self._cameras = []
        self._pipeline = None
        self._extractor = None
        gc.collect()  # models and their callbacks refer to each other: without this several would share the memory

    def _stop(self) -> None:
        for camera in self._cameras:
            camera.unsubscribe()
        if self._pipeline is not None:
            self._pipeline.stop()

    def _on_device_failure(self, error: Exception) -> None:
        """Have the executor's thread give up soon; called in one of the pipeline's."""
        self._failure = " ".join(str(error).split())

    # Images

    def _offer(self, frame: Frame) -> None:
        assert self._pipeline is not None, "cameras live no longer than the pipeline"
        self._pipeline.offer(frame)

    def _warm_up(self, size: tuple[int, int]) -> None:
        """Prepare for images of (width, height) pixels, of which a camera_info tells."""
        assert self._pipeline is not None
        try:
            self._pipeline.warm_up(size, self._parameters_now)
        except Exception as error:  # images of that size will say so again
            self.get_logger().warning(f"cannot prepare for images of {size[0]} x {size[1]} pixels: {error}")

    def _on_clock_jump(self, jump: TimeJump) -> None:
        for camera in self._cameras:
            camera.statistics.clock_jumped()

    # Parameters

    def _check_changes(self, changes: Sequence[Parameter[Any]]) -> SetParametersResult:
        known = declarations(DetectorParameters)
        if self._extractor is not None:
            for name in (change.name for change in changes if change.name in known and not known[change.name].live):
                reason = f"{name} takes effect at configure: deactivate and clean up the node before changing it"
                return SetParametersResult(successful=False, reason=reason)
        try:
            wanted = self._with(changes)
            if self._extractor is not None and wanted.mask != self._parameters_now.mask:
                self._new_masks = self._load_masks(wanted)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply_changes(self, changes: Sequence[Parameter[Any]]) -> None:
        before, self._parameters_now = self._parameters_now, self._with(changes)  # cameras look here at each image
        if before.mask != self._parameters_now.mask:
            for camera in self._cameras:
                camera.mask = self._new_masks.get(camera.name)

    def _load_masks(self, parameters: DetectorParameters) -> dict[str, Mask]:
        """Load masks and compare them with the cameras' images; raise `MaskError` where that fails."""
        masks = load_masks(parameters.mask, parameters.cameras)
        for camera in self._cameras:
            if camera.image_size is not None and camera.name in masks:
                check_size(masks[camera.name], camera.image_size, camera.name)
        return masks

    def _with(self, changes: Sequence[Parameter[Any]]) -> DetectorParameters:
        return changed(self._parameters_now, {change.name: change.value for change in changes})

    # Timers

    def _watch(self) -> None:
        """Follow the publishers, and give up when the device is lost."""
        if self._failure and self._pipeline is not None and self._pipeline.is_running:
            self.get_logger().error(f"giving up: {self._failure}")
            self.trigger_deactivate()  # which fails, and leads to the state unconfigured
        for camera in self._cameras:
            if camera.subscription is not None:
                camera.subscription.adopt()
                if camera.subscription.mismatch:
                    camera.warn(camera.subscription.mismatch)

    def _publish_diagnostics(self) -> None:
        name = self.get_fully_qualified_name().lstrip("/")
        is_active = self._pipeline is not None and self._pipeline.is_running
        state = "unconfigured" if self._pipeline is None else "active" if is_active else "inactive"
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status = [model_status(name, state, self._failure, self._extractor)]
        if is_active:
            message.status += [camera_status(name, camera, self._parameters_now) for camera in self._cameras]
        self._diagnostics.publish(message)


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns the exit code."""
    return run_node("detector", Detector, args)


if __name__ == "__main__":
    sys.exit(main())

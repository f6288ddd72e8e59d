"""The detector node: images in, SuperPoint keypoints out."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from . import diagnostics, image_conversion, keypoint_messages
from .camera import Camera, Frame
from .detector_parameters import DetectorParameters
from .model_loading import ModelError, load_extractor
from .parameters import changed, declarations, declare
from .worker import Worker

if TYPE_CHECKING:  # PyTorch is imported at configure, where its absence can be reported
    from superpoint_ros.superpoint import SuperPointExtractor

_DIAGNOSTICS_PERIOD = 1.0  # seconds
_ADOPTION_PERIOD = 0.5  # seconds
# Images the middleware keeps. "latest" empties it at once, but for moments in which another callback keeps the
# executor; "all" makes it wait for the model.
_DEPTHS = {"latest": 10, "all": 100}


class Detector(LifecycleNode):
    """Lifecycle node that finds keypoints in the images of any number of cameras.

    ``configure`` loads the model and advertises, ``activate`` subscribes and computes. Callbacks run in one executor
    thread and only store; a worker thread computes and publishes.

    Raises
    ------
    ValueError
        If a parameter's initial value is not allowed.
    """

    def __init__(self) -> None:
        super().__init__("detector")
        self._parameters_now = declare(self, DetectorParameters)
        self._extractor: SuperPointExtractor | None = None
        self._cameras: list[Camera] = []
        self._worker: Worker[Frame] | None = None
        self._failure = ""
        self.add_on_set_parameters_callback(self._check_changes)
        self.add_post_set_parameters_callback(self._apply_changes)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still or jump
        self.create_timer(_DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=steady)
        self.create_timer(_ADOPTION_PERIOD, self._adopt_publishers, clock=steady)

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
            reason = str(error) if isinstance(error, ModelError) else f"{type(error).__name__}: {error}"
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
        depth = _DEPTHS[parameters.frame_policy]
        for name in parameters.cameras:
            camera = Camera(self, name, parameters.image_transport, depth, self._offer, self._process_unwatched)
            self._cameras.append(camera)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and compute; on failure the node stays inactive and can be activated again."""
        result = super().on_activate(state)  # the publishers
        self._worker = Worker(self._process, keep_all=self._parameters_now.frame_policy == "all")
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
        self._extractor = None

    def _stop(self) -> None:
        for camera in self._cameras:
            camera.unsubscribe()
        if self._worker is not None:
            for frame in self._worker.stop():
                frame.camera.statistics.count("discarded")
            self._worker = None

    # Images

    def _offer(self, frame: Frame) -> bool:
        if self._worker is None:  # the image was under way when the node was deactivated
            frame.camera.statistics.count("discarded")
            return True
        return self._worker.offer(frame.camera.name, frame)

    def _process(self, frame: Frame) -> None:
        """Process one frame in the worker's thread; whatever it contains, the node goes on."""
        camera = frame.camera
        try:
            self._detect(frame)
            camera.statistics.count("processed")
        except image_conversion.ImageError as error:
            camera.drop_malformed(error)
        except Exception as error:
            camera.statistics.count("failed")
            camera.warn(f"image on {camera.image_topic} failed: {type(error).__name__}: {error}")

    def _detect(self, frame: Frame) -> None:
        assert self._extractor is not None, "the worker runs only while a model is loaded"
        parameters, header = self._parameters_now, frame.message.header
        taken = time.monotonic()
        image = image_conversion.to_array(frame.message, parameters.fixed_value_range())
        converted = time.monotonic()
        self._extractor.options = parameters.detection_options()
        features = self._extractor(image)
        inferred = time.monotonic()
        message = keypoint_messages.to_message(
            header, features, self._extractor.model_name, parameters.descriptor_type, parameters.publish_descriptors
        )
        frame.camera.publish_keypoints(message)
        published = time.monotonic()
        frame.camera.statistics.took(
            {
                "queue wait": taken - frame.arrival,
                "conversion": converted - taken,
                "inference": inferred - converted,
                "publishing": published - inferred,
                "reception to publication": published - frame.arrival,
            }
        )
        if frame.camera.overlay_is_watched:
            from ..superpoint.overlay import draw_overlay  # here, because its package imports PyTorch

            overlay = draw_overlay(image, features, milliseconds=1e3 * (published - frame.arrival))
            frame.camera.publish_overlay(header, overlay)

    # Parameters

    def _process_unwatched(self) -> bool:
        return self._parameters_now.process_without_subscribers

    def _check_changes(self, changes: Sequence[Parameter[Any]]) -> SetParametersResult:
        known = declarations(DetectorParameters)
        if self._extractor is not None:
            for name in (change.name for change in changes if change.name in known and not known[change.name].live):
                reason = f"{name} takes effect at configure: deactivate and clean up the node before changing it"
                return SetParametersResult(successful=False, reason=reason)
        try:
            self._with(changes)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply_changes(self, changes: Sequence[Parameter[Any]]) -> None:
        self._parameters_now = self._with(changes)  # the worker looks here before each image

    def _with(self, changes: Sequence[Parameter[Any]]) -> DetectorParameters:
        return changed(self._parameters_now, {change.name: change.value for change in changes})

    # Timers

    def _adopt_publishers(self) -> None:
        for camera in self._cameras:
            if camera.subscription is not None:
                camera.subscription.adopt()
                if camera.subscription.mismatch:
                    camera.warn(camera.subscription.mismatch)

    def _publish_diagnostics(self) -> None:
        name = self.get_fully_qualified_name().lstrip("/")
        state = "unconfigured" if self._extractor is None else "inactive" if self._worker is None else "active"
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status = [diagnostics.model_status(name, state, self._failure, self._extractor)]
        message.status += [
            diagnostics.camera_status(
                name, camera.name, camera.image_topic, camera.subscription.mismatch, camera.statistics.snapshot()
            )
            for camera in self._cameras
            if camera.subscription is not None
        ]
        self._diagnostics.publish(message)


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns the exit code."""
    # rclpy's own handlers would pull the context away under a node that is still loading its model or publishing.
    _on_stop_signals(signal.default_int_handler)
    try:
        return _run(args)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        rclpy.try_shutdown()


def _run(args: list[str] | None) -> int:
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = Detector()
    except (
        ValueError,
        RuntimeError,
        OSError,
    ) as error:  # a bad parameter, arguments that ROS cannot read
        print(f"detector: {error}", file=sys.stderr)
        return 1
    try:
        node.start()
        rclpy.spin(node)  # the timers wake it often enough to see a signal
    finally:
        _on_stop_signals(signal.SIG_IGN)  # a second signal must not cut the clean-up short
        node.release()
        node.destroy_node()
    return 0


def _on_stop_signals(handler: Callable[[int, FrameType | None], Any] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())

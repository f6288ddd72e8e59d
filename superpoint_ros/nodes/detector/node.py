"""The detector node: images in, SuperPoint keypoints out."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration

from ..lifecycle import ManagedNode
from ..processes.memory import give_back_unused_gpu_memory, give_back_unused_memory
from ..processes.node_process import run_node
from .camera import Camera, Frame
from .masks import Mask, check_size, load_masks
from .model_loading import load_extractor
from .parameters import DetectorParameters
from .pipeline import Pipeline
from .rate_limit import RateLimiter
from .status import camera_status, model_details

if TYPE_CHECKING:  # PyTorch is imported at configure, where its absence can be reported
    from superpoint_ros.superpoint import SuperPointExtractor

_WATCH_PERIOD = 0.5  # seconds
_CLOCK_JUMP = Duration(seconds=5.0)  # a step of simulated time is shorter, however fast it is played
_FIRST_SIZE = (64, 64)
"""Pixels of the image that is processed at configure, to find out what fails and to load libraries."""


class Detector(ManagedNode[DetectorParameters]):
    """Lifecycle node that finds keypoints in the images of any number of cameras.

    ``configure`` loads the model and advertises, ``activate`` subscribes and computes. Callbacks run in one executor
    thread and only store; the threads of `Pipeline` compute and publish.
    """

    def __init__(self) -> None:
        super().__init__("detector", DetectorParameters)
        self._extractor: SuperPointExtractor | None = None
        self._pipeline: Pipeline | None = None
        self._limiter = RateLimiter(())
        self._cameras: list[Camera] = []
        self._new_masks: dict[str, Mask] = {}
        self.create_timer(_WATCH_PERIOD, self._watch, clock=self.steady_clock)
        jumps = JumpThreshold(min_forward=_CLOCK_JUMP, min_backward=Duration(nanoseconds=-1))
        self._jump_handle = self.get_clock().create_jump_callback(jumps, post_callback=self._on_clock_jump)

    # Lifecycle

    def set_up(self) -> None:
        """Load the model, compute once and advertise."""
        settings = self.settings
        model = self._extractor = load_extractor(settings)
        if settings.weights == "random":
            self.get_logger().warning("weights are RANDOM, for tests only: keypoints and descriptors mean nothing")
        self.get_logger().info(f"{model.model_name} on {model.device} ({model.backend}, {model.precision})")
        self._pipeline = Pipeline(model, settings.frame_policy == "all", self._on_device_failure)
        self._pipeline.warm_up(_FIRST_SIZE, settings)
        self._limiter = RateLimiter(settings.cameras)
        masks = load_masks(settings.mask, settings.cameras)
        for name in settings.cameras:
            camera = Camera(self, name, lambda: self.settings, self._offer, self._warm_up)
            camera.mask = masks.get(name)
            self._cameras.append(camera)

    def run(self) -> None:
        """Subscribe and compute."""
        assert self._pipeline is not None
        self._pipeline.start(self.settings.cameras)
        for camera in self._cameras:
            camera.subscribe()

    def stop(self) -> None:
        """Unsubscribe and stop computing."""
        for camera in self._cameras:
            camera.unsubscribe()
        if self._pipeline is not None:
            self._pipeline.stop()

    def clean_up(self) -> None:
        """Give up model and topics."""
        for camera in self._cameras:
            camera.destroy()
        self._cameras = []
        self._pipeline = None
        self._extractor = None
        gc.collect()  # models and their callbacks refer to each other: without this several would share the memory
        give_back_unused_memory()
        give_back_unused_gpu_memory()

    def _on_device_failure(self, error: Exception) -> None:
        """Have the executor's thread give up soon; called in one of the pipeline's."""
        self.failure = " ".join(str(error).split())

    # Images

    def _offer(self, frame: Frame) -> None:
        assert self._pipeline is not None, "cameras live no longer than the pipeline"
        if self._limiter.lets_pass(frame.camera.name, frame.arrival, frame.parameters.max_rate):
            self._pipeline.offer(frame)
        else:
            frame.camera.statistics.count("rate limit")

    def _warm_up(self, size: tuple[int, int]) -> None:
        """Prepare for images of (width, height) pixels, of which a camera_info tells."""
        assert self._pipeline is not None
        try:
            self._pipeline.warm_up(size, self.settings)
        except Exception as error:  # images of that size will say so again
            self.get_logger().warning(f"cannot prepare for images of {size[0]} x {size[1]} pixels: {error}")

    def _on_clock_jump(self, jump: TimeJump) -> None:
        for camera in self._cameras:
            camera.statistics.clock_jumped()

    # Parameters

    def check_change(self, wanted: DetectorParameters) -> None:
        """Refuse masks that do not fit."""
        if wanted.mask != self.settings.mask:
            self._new_masks = self._load_masks(wanted)

    def follow_change(self, before: DetectorParameters) -> None:
        """Give the cameras their new masks; all else they look up at each image."""
        if before.mask != self.settings.mask:
            for camera in self._cameras:
                camera.mask = self._new_masks.get(camera.name)

    def _load_masks(self, parameters: DetectorParameters) -> dict[str, Mask]:
        """Load masks and compare them with the cameras' images; raise `MaskError` where that fails."""
        masks = load_masks(parameters.mask, parameters.cameras)
        for camera in self._cameras:
            if camera.image_size is not None and camera.name in masks:
                check_size(masks[camera.name], camera.image_size, camera.name)
        return masks

    # Timers

    def _watch(self) -> None:
        """Follow the publishers, and give up when the device is lost."""
        if self.failure and self._pipeline is not None and self._pipeline.is_running:
            self.get_logger().error(f"giving up: {self.failure}")
            self.trigger_deactivate()  # which fails, and leads to the state unconfigured
        for camera in self._cameras:
            if camera.subscription is not None:
                camera.subscription.adopt()
                if camera.subscription.mismatch:
                    camera.warn(camera.subscription.mismatch)

    # Diagnostics

    def details(self) -> tuple[str, str, dict[str, object]]:
        """Describe the model."""
        return "model", self._extractor.device if self._extractor else "none", model_details(self._extractor)

    def reports(self, name: str) -> list[DiagnosticStatus]:
        """Describe the cameras."""
        return [camera_status(name, camera, self.settings) for camera in self._cameras]


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns the exit code."""
    return run_node("detector", Detector, args)


if __name__ == "__main__":
    sys.exit(main())

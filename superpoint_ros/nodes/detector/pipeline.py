"""From image messages to published results, in threads with one task each."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from superpoint_ros.images import ImageError, limits, to_array

from ..messages.keypoints import to_message
from ..processes.memory import give_back_unused_memory
from ..reporting.stream_statistics import Stage
from .camera import Frame
from .masks import check_size
from .parameters import DetectorParameters
from .worker import Worker

if TYPE_CHECKING:  # PyTorch is imported at configure, where its absence can be reported
    from superpoint_ros.superpoint import Features, SuperPointExtractor

_PATIENCE = 0.2
"""Seconds that the very first result waits for a newer image, because those up to the first one's end are late."""
_WARM_UP_PIXELS = 1920 * 1080
"""In all, for one size of images: the network's time for them on a CPU, seconds, is one in which the node is deaf."""
_SIZES = 1024
"""Sizes of images that are remembered: enough for many cameras, and not more and more while a node runs for weeks."""


@dataclass(frozen=True, eq=False)
class Picture:
    """The pixels of a frame, and when their conversion began and ended.

    Times, here and below, are seconds of ``time.monotonic``.
    """

    frame: Frame
    pixels: npt.NDArray[np.uint8]
    begun: float
    ended: float


@dataclass(frozen=True, eq=False)
class Result:
    """What the extractor found in a picture; when it began and ended, and how many seconds decoding took of that."""

    picture: Picture
    features: Features
    begun: float
    ended: float
    decoding: float

    def durations(self, published: float) -> dict[Stage, float]:
        """Return the seconds that each stage took, given when the result was published."""
        picture, arrival = self.picture, self.picture.frame.arrival
        conversion = picture.ended - picture.begun
        return {
            "queue wait": self.begun - arrival - conversion,
            "conversion": conversion,
            "inference": self.ended - self.begun - self.decoding,
            "decoding": self.decoding,
            "publishing": published - self.ended,
            "reception to publication": published - arrival,
        }


class Pipeline:
    """Takes frames of all cameras and has their cameras publish the results.

    Each thread works on an image while the next one works on the image before, so that the network alone decides the
    rate. What waits between them is bounded. With ``frame_policy: latest`` each camera has a thread for conversion, so
    that one of large JPEGs delays no other. The newest image of each waits in front of the network, converted already,
    and images of equal size go through it together, as many as the extractor takes at once. With ``all`` one thread
    converts and the network takes one image at a time (`load_extractor`): those of all cameras stay in order.

    Parameters
    ----------
    extractor : SuperPointExtractor
    keep_all : bool
        Whether the frame policy is "all".
    on_device_failure : callable
        Called in one of the threads, with the reason, when the device that computes is lost.
    """

    def __init__(
        self, extractor: SuperPointExtractor, keep_all: bool, on_device_failure: Callable[[Exception], None]
    ) -> None:
        self._extractor = extractor
        self._keep_all = keep_all
        self._on_device_failure = on_device_failure
        self._seen: dict[Hashable, None] = {}  # the one that has not come for longest first
        self._late: set[str] = set()  # cameras whose last result was dropped
        self._has_results = False
        self._warm_since = 0.0
        self.is_running = False

    def warm_up(self, size: tuple[int, int], parameters: DetectorParameters) -> None:
        """Make images of (width, height) pixels as fast as they get; does nothing while running.

        On a CPU large images are left out, or large numbers of them: the first ones that come take longer then.

        Raises
        ------
        Exception
            What the extractor raises, or `ImageError` where images of that size are refused.
        """
        width, height = size
        limits.check_size(width, height)
        batches = self._batches_to_warm_up(size, parameters)
        if self.is_running or not batches or not self._is_new((height, width), parameters):
            return
        self._extractor.options = parameters.detection_options()
        for batch in batches:
            self._prepare([np.zeros((height, width), np.uint8)] * batch)
            if self._extractor.pipeline is not None:  # where colour is a matter of the GPU
                self._prepare([np.zeros((height, width, 3), np.uint8)] * batch)

    def _batches_to_warm_up(self, size: tuple[int, int], parameters: DetectorParameters) -> list[int]:
        """Return how many images of (width, height) pixels to process together, one number after the other."""
        from superpoint_ros.superpoint.preprocessing import resized_size

        width, height = resized_size(size, parameters.resize)
        batches = range(1, min(len(parameters.cameras), self._extractor.max_batch_size) + 1)
        if self._extractor.device != "cpu":
            return list(batches)
        return [batch for batch in batches if sum(range(batch + 1)) * width * height <= _WARM_UP_PIXELS]

    def _prepare(self, images: list[npt.NDArray[np.uint8]]) -> None:
        cuda, options = self._extractor.pipeline, self._extractor.options
        if cuda is not None and cuda.supports(images, options):
            cuda.prepare(images, options)
        else:
            self._extractor(images)

    def start(self, cameras: Sequence[str]) -> None:
        """Start the threads, for the cameras of these names."""
        self._late.clear()
        self._has_results = False
        if self._keep_all:
            self._converters = dict.fromkeys(cameras, self._make_converter())
        else:
            self._converters = {camera: self._make_converter() for camera in cameras}
        self._detector = Worker("detect", self._detect, self._keep_all, _kind, self._extractor.max_batch_size)
        self._publisher = Worker("publish", self._publish, keep_all=True)
        self._painter = Worker("draw", self._draw, self._keep_all)
        self.is_running = True

    def stop(self) -> None:
        """Finish what is in progress, drop what waits and end the threads; nothing is published after that."""
        if not self.is_running:
            return
        self.is_running = False
        dropped = [frame for converter in set(self._converters.values()) for frame in converter.stop()]
        dropped += [picture.frame for picture in self._detector.stop()]
        dropped += [result.picture.frame for result in self._publisher.stop()]
        self._painter.stop()
        for frame in dropped:
            frame.camera.statistics.count("discarded")

    def offer(self, frame: Frame) -> None:
        """Take a frame; under the policy "all" this waits for room."""
        if not self.is_running:  # the image was under way when the node was deactivated
            frame.camera.statistics.count("discarded")
        elif not self._converters[frame.camera.name].offer(frame.camera.name, frame):
            frame.camera.statistics.count("overload")

    # What the threads do

    def _make_converter(self) -> Worker[Frame]:
        return Worker("convert", self._convert, self._keep_all)

    def _convert(self, frames: list[Frame]) -> None:
        for frame in frames:
            camera, begun = frame.camera, time.monotonic()
            try:
                pixels = to_array(frame.message, frame.parameters.fixed_value_range())
                camera.image_size = pixels.shape[1::-1]
                if frame.mask is not None:
                    check_size(frame.mask, camera.image_size, camera.name)
            except ImageError as error:
                camera.drop_malformed(error)
            except Exception as error:
                camera.fail(error)
            else:
                picture = Picture(frame, pixels, begun, time.monotonic())
                if not self._detector.offer(camera.name, picture):
                    camera.statistics.count("overload")

    def _detect(self, pictures: list[Picture]) -> None:
        """Process pictures of one kind; whatever they contain, the node goes on."""
        from superpoint_ros.superpoint import DeviceError

        pictures = self._without_late(pictures)
        if not pictures:
            return
        try:
            results = self._extract(pictures)
        except Exception as error:
            if isinstance(error, DeviceError):
                self._on_device_failure(error)
            elif len(pictures) > 1:  # one of them, or their number, is too much
                for picture in pictures:
                    self._detect([picture])
                return
            for picture in pictures:
                picture.frame.camera.fail(error)
            return
        if self._is_new(pictures[0].pixels.shape[:2], pictures[0].frame.parameters):
            self._warm_since = time.monotonic()
            # No two results in a row: every image of a camera may be the first one of a size.
            pictures = self._without_late(pictures, spared=self._late)
        for result in results:
            camera = result.picture.frame.camera.name
            if result.picture in pictures:
                self._late.discard(camera)
                self._has_results = True
                self._publisher.offer(camera, result)
            else:
                self._late.add(camera)

    def _without_late(self, pictures: list[Picture], spared: Collection[str] = ()) -> list[Picture]:
        """Drop what the first picture of a size made late, itself included, where a newer one comes.

        Those of the spared cameras stay.
        """
        if self._keep_all:
            return pictures
        deadline = time.monotonic() + (0.0 if self._has_results else _PATIENCE)
        kept = []
        for picture in pictures:
            camera, patience = picture.frame.camera, max(deadline - time.monotonic(), 0.0)
            may_be_late = camera.name not in spared and picture.frame.arrival <= self._warm_since
            if may_be_late and self._detector.has(camera.name, patience):
                camera.statistics.count("overload")
            else:
                kept.append(picture)
        return kept

    def _extract(self, pictures: list[Picture]) -> list[Result]:
        begun = time.monotonic()
        options = pictures[0].frame.parameters.detection_options()
        if options != self._extractor.options:  # perhaps another size
            give_back_unused_memory()
            self._extractor.options = options
        found = self._extractor([picture.pixels for picture in pictures], [picture.frame.mask for picture in pictures])
        ended, decoding = time.monotonic(), self._extractor.last_timings.get("decoding", 0.0)
        return [Result(picture, features, begun, ended, decoding) for picture, features in zip(pictures, found)]

    def _publish(self, results: list[Result]) -> None:
        for result in results:
            frame = result.picture.frame
            try:
                message = to_message(
                    frame.message.header,
                    result.features,
                    self._extractor.model_name,
                    frame.parameters.descriptor_type,
                    frame.parameters.publish_descriptors,
                    frame.camera.bearings(result.features) if frame.parameters.publish_bearings else None,
                )
                frame.camera.publish_keypoints(message)
            except Exception as error:
                frame.camera.fail(error)
                continue
            published = time.monotonic()
            frame.camera.statistics.took(result.durations(published))
            frame.camera.statistics.count("processed")
            if frame.camera.overlay_is_watched:
                self._painter.offer(frame.camera.name, result)

    def _draw(self, results: list[Result]) -> None:
        from superpoint_ros.superpoint.overlay import draw_overlay  # here, because its package imports PyTorch

        for result in results:
            frame, milliseconds = result.picture.frame, 1e3 * (result.ended - result.picture.frame.arrival)
            try:
                overlay = draw_overlay(result.picture.pixels, result.features, milliseconds)
                frame.camera.publish_overlay(frame.message.header, overlay)
            except Exception as error:
                frame.camera.warn(f"overlay of {frame.camera.name} failed: {type(error).__name__}: {error}")

    def _is_new(self, shape: tuple[int, ...], parameters: DetectorParameters) -> bool:
        """Whether (height, width) and the size it is resized to are asked for the first time, or after many others."""
        key = (*shape, parameters.resize)
        is_new = key not in self._seen
        self._seen.pop(key, None)
        self._seen[key] = None
        if len(self._seen) > _SIZES:
            del self._seen[next(iter(self._seen))]
        return is_new


def _kind(picture: Picture) -> Hashable:
    """What pictures must have in common to be processed together; grey and colour may mix."""
    return (*picture.pixels.shape[:2], picture.frame.parameters)

"""The parameters of `camera_player`, and the source and frames that they choose."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from ..parameters.declaration import TOPIC_PREFIX, check, parameter
from .sources import CameraCalibration, Frame, FrameFormat, Source, SourceError, looped, open_source


@dataclass(frozen=True)
class CameraPlayerParameters:
    """Values of all parameters of `camera_player`.

    Raises
    ------
    ValueError
        If one of them is not allowed; the message names it.
    """

    source: str = parameter(
        "virtual",
        "What to play: a video file, an image, an image folder, a V4L2 camera (/dev/videoN), a bag (folder, .mcap, "
        ".db3), 'virtual', a camera that moves along a wall of photographs, or 'room' or 'room:FLIGHT', a camera that "
        "flies through a room (docs/odometry.md lists the flights).",
    )
    camera_name: str = parameter(
        "camera",
        "Images go to <camera_name>/image_raw, calibration to <camera_name>/camera_info.",
        accepts=lambda name: TOPIC_PREFIX.fullmatch(name) is not None,
        constraint="a text that can start a topic name",
    )
    stereo: bool = parameter(
        False,
        "Play both cameras of the room: left/image_raw and right/image_raw with their camera_info, whatever "
        "camera_name says.",
    )
    frame_id: str = parameter("", "frame_id of the headers; empty for <camera_name>_optical_frame.")
    ground_truth_frame: str = parameter(
        "odom",
        "frame_id of the true poses of a simulated camera. Its origin is the first pose, x forward, y left, z up, as "
        "that of the odometry.",
    )
    rate: float = parameter(
        0.0,
        "Frames per second; 0 keeps the timing of the source: a video's rate, a bag's stamps, a camera's own rate, 10 "
        "for the room, and 30 for the others.",
        minimum=0.0,
        maximum=1000.0,
    )
    loop: bool = parameter(False, "Start again at the end of the source instead of ending the node.")
    max_frames: int = parameter(0, "End after so many frames; 0 for no limit.", minimum=0, maximum=2**31 - 1)
    width: int = parameter(
        0, "Image width in pixels; 0 keeps that of the source, or its aspect ratio.", minimum=0, maximum=16384
    )
    height: int = parameter(
        0, "Image height in pixels; 0 keeps that of the source, or its aspect ratio.", minimum=0, maximum=16384
    )
    encoding: str = parameter("bgr8", "Encoding of the images.", choices=("bgr8", "rgb8", "mono8"))
    image_transport: str = parameter(
        "raw",
        "Publish <camera_name>/image_raw, or JPEG on <camera_name>/image_raw/compressed.",
        choices=("raw", "compressed"),
    )
    jpeg_quality: int = parameter(90, "JPEG quality of compressed images, in percent.", minimum=1, maximum=100)
    reliability: str = parameter(
        "reliable", "QoS reliability that the publishers offer.", choices=("reliable", "best_effort")
    )
    camera_info_url: str = parameter(
        "",
        "Calibration as camera_calibration writes it: path or file:// URL of a YAML file. Empty takes what the source "
        "knows (bags, virtual), or says uncalibrated.",
    )
    bag_topic: str = parameter("", "Image topic of a bag; empty for its first one by name.")
    seed: int = parameter(
        0, "Path and photographs of the virtual camera, photographs of the room.", minimum=0, maximum=2**31 - 1
    )
    wait_for_subscribers: int = parameter(
        0, "Publish the first frame only when so many subscribers to the images are there.", minimum=0, maximum=100
    )

    def __post_init__(self) -> None:
        check(self)

    @property
    def format(self) -> FrameFormat:
        """Size and colour of the published images."""
        encoding = "bgr8" if (self.image_transport, self.encoding) == ("compressed", "rgb8") else self.encoding
        return FrameFormat(encoding, self.width, self.height)  # JPEG knows no order of channels, OpenCV takes BGR

    def open(self) -> Source:
        """Find the source; `SourceError` if there is none."""
        if self.stereo and self.camera_info_url:
            raise SourceError("camera_info_url is of one camera, but stereo plays two, which are calibrated")
        return open_source(
            self.source,
            rate=self.rate,
            width=self.width,
            height=self.height,
            topic=self.bag_topic,
            seed=self.seed,
            stereo=self.stereo,
        )

    def frames(self, source: Source) -> Iterator[Frame]:
        """Yield the frames of `source` to publish, converted and calibrated."""
        frames: Iterable[Frame] = looped(source) if self.loop else source
        if self.camera_info_url:
            frames = _calibrated(frames, CameraCalibration.from_yaml(self.camera_info_url))
        return map(self.format.apply, itertools.islice(frames, self.max_frames or None))


def _calibrated(frames: Iterable[Frame], calibration: CameraCalibration) -> Iterator[Frame]:
    for frame in frames:
        height, width = frame.image.shape[:2]
        if (width, height) != (calibration.width, calibration.height):
            raise SourceError(
                f"the calibration is for {calibration.width} x {calibration.height} pixels, "
                f"the images of the source have {width} x {height}"
            )
        yield replace(frame, calibration=calibration)

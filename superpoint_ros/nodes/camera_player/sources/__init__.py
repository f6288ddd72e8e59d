"""Image sources of `camera_player`; each can be iterated any number of times and yields `Frame`. No ROS in here."""

from __future__ import annotations

from pathlib import Path

from .files import CameraDevice, ImageFiles, VideoFile, is_image, silence_opencv
from .frames import (
    DEFAULT_RATE,
    CameraCalibration,
    Frame,
    FrameFormat,
    Source,
    SourceError,
    looped,
)
from .room import Room
from .virtual import VirtualCamera

__all__ = [
    "CameraCalibration",
    "CameraDevice",
    "Frame",
    "FrameFormat",
    "ImageFiles",
    "Room",
    "Source",
    "SourceError",
    "VideoFile",
    "VirtualCamera",
    "looped",
    "open_source",
    "silence_opencv",
]

BAG_SUFFIXES = (".mcap", ".db3", ".bag")


def open_source(
    source: str,
    *,
    rate: float = 0.0,
    width: int = 0,
    height: int = 0,
    topic: str = "",
    seed: int = 0,
    stereo: bool = False,
) -> Source:
    """Choose the reader for `source`.

    Parameters
    ----------
    source : str
        "virtual", "room", "room:FLIGHT", or the path of a video file, an image, a folder of images, a bag (folder,
        .mcap, .db3, .bag) or a V4L2 camera (/dev/videoN).
    rate : float
        Frames per second; 0 keeps the timing of the source, or 30 (10 in the room) where it has none.
    width, height : int
        Wanted size in pixels. Only a virtual camera and a V4L2 camera can follow; for the others see `FrameFormat`.
    topic : str
        Image topic of a bag; empty for the first one.
    seed : int
        Path of the virtual camera, photographs of the room.
    stereo : bool
        Whether the room is seen by two cameras; no other source has two.

    Raises
    ------
    SourceError
        If there is nothing of that name. What is wrong inside shows when iteration starts.
    """
    size = (width or round(height * 4 / 3) or 640, height or round(width * 3 / 4) or 480)
    kind, _, flight = source.partition(":")
    if kind == "room":
        return Room(flight or Room.flight, *size, rate=rate or Room.rate, seed=seed, stereo=stereo)
    if stereo:
        raise SourceError(f"{source}: only the simulated room ('room') has two cameras")
    if source == "virtual":
        return VirtualCamera(*size, rate=rate or DEFAULT_RATE, seed=seed)
    path = Path(source).expanduser()
    if not path.exists():
        raise SourceError(_missing(path))
    if path.is_char_device():
        return CameraDevice(path, rate, width, height)
    if path.suffix in BAG_SUFFIXES or (path / "metadata.yaml").exists():
        return _bag(path, topic, rate)
    if path.is_dir() or is_image(path):
        return ImageFiles(path, rate)
    return VideoFile(path, rate)


def _bag(path: Path, topic: str, rate: float) -> Source:
    try:
        from .bags import BagTopic
    except ImportError as error:
        raise SourceError(f"{path}: reading bags needs pip install rosbags rosbags-image ({error})") from None
    return BagTopic(path, topic, rate)


def _missing(path: Path) -> str:
    if path.parent == Path("/dev"):
        cameras = ", ".join(sorted(str(camera) for camera in path.parent.glob("video*"))) or "none"
        return f"{path}: no such device; V4L2 cameras here: {cameras}"
    return f"{path}: no such file or folder; expected a video, an image folder, a bag, /dev/videoN, 'virtual' or 'room'"

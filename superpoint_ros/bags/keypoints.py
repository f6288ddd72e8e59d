"""From the image topics of a recording to a bag with their keypoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rosbags.interfaces import Connection
from rosbags.typesys.store import Typestore

from ..geometry import match_descriptors
from ..images import ImageError
from ..superpoint import Features, SuperPointExtractor
from .messages import DETECTOR_QOS, IMAGE_TYPES, KEYPOINTS_TYPE, MATCHES_TYPE, MessageMaker, describe
from .recordings import BagError, Recording
from .resumable import OutputTopic, Progress, ResumableBag
from .units import Unit, ahead, decode, read_units, skip

_COMPRESSED, _COMPRESSED_DEPTH = "/compressed", "/compressedDepth"


@dataclass(frozen=True)
class CameraTopics:
    """Where the keypoints and matches of an image topic go."""

    keypoints: str
    matches: str


def choose_cameras(connections: Sequence[Connection], chosen: Sequence[str]) -> dict[str, CameraTopics]:
    """Return the image topics to search, and where what is found goes.

    Keypoints of ``left/image_raw`` and ``left/image_raw/compressed`` go to ``left/keypoints`` and ``left/matches``, as
    from the detector node; those of topics that would share these names go to ``left/image_raw/keypoints`` and so on.

    Parameters
    ----------
    connections : list of Connection
        Of the recording.
    chosen : list of str
        Topics; empty for all image topics, but not the compressed one of an image that is there raw, nor depth.

    Raises
    ------
    BagError
        If a chosen topic has no images, or the recording has none.
    """
    recorded = {connection.topic: connection.msgtype for connection in connections}
    images = [topic for topic, msgtype in recorded.items() if msgtype in IMAGE_TYPES]
    there = ", ".join(sorted(images)) or f"none; its topics are {', '.join(sorted(recorded)) or 'none'}"
    if unknown := [topic for topic in chosen if topic not in images]:
        raise BagError(f"{unknown[0]} is no image topic of the bag; its image topics are {there}")
    topics = list(dict.fromkeys(chosen)) or [topic for topic in images if not _is_second_choice(topic, images)]
    if not topics:
        raise BagError(f"the bag has no images ({' or '.join(IMAGE_TYPES)}); its image topics are {there}")
    parents = [_base(topic).rpartition("/")[0] for topic in topics]
    cameras = {}
    for topic, parent in zip(topics, parents):
        place = parent if parents.count(parent) == 1 else topic
        cameras[topic] = CameraTopics(f"{place}/keypoints", f"{place}/matches")
    return cameras


def _base(topic: str) -> str:
    return topic.removesuffix(_COMPRESSED)


def _is_second_choice(topic: str, images: Sequence[str]) -> bool:
    return topic.endswith(_COMPRESSED_DEPTH) or (_base(topic) != topic and _base(topic) in images)


def output_topics(
    connections: Sequence[Connection], cameras: dict[str, CameraTopics], matches: bool, store: Typestore
) -> list[OutputTopic]:
    """Return the topics to write: those that are copied, then the new ones.

    Raises
    ------
    BagError
        If a new topic is among the copied ones.
    """
    new = [(camera.keypoints, KEYPOINTS_TYPE) for camera in cameras.values()]
    new += [(camera.matches, MATCHES_TYPE) for camera in cameras.values() if matches]
    names = {connection.topic for connection in connections}
    if taken := [name for name, _ in new if name in names]:
        raise BagError(f"the bag has {taken[0]} already; --only-keypoints leaves out what it has")
    copied = [
        OutputTopic(
            connection.topic,
            connection.msgtype,
            *describe(connection, store),
            tuple(connection.ext.offered_qos_profiles),  # type: ignore[union-attr]
        )
        for connection in connections
    ]
    return copied + [
        OutputTopic(
            name,
            msgtype,
            store.generate_msgdef(msgtype, ros_version=2)[0],
            store.hash_rihs01(msgtype),
            (DETECTOR_QOS,),
        )
        for name, msgtype in new
    ]


class KeypointWriter:
    """Searches the images of a recording and writes what it finds, in the order of the recording.

    Parameters
    ----------
    extractor : SuperPointExtractor
    store : Typestore
    maker : MessageMaker
    cameras : dict of CameraTopics
        By image topic.
    copied : set of (str, str)
        Topics and types that are copied.
    matches : bool
        Whether each image is matched with the one before of its topic.
    """

    def __init__(
        self,
        extractor: SuperPointExtractor,
        store: Typestore,
        maker: MessageMaker,
        cameras: dict[str, CameraTopics],
        copied: set[tuple[str, str]],
        matches: bool,
    ) -> None:
        self._extractor = extractor
        self._store = store
        self._maker = maker
        self._cameras = cameras
        self._copied = copied
        self._matches = matches
        self._previous: dict[str, tuple[Any, Features]] = {}

    def run(
        self,
        recording: Recording,
        bag: ResumableBag,
        images_per_part: int,
        report: Callable[[int, list[str]], None],
    ) -> None:
        """Write the bag, from where an earlier run left it.

        Parameters
        ----------
        recording : Recording
        bag : ResumableBag
        images_per_part : int
            See `ResumableBag.advance`.
        report : callable
            Gets the number of images done since it was called last, and why others could not be read.
        """
        messages = recording.messages()
        self._remember(list(skip(messages, bag.progress.messages_read, self._cameras.keys()).values()))
        units = read_units(messages, self._cameras.keys(), self._store, self._extractor.max_batch_size)
        for unit in ahead(units):
            keypoints = self._write(unit, bag)
            bag.advance(Progress(len(unit.messages), len(unit.pictures), keypoints), images_per_part)
            reasons = [f"{unit.messages[index][0].topic}: {reason}" for index, reason in unit.failures.items()]
            report(len(unit.pictures) + len(reasons), reasons)

    def _remember(self, images: list[Any]) -> None:
        """Search the images before those to come again, to match them."""
        for message in images if self._matches else []:
            try:
                picture = decode(message, self._store)
            except ImageError:
                continue
            self._previous[picture.topic] = picture.header, self._extractor(picture.pixels)

    def _write(self, unit: Unit, bag: ResumableBag) -> int:
        """Write a unit and return the number of its keypoints."""
        found = dict(zip(unit.pictures, self._extractor([picture.pixels for picture in unit.pictures.values()])))
        for index, (connection, time, data) in enumerate(unit.messages):
            if (connection.topic, connection.msgtype) in self._copied:
                bag.write(connection.topic, connection.msgtype, time, data)
            if index in found:
                self._write_features(unit.pictures[index].topic, unit.pictures[index].header, found[index], time, bag)
            elif index in unit.failures:
                self._previous.pop(connection.topic, None)
        return sum(map(len, found.values()))

    def _write_features(self, topic: str, header: Any, features: Features, time: int, bag: ResumableBag) -> None:
        camera = self._cameras[topic]
        bag.write(camera.keypoints, KEYPOINTS_TYPE, time, self._maker.keypoints(header, features))
        if not self._matches:
            return
        if topic in self._previous:
            previous_header, previous = self._previous[topic]
            matches = match_descriptors(previous.descriptors, features.descriptors)
            message = self._maker.matches((previous_header, header), (previous, features), matches)
            bag.write(camera.matches, MATCHES_TYPE, time, message)
        self._previous[topic] = header, features

"""Reading a bag in units: as many messages as hold one batch of images, the images decoded."""

from __future__ import annotations

from collections.abc import Iterator, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from rosbags.serde import SerdeError
from rosbags.typesys.store import Typestore

from ..images import ImageError, to_array
from .recordings import Message

_UNIT_BYTES = 2**28  # a unit ends here too, in bags that hold much else between their images

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Picture:
    """A decoded image message.

    Attributes
    ----------
    topic : str
    header : std_msgs/Header
        As `rosbags` reads it.
    pixels : ndarray, (H, W) or (H, W, 3), uint8
        Luminance or RGB.
    """

    topic: str
    header: Any
    pixels: NDArray[np.uint8]


@dataclass
class Unit:
    """Consecutive messages of a bag.

    Attributes
    ----------
    messages : list of Message
    pictures : dict of Picture
        By the index of their message.
    failures : dict of str
        Why an image could not be decoded, by the index of its message.
    """

    messages: list[Message] = field(default_factory=list)
    pictures: dict[int, Picture] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)


def read_units(messages: Iterator[Message], image_topics: Set[str], store: Typestore, batch: int) -> Iterator[Unit]:
    """Part `messages` into units of `batch` images; the last may hold fewer."""
    unit, size = Unit(), 0
    for message in messages:
        if message[0].topic in image_topics:
            try:
                unit.pictures[len(unit.messages)] = decode(message, store)
            except ImageError as error:
                unit.failures[len(unit.messages)] = str(error)
        unit.messages.append(message)
        size += len(message[2])
        if len(unit.pictures) == batch or size > _UNIT_BYTES:
            yield unit
            unit, size = Unit(), 0
    if unit.messages:
        yield unit


def decode(message: Message, store: Typestore) -> Picture:
    """Decode an image message.

    Raises
    ------
    ImageError
        If it is malformed.
    """
    connection, _, data = message
    try:
        image: Any = store.deserialize_cdr(data, connection.msgtype)
    except (SerdeError, IndexError) as error:
        raise ImageError(f"not a message of type {connection.msgtype}: {error}") from error
    return Picture(connection.topic, image.header, to_array(image))


def skip(messages: Iterator[Message], count: int, image_topics: Set[str]) -> dict[str, Message]:
    """Read past `count` messages; returns the last image of each topic among them."""
    return {message[0].topic: message for message in islice(messages, count) if message[0].topic in image_topics}


def ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """Compute each item in a thread while the one before is in use."""
    end = object()
    with ThreadPoolExecutor(1) as thread:
        future = thread.submit(next, items, end)
        while (item := future.result()) is not end:
            future = thread.submit(next, items, end)
            yield item  # type: ignore[misc]

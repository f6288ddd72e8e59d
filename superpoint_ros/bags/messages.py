"""The package's messages as `rosbags` reads and writes them, made from the definitions in ``msg/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from rosbags.interfaces import (
    Connection,
    MessageDefinitionFormat,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from ..geometry import Matches
from ..superpoint import Features

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
KEYPOINTS_TYPE = "superpoint_ros/msg/KeypointArray"
MATCHES_TYPE = "superpoint_ros/msg/KeypointMatches"
DESCRIPTOR_TYPES = ("float32", "int8", "none")
DescriptorType = Literal["float32", "int8", "none"]

_INFINITE = QosTime(9223372036, 854775807)
DETECTOR_QOS = Qos(  # what the detector offers: reliable, the last 5
    QosHistory.KEEP_LAST,
    5,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    _INFINITE,
    _INFINITE,
    QosLiveliness.AUTOMATIC,
    _INFINITE,
    False,
)
_IDL_SEPARATOR = "=" * 80 + "\n"


def make_typestore() -> Typestore:
    """Return the types of the latest ROS 2 that `rosbags` knows, and this package's."""
    store = get_typestore(Stores.LATEST)
    for name in (KEYPOINTS_TYPE, MATCHES_TYPE):
        definition = _definitions_folder() / f"{name.rpartition('/')[2]}.msg"
        store.register(get_types_from_msg(definition.read_text(encoding="utf-8"), name))
    return store


def _definitions_folder() -> Path:
    """Return ``msg/`` of the sources, or ``share/superpoint_ros/msg`` of the prefix that ROS or pip installed into."""
    here = Path(__file__)
    installed = [prefix / "share" / "superpoint_ros" / "msg" for prefix in here.parents[3:]]
    for folder in (here.parents[2] / "msg", *installed):
        if (folder / "KeypointArray.msg").is_file():
            return folder
    raise FileNotFoundError(f"share/superpoint_ros/msg with the message definitions is nowhere above {here}")


def describe(connection: Connection, store: Typestore) -> tuple[str, str]:
    """Return definition and hash (REP 2016) of a topic's type; "" for what neither the bag nor `rosbags` knows."""
    definition = connection.msgdef.data
    if connection.msgdef.format == MessageDefinitionFormat.NONE:
        if connection.msgtype not in store.fielddefs:
            return "", ""  # rosbags refuses a hash that it cannot compute from the definition
        definition = store.generate_msgdef(connection.msgtype, ros_version=2)[0]
    return definition, connection.digest or _type_hash(definition, connection.msgtype)


def _type_hash(definition: str, msgtype: str) -> str:
    types: dict[str, Any] = {}
    try:
        if definition.startswith(f"{_IDL_SEPARATOR}IDL: "):
            for part in definition.split(_IDL_SEPARATOR)[1:]:
                types.update(get_types_from_idl(part.partition("\n")[2]))
        else:
            types.update(get_types_from_msg(definition, msgtype))
        store = get_typestore(Stores.EMPTY)
        store.register(types)
        return store.hash_rihs01(msgtype)
    except Exception:  # definitions of others, with whatever the parsers do not know
        return ""


class MessageMaker:
    """Makes serialised messages of what was found in images.

    Parameters
    ----------
    store : Typestore
        From `make_typestore`.
    model : str
        Names the weights.
    descriptor_type : {"float32", "int8", "none"}
        How keypoints carry their descriptors.
    """

    def __init__(self, store: Typestore, model: str, descriptor_type: DescriptorType) -> None:
        self._store = store
        self._model = model
        self._descriptor_type = descriptor_type

    def keypoints(self, header: Any, features: Features) -> memoryview:
        """Serialise a `KeypointArray`, without bearings; `header` is the image's."""
        descriptors = np.ascontiguousarray(features.descriptors, np.float32).ravel()
        quantised = np.empty(0, np.int8)
        if self._descriptor_type == "int8":
            quantised = np.rint(descriptors * np.float32(127)).astype(np.int8)
        message = self._store.types[KEYPOINTS_TYPE](
            header=header,
            width=features.image_size[0],
            height=features.image_size[1],
            x=np.ascontiguousarray(features.keypoints[:, 0]),
            y=np.ascontiguousarray(features.keypoints[:, 1]),
            scores=features.scores,
            descriptor_size=0 if self._descriptor_type == "none" else features.descriptors.shape[1],
            descriptors=descriptors if self._descriptor_type == "float32" else np.empty(0, np.float32),
            descriptors_int8=quantised,
            bearings=np.empty(0, np.float32),
            model=self._model,
        )
        return self._store.serialize_cdr(message, KEYPOINTS_TYPE)

    def matches(self, headers: tuple[Any, Any], features: tuple[Features, Features], matches: Matches) -> memoryview:
        """Serialise the `KeypointMatches` of two images, the earlier one first, from which nothing is estimated."""
        indices = [np.ascontiguousarray(rows, np.uint32) for rows in matches.indices.T]
        points = [one.keypoints[rows] for one, rows in zip(features, indices)]
        message = self._store.types[MATCHES_TYPE](
            header=headers[1],
            reference_header=headers[0],
            indices0=indices[0],
            indices1=indices[1],
            x0=np.ascontiguousarray(points[0][:, 0]),
            y0=np.ascontiguousarray(points[0][:, 1]),
            x1=np.ascontiguousarray(points[1][:, 0]),
            y1=np.ascontiguousarray(points[1][:, 1]),
            distances=matches.distances,
            kind=0,
            estimated=False,
            matrix=np.zeros(9),
            inliers=np.ones(len(matches), np.uint8),
            model=self._model,
        )
        return self._store.serialize_cdr(message, MATCHES_TYPE)

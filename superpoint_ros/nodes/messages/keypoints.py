"""Between `KeypointArray` messages and NumPy, without loops over keypoints and without needless copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from std_msgs.msg import Header

from superpoint_ros.msg import KeypointArray

from .arrays import packed

if TYPE_CHECKING:  # so that reading messages needs no PyTorch
    from superpoint_ros.superpoint import Features

DescriptorType = Literal["float32", "int8"]

_INT8_SCALE = 127.0


class Keypoints(NamedTuple):
    """What a `KeypointArray` holds, as arrays.

    Attributes
    ----------
    keypoints : numpy.ndarray, (N, 2), float32
        x and y in pixels of the image; the centre of the top-left pixel is (0, 0).
    scores : numpy.ndarray, (N,), float32
        Best first. Shares memory with the message.
    descriptors : numpy.ndarray, (N, D), float32 or int8
        Unit vectors, or 127 times unit vectors where the message carries int8; (N, 0) where it carries none. Shares
        memory with the message.
    image_size : tuple of int
        (width, height) in pixels.
    model : str
        Names the weights; descriptors may only be matched where it is equal.
    bearings : numpy.ndarray, (N, 3), float32, or (0, 3)
        Unit vectors in the camera's optical frame, NaN where unknown; no rows where the message carries none. Shares
        memory with the message.
    """

    keypoints: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    descriptors: npt.NDArray[Any]
    image_size: tuple[int, int]
    model: str
    bearings: npt.NDArray[np.float32]


def to_message(
    header: Header,
    features: Features,
    model: str,
    descriptor_type: DescriptorType = "float32",
    publish_descriptors: bool = True,
    bearings: npt.NDArray[np.float32] | None = None,
) -> KeypointArray:
    """Build the message for the features of one image.

    Parameters
    ----------
    header : std_msgs.msg.Header
        The image's header, taken over unchanged.
    features : Features
        Keypoints (N, 2), scores (N,) and unit descriptors (N, D), all float32.
    model : str
        Names the weights.
    descriptor_type : {"float32", "int8"}
        "int8" stores 127 times the value, rounded.
    publish_descriptors : bool
        Whether the message carries descriptors; without, `descriptor_size` is 0.
    bearings : numpy.ndarray, (N, 3), float32, optional
        Directions of the keypoints.
    """
    message = KeypointArray(header=header, model=model)
    message.width, message.height = features.image_size
    message.x = packed("f", features.keypoints[:, 0])
    message.y = packed("f", features.keypoints[:, 1])
    message.scores = packed("f", features.scores)
    if publish_descriptors:
        message.descriptor_size = features.descriptors.shape[1]
        if descriptor_type == "int8":
            quantised = np.rint(features.descriptors * np.float32(_INT8_SCALE)).astype(np.int8)
            message.descriptors_int8 = packed("b", quantised)
        else:
            message.descriptors = packed("f", features.descriptors)
    if bearings is not None:
        message.bearings = packed("f", bearings)
    return message


def from_message(message: KeypointArray) -> Keypoints:
    """Return the content of a message as NumPy arrays.

    Parameters
    ----------
    message : KeypointArray
        As received.

    Raises
    ------
    ValueError
        If the lengths of the message's arrays contradict each other.
    """
    x, y, scores = np.asarray(message.x), np.asarray(message.y), np.asarray(message.scores)
    flat = np.asarray(message.descriptors_int8 if len(message.descriptors_int8) else message.descriptors)
    bearings = np.asarray(message.bearings)
    if (
        not len(x) == len(y) == len(scores)
        or flat.size != len(x) * message.descriptor_size
        or bearings.size not in (0, 3 * len(x))
    ):
        raise ValueError(
            f"KeypointArray is inconsistent: {len(x)} x, {len(y)} y, {len(scores)} scores, {flat.size} descriptor and "
            f"{bearings.size} bearing elements; expected N, N, N, N x {message.descriptor_size} and N x 3 or 0"
        )
    return Keypoints(
        keypoints=np.stack((x, y), axis=1),
        scores=scores,
        descriptors=flat.reshape(len(x), message.descriptor_size),
        image_size=(message.width, message.height),
        model=message.model,
        bearings=bearings.reshape(-1, 3),
    )

"""Between `KeypointMatches` messages and NumPy, without loops over matches and without needless copies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from std_msgs.msg import Header

from superpoint_ros.geometry import Matches
from superpoint_ros.matching import KINDS, Kind
from superpoint_ros.msg import KeypointMatches

from .arrays import packed


class MatchedKeypoints(NamedTuple):
    """What a `KeypointMatches` holds, as arrays.

    Attributes
    ----------
    indices : numpy.ndarray, (M, 2), int64
        Rows in the `KeypointArray` of frame 0 (the reference) and of frame 1, ascending in the first.
    points0, points1 : numpy.ndarray, (M, 2), float32
        x and y in pixels of frame 0 and of frame 1.
    distances : numpy.ndarray, (M,), float32
        Between the unit descriptors, in [0, 2]. Shares memory with the message.
    kind : {"none", "homography", "essential"}
        What was to be estimated.
    matrix : numpy.ndarray, (3, 3), float64, or None
        The estimate, from frame 0 to frame 1; None if there is none. Shares memory with the message.
    inliers : numpy.ndarray, (M,), bool
        Matches that agree with the estimate; all of them where nothing was to be estimated.
    model : str
        Names the weights of the descriptors.
    """

    indices: npt.NDArray[np.int64]
    points0: npt.NDArray[np.float32]
    points1: npt.NDArray[np.float32]
    distances: npt.NDArray[np.float32]
    kind: Kind
    matrix: npt.NDArray[np.float64] | None
    inliers: npt.NDArray[np.bool_]
    model: str


def to_message(
    header: Header,
    reference_header: Header,
    keypoints0: npt.NDArray[np.float32],
    keypoints1: npt.NDArray[np.float32],
    matches: Matches,
    model: str,
    kind: Kind = "none",
    matrix: npt.NDArray[np.float64] | None = None,
    inliers: npt.NDArray[np.bool_] | None = None,
) -> KeypointMatches:
    """Build the message for the matches of two frames.

    Parameters
    ----------
    header, reference_header : std_msgs.msg.Header
        Of frame 1 and of frame 0.
    keypoints0, keypoints1 : numpy.ndarray, (N0, 2) and (N1, 2)
        All keypoints of the two frames, in pixels.
    matches : Matches
        Between these.
    model : str
        Names the weights of the descriptors.
    kind : {"none", "homography", "essential"}
        What was to be estimated.
    matrix : numpy.ndarray, (3, 3), optional
        The estimate; None if it failed.
    inliers : numpy.ndarray, (M,), bool, optional
        Of the estimate; needed with `matrix`.
    """
    message = KeypointMatches(header=header, reference_header=reference_header, model=model, kind=KINDS.index(kind))
    rows, columns = matches.indices.T
    message.indices0, message.indices1 = packed("I", rows), packed("I", columns)
    message.x0, message.y0 = (packed("f", values) for values in keypoints0[rows].T)
    message.x1, message.y1 = (packed("f", values) for values in keypoints1[columns].T)
    message.distances = packed("f", matches.distances)
    if matrix is not None:
        message.estimated = True
        message.matrix = np.ascontiguousarray(matrix, np.float64).ravel()
    if inliers is None:
        inliers = np.full(len(matches), kind == "none")
    message.inliers = packed("B", inliers)
    return message


def from_message(message: KeypointMatches) -> MatchedKeypoints:
    """Return the content of a message as NumPy arrays.

    Raises
    ------
    ValueError
        If the lengths of the message's arrays contradict each other, or its kind is unknown.
    """
    names = ("indices0", "indices1", "x0", "y0", "x1", "y1", "distances", "inliers")
    arrays = {name: np.asarray(getattr(message, name)) for name in names}
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"KeypointMatches is inconsistent: all arrays must have one length, got {lengths}")
    if message.kind >= len(KINDS):
        raise ValueError(f"KeypointMatches is of the unknown kind {message.kind}")
    return MatchedKeypoints(
        indices=np.stack((arrays["indices0"], arrays["indices1"]), axis=1).astype(np.int64),
        points0=np.stack((arrays["x0"], arrays["y0"]), axis=1),
        points1=np.stack((arrays["x1"], arrays["y1"]), axis=1),
        distances=arrays["distances"],
        kind=KINDS[message.kind],
        matrix=np.asarray(message.matrix).reshape(3, 3) if message.estimated else None,
        inliers=arrays["inliers"] != 0,
        model=message.model,
    )

"""KeypointMatches messages and NumPy, back and forth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from superpoint_ros.msg import KeypointMatches

from superpoint_ros.geometry import Matches
from superpoint_ros.nodes.messages.matches import from_message, to_message

HEADERS = Header(stamp=Time(sec=2), frame_id="camera"), Header(stamp=Time(sec=1), frame_id="camera")


def random_matches(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, Matches]:
    """Return the keypoints of two frames and matches between them."""
    generator = np.random.default_rng(seed)
    keypoints = [generator.uniform(0, 480, (count + extra, 2)).astype(np.float32) for extra in (3, 5)]
    rows, columns = (generator.permutation(len(points))[:count] for points in keypoints)
    distances = generator.uniform(0, 2, count).astype(np.float32)
    return *keypoints, Matches(np.stack([np.sort(rows), columns], axis=1), distances)


def sent(message: KeypointMatches) -> KeypointMatches:
    """Return what a subscriber gets."""
    return deserialize_message(serialize_message(message), KeypointMatches)


@given(count=st.integers(0, 50), seed=st.integers(0, 100), kind=st.sampled_from(["none", "homography", "essential"]))
def test_everything_arrives_as_it_was(count: int, seed: int, kind: str) -> None:
    keypoints0, keypoints1, matches = random_matches(count, seed)
    matrix = None if kind == "none" else np.random.default_rng(seed).normal(size=(3, 3))
    inliers = None if kind == "none" else np.random.default_rng(seed).random(count) < 0.5
    message = sent(to_message(*HEADERS, keypoints0, keypoints1, matches, "weights@1", kind, matrix, inliers))
    result = from_message(message)
    assert (message.header, message.reference_header) == HEADERS
    assert (result.kind, result.model, message.estimated) == (kind, "weights@1", matrix is not None)
    np.testing.assert_array_equal(result.indices, matches.indices)
    np.testing.assert_array_equal(result.points0, keypoints0[matches.indices[:, 0]])
    np.testing.assert_array_equal(result.points1, keypoints1[matches.indices[:, 1]])
    np.testing.assert_array_equal(result.distances, matches.distances)
    np.testing.assert_array_equal(result.inliers, np.ones(count, bool) if inliers is None else inliers)
    assert result.inliers.dtype == bool
    assert result.matrix is None if matrix is None else np.array_equal(result.matrix, matrix)


def test_a_failed_estimate_has_no_inliers() -> None:
    result = from_message(sent(to_message(*HEADERS, *random_matches(7), "", "homography")))
    assert result.matrix is None and result.kind == "homography" and not result.inliers.any()


def test_reading_shares_the_memory_of_the_message() -> None:
    message = to_message(*HEADERS, *random_matches(7), "")
    assert np.shares_memory(from_message(message).distances, np.asarray(message.distances))


@pytest.mark.parametrize("field", ["indices0", "x1", "distances", "inliers"])
def test_refuses_arrays_whose_lengths_contradict(field: str) -> None:
    message = to_message(*HEADERS, *random_matches(7), "")
    getattr(message, field).pop()
    with pytest.raises(ValueError, match=rf"one length, got .*'{field}': 6"):
        from_message(message)


def test_refuses_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match="unknown kind 7"):
        from_message(KeypointMatches(kind=7))

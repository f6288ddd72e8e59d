"""KeypointArray messages and NumPy, back and forth."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from superpoint_ros.msg import KeypointArray

from superpoint_ros.nodes.messages.keypoints import from_message, to_message
from superpoint_ros.superpoint import Features


def random_features(count: int, descriptor_size: int, seed: int = 0) -> Features:
    generator = np.random.default_rng(seed)
    descriptors = generator.normal(size=(count, descriptor_size)).astype(np.float32)
    return Features(
        keypoints=generator.uniform(0, 480, (count, 2)).astype(np.float32),
        scores=np.sort(generator.uniform(0, 1, count).astype(np.float32))[::-1],
        descriptors=descriptors / np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-9),
        image_size=(640, 480),
    )


def sent(message: KeypointArray) -> KeypointArray:
    """Return what a subscriber gets."""
    return deserialize_message(serialize_message(message), KeypointArray)


@settings(deadline=None)
@given(st.integers(0, 50), st.sampled_from([1, 8, 256]), st.integers(0, 100))
def test_float32_descriptors_arrive_bit_for_bit(count: int, size: int, seed: int) -> None:
    features = random_features(count, size, seed)
    header = Header(frame_id="camera")
    message = sent(to_message(header, features, "weights@1"))
    result = from_message(message)
    assert message.header == header and result.model == "weights@1" and result.image_size == (640, 480)
    assert message.descriptor_size == size
    np.testing.assert_array_equal(result.keypoints, features.keypoints)
    np.testing.assert_array_equal(result.scores, features.scores)
    np.testing.assert_array_equal(result.descriptors, features.descriptors)
    assert result.descriptors.dtype == np.float32


def test_bearings_arrive_as_rows() -> None:
    features = random_features(7, 8)
    bearings = np.arange(21, dtype=np.float32).reshape(7, 3)
    np.testing.assert_array_equal(
        from_message(sent(to_message(Header(), features, "", bearings=bearings))).bearings, bearings
    )
    assert from_message(sent(to_message(Header(), features, ""))).bearings.shape == (0, 3)


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(0, 100))
def test_int8_descriptors_are_127_times_the_value_rounded(count: int, seed: int) -> None:
    features = random_features(count, 64, seed)
    message = sent(to_message(Header(), features, "", descriptor_type="int8"))
    result = from_message(message)
    assert len(message.descriptors) == 0 and result.descriptors.dtype == np.int8
    np.testing.assert_allclose(result.descriptors / 127, features.descriptors, atol=0.5 / 127 + 1e-6)


def test_descriptors_can_be_left_out() -> None:
    message = sent(to_message(Header(), random_features(5, 64), "", publish_descriptors=False))
    assert message.descriptor_size == 0 and len(message.descriptors) == len(message.descriptors_int8) == 0
    assert from_message(message).descriptors.shape == (5, 0)


def test_descriptors_that_are_left_out_are_not_touched() -> None:
    features = vars(random_features(5, 64))
    without: Any = SimpleNamespace(**{name: value for name, value in features.items() if name != "descriptors"})
    assert len(to_message(Header(), without, "", publish_descriptors=False).x) == 5


def test_reading_shares_the_memory_of_the_message() -> None:
    message = to_message(Header(), random_features(5, 64), "")
    assert np.shares_memory(from_message(message).descriptors, np.asarray(message.descriptors))


def test_takes_arrays_that_are_not_contiguous() -> None:
    features = random_features(10, 64)
    half = Features(features.keypoints[::2], features.scores[::2], features.descriptors[::2, ::2], (640, 480))
    result = from_message(to_message(Header(), half, ""))
    np.testing.assert_array_equal(result.keypoints, half.keypoints)
    np.testing.assert_array_equal(result.descriptors, half.descriptors)


@pytest.mark.parametrize("field", ["x", "y", "scores", "descriptors", "bearings"])
def test_refuses_arrays_whose_lengths_contradict(field: str) -> None:
    message = to_message(Header(), random_features(5, 64), "", bearings=np.zeros((5, 3), np.float32))
    getattr(message, field).pop()
    with pytest.raises(ValueError, match="expected N"):
        from_message(message)

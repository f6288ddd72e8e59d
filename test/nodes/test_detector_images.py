"""Images of every kind into a detector process, keypoints out: as the library finds them in the same pixels."""

from __future__ import annotations

import io
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as pillow

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

from diagnostic_msgs.msg import DiagnosticArray
from node_testing import (
    Connection,
    Probe,
    compressed_message,
    image_message,
    latest_status,
    textured_image,
    values,
)
from sensor_msgs.msg import Image

from superpoint_ros.images import to_array
from superpoint_ros.nodes.messages.keypoints import from_message
from superpoint_ros.superpoint import Features, SuperPointExtractor

OPTIONS = {"threshold": 0.01, "nms_radius": 3, "max_keypoints": 200, "border": 6, "subpixel": "soft_argmax"}
MODEL = {"weights": "random", "device": "cpu", "backend": "torch", "precision": "fp32"}


RGB = textured_image(96, 128)


def compressed(format: str) -> bytes:
    buffer = io.BytesIO()
    pillow.fromarray(RGB).save(buffer, format)
    return buffer.getvalue()


PNG = compressed("PNG")


@pytest.fixture(scope="module")
def extractor() -> SuperPointExtractor:
    model = dict(MODEL)
    return SuperPointExtractor.from_pretrained(model.pop("weights"), **model, **OPTIONS)


@pytest.fixture(scope="module")
def detector(start_node: Callable[..., Any], probe: Probe) -> SimpleNamespace:
    """A detector with a raw camera, and one with a compressed one, each with what a test needs of it."""
    node = start_node("detector", {**MODEL, **OPTIONS, "cameras": ["left"]})
    packed = {**MODEL, **OPTIONS, "cameras": ["right"], "image_transport": "compressed"}
    start_node("detector", packed, "-r", "__node:=packed_detector")
    return SimpleNamespace(
        node=node,
        raw=Connection(probe, "left"),
        compressed=Connection(probe, "right", "image_raw/compressed", first=compressed_message(PNG, "png")),
        diagnostics=probe.collect(DiagnosticArray, "/diagnostics"),
    )


def assert_same(message: Any, features: Features) -> None:
    found = from_message(message)
    assert found.image_size == features.image_size
    assert len(found.scores) == len(features) > 20
    np.testing.assert_allclose(found.keypoints, features.keypoints, atol=1e-3)
    np.testing.assert_allclose(found.scores, features.scores, atol=1e-6)
    np.testing.assert_allclose(found.descriptors, features.descriptors, atol=1e-5)


def raw_message(encoding: str, dtype: str, channels: int) -> Image:
    """Return an image of an encoding with structure in its values, whatever they mean."""
    values = textured_image(96, 128, seed=1)[..., [0, 1, 2, 0]][..., :channels].astype(dtype)
    scaled = values * np.array(257 if "16" in encoding else 1, dtype)
    return image_message(scaled[..., 0] if channels == 1 else scaled, encoding)


ENCODINGS = [
    *[("mono8", "u1", 1), ("8UC1", "u1", 1), ("mono16", "u2", 1), ("16UC1", "u2", 1), ("32FC1", "f4", 1)],
    *[(name, "u1", 3) for name in ("rgb8", "bgr8", "8UC3")],
    *[(name, "u1", 4) for name in ("rgba8", "bgra8", "8UC4")],
    *[("rgb16", "u2", 3), ("bgr16", "u2", 3), ("rgba16", "u2", 4), ("bgra16", "u2", 4)],
    *[(f"bayer_{pattern}8", "u1", 1) for pattern in ("rggb", "bggr", "gbrg", "grbg")],
    *[(f"bayer_{pattern}16", "u2", 1) for pattern in ("rggb", "bggr", "gbrg", "grbg")],
    *[(name, "u1", 2) for name in ("yuv422", "uyvy", "yuv422_yuy2", "yuyv")],
]


@pytest.mark.parametrize(("encoding", "dtype", "channels"), ENCODINGS)
def test_finds_what_the_library_finds(
    encoding: str, dtype: str, channels: int, detector: SimpleNamespace, extractor: SuperPointExtractor
) -> None:
    message = raw_message(encoding, dtype, channels)
    result = detector.raw.result(message)
    assert_same(result, extractor(to_array(message)))  # test_image_conversion.py compares to_array with known pixels


@pytest.mark.parametrize("size", [(97, 131), (64, 200), (8, 8), (120, 41)])
def test_any_size_will_do(size: tuple[int, int], detector: SimpleNamespace, extractor: SuperPointExtractor) -> None:
    image = textured_image(*size)
    result = from_message(detector.raw.result(image_message(image, "rgb8")))
    assert result.image_size == (size[1], size[0])
    np.testing.assert_allclose(result.keypoints, extractor(image).keypoints, atol=1e-3)


def test_padded_big_endian_image(detector: SimpleNamespace, extractor: SuperPointExtractor) -> None:
    words = RGB.astype(">u2") * 257
    padded = np.pad(words.view(np.uint8).reshape(96, -1), ((0, 0), (0, 10)))
    message = image_message(padded, "rgb16", width=128, is_bigendian=1)
    assert_same(detector.raw.result(message), extractor(RGB))


def test_header_is_the_image_s(detector: SimpleNamespace) -> None:
    message = image_message(RGB, "rgb8")
    message.header.frame_id = "left_camera_optical_frame"
    result = detector.raw.result(message)
    assert result.header == message.header  # the stamp too


def test_a_stamp_before_1970_harms_nothing(detector: SimpleNamespace, probe: Probe) -> None:
    message = image_message(RGB, "rgb8")
    message.header.stamp.sec = -5
    detector.raw.publish(message)
    probe.wait_until(
        lambda: detector.raw.keypoints[-1:] and detector.raw.keypoints[-1].header.stamp.sec == -5, "keypoints"
    )


def test_names_the_weights(detector: SimpleNamespace, extractor: SuperPointExtractor) -> None:
    result = detector.raw.result(image_message(RGB, "rgb8"))
    assert result.model == extractor.model_name


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_compressed_images(format: str, detector: SimpleNamespace, extractor: SuperPointExtractor) -> None:
    data = compressed(format)
    message = compressed_message(data, f"rgb8; {format.lower()} compressed bgr8")
    assert_same(detector.compressed.result(message), extractor(np.array(pillow.open(io.BytesIO(data)))))


def malformed_messages() -> dict[str, Image]:
    messages = {
        name: image_message(RGB, "rgb8")
        for name in ("step", "long", "short", "empty", "zero size", "encoding", "huge", "no data")
    }
    messages["step"].step = 100
    messages["long"].data.extend([0])
    messages["short"].data.pop()
    messages["empty"] = Image()
    messages["zero size"].width = 0
    messages["encoding"].encoding = "cmyk8"
    messages["huge"].width = messages["huge"].height = 2**31
    messages["no data"].data = type(messages["no data"].data)("B")
    return messages


def test_malformed_images_are_dropped_counted_and_named_and_cost_nothing(
    detector: SimpleNamespace, probe: Probe, extractor: SuperPointExtractor
) -> None:
    keypoints, expected = detector.raw.keypoints, extractor(RGB)
    before = len(keypoints)
    messages = malformed_messages()
    for message in messages.values():
        message.header.stamp = probe.next_stamp()
        detector.raw.publish(message)
        assert_same(detector.raw.result(image_message(RGB, "rgb8")), expected)
    assert len(keypoints) == before + len(messages)

    def is_counted() -> bool:
        status = latest_status(detector.diagnostics, "detector: left")
        return status is not None and values(status)["dropped: malformed"] == str(len(messages))

    probe.wait_until(is_counted, "the count of malformed images")
    warnings = [line for line in detector.node.output.splitlines() if "dropped" in line]
    assert 1 <= len(warnings) < len(messages)  # throttled
    assert "/left/image_raw" in warnings[0] and "step is 100 bytes; expected at least 384" in warnings[0]


def test_malformed_compressed_images_are_dropped(
    detector: SimpleNamespace, probe: Probe, extractor: SuperPointExtractor
) -> None:
    before = len(detector.compressed.keypoints)
    for bad in (b"", b"rubbish", PNG[:100], PNG[: len(PNG) // 2]):
        message = compressed_message(bad, "png")
        message.header.stamp = probe.next_stamp()
        detector.compressed.publish(message)
        assert_same(detector.compressed.result(compressed_message(PNG, "png")), extractor(RGB))
    assert len(detector.compressed.keypoints) == before + 4

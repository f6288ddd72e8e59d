"""Image messages of every encoding against pixels worked out here."""

from __future__ import annotations

import io
import struct
import zlib
from array import array
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as pillow

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

from node_testing import compressed_message, image_message, textured_image
from sensor_msgs.msg import CompressedImage, Image

from superpoint_ros import images
from superpoint_ros.images import ImageError, to_array

HEIGHT, WIDTH = 24, 40
RGB = textured_image(HEIGHT, WIDTH)
GRAY = RGB[..., 0].copy()
ALPHA = np.full((HEIGHT, WIDTH, 1), 7, np.uint8)
WORDS = GRAY.astype(np.uint16) * 257
ENCODINGS_OF_NUMBERS = {np.float32: "32FC1", np.float64: "64FC1", np.int32: "32SC1", np.int16: "16SC1"}


def mosaic(pattern: str) -> np.ndarray:
    """Sample RGB with a Bayer pattern, named by its first 2 x 2 pixels in reading order."""
    channel = {"r": 0, "g": 1, "b": 2}
    result = np.empty((HEIGHT, WIDTH), np.uint8)
    for position, letter in enumerate(pattern):
        row, column = divmod(position, 2)
        result[row::2, column::2] = RGB[row::2, column::2, channel[letter]]
    return result


def demosaiced(pattern: str) -> np.ndarray:
    codes = {"rggb": "BG", "bggr": "RG", "gbrg": "GR", "grbg": "GB"}  # OpenCV names the pattern of the second row
    return cv2.cvtColor(mosaic(pattern), getattr(cv2, f"COLOR_Bayer{codes[pattern]}2RGB"))


def packed_yuv(luminance_first: bool) -> np.ndarray:
    chroma = np.full_like(GRAY, 90)
    return np.stack((GRAY, chroma) if luminance_first else (chroma, GRAY), axis=-1)


def planar_yuv(extra_rows: int) -> Image:
    message = image_message(GRAY, "nv21")
    message.data.extend(array("B", bytes(extra_rows * WIDTH)))
    return message


def renamed(message: Image, encoding: str) -> Image:
    message.encoding = encoding
    return message


CASES: dict[str, tuple[Image, np.ndarray]] = {
    "mono8": (image_message(GRAY, "mono8"), GRAY),
    "8UC1": (image_message(GRAY, "8UC1"), GRAY),
    "8U": (image_message(GRAY, "8U"), GRAY),
    "mono16": (image_message(WORDS, "mono16"), GRAY),
    "rgb8": (image_message(RGB, "rgb8"), RGB),
    "bgr8": (image_message(RGB[..., ::-1], "bgr8"), RGB),
    "8UC3": (image_message(RGB[..., ::-1], "8UC3"), RGB),
    "rgba8": (image_message(np.concatenate((RGB, ALPHA), axis=2), "rgba8"), RGB),
    "bgra8": (image_message(np.concatenate((RGB[..., ::-1], ALPHA), axis=2), "bgra8"), RGB),
    "8UC4": (image_message(np.concatenate((RGB[..., ::-1], ALPHA), axis=2), "8UC4"), RGB),
    "yuv422": (image_message(packed_yuv(False), "yuv422"), GRAY),
    "uyvy": (image_message(packed_yuv(False), "uyvy"), GRAY),
    "yuv422_yuy2": (image_message(packed_yuv(True), "yuv422_yuy2"), GRAY),
    "yuyv": (image_message(packed_yuv(True), "yuyv"), GRAY),
    "nv21": (planar_yuv(HEIGHT // 2), GRAY),
    "nv12": (renamed(planar_yuv(HEIGHT // 2), "nv12"), GRAY),
    "nv24": (renamed(planar_yuv(2 * HEIGHT), "nv24"), GRAY),
}
for _pattern in ("rggb", "bggr", "gbrg", "grbg"):
    CASES[f"bayer_{_pattern}8"] = (image_message(mosaic(_pattern), f"bayer_{_pattern}8"), demosaiced(_pattern))
    _words = mosaic(_pattern).astype(np.uint16) * 257
    CASES[f"bayer_{_pattern}16"] = (image_message(_words, f"bayer_{_pattern}16"), demosaiced(_pattern))
for _name in ("rgb", "bgr", "rgba", "bgra"):
    _pixels = np.asarray(CASES[f"{_name}8"][0].data).reshape(HEIGHT, WIDTH, -1).astype(np.uint16) * 257
    CASES[f"{_name}16"] = (image_message(_pixels, f"{_name}16"), RGB)
CASES["16UC3"] = (renamed(image_message(RGB[..., ::-1].astype(np.uint16) * 257, ""), "16UC3"), RGB)


@pytest.mark.parametrize("encoding", CASES)
def test_gives_the_pixels_of_every_encoding(encoding: str) -> None:
    message, expected = CASES[encoding]
    result = to_array(message)
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("encoding", ["mono8", "bgr8", "rgba16", "mono16", "yuyv", "bayer_rggb8", "nv21"])
@pytest.mark.parametrize("padding", [1, 13])
def test_skips_row_padding(encoding: str, padding: int) -> None:
    message, expected = CASES[encoding]
    rows = np.asarray(message.data).reshape(-1, message.step)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    fields = {"height": message.height, "width": message.width, "encoding": encoding, "step": padded.shape[1]}
    np.testing.assert_array_equal(to_array(Image(data=array("B", padded.tobytes()), **fields)), expected)
    last_row_without = padded.tobytes()[:-padding]
    np.testing.assert_array_equal(to_array(Image(data=array("B", last_row_without), **fields)), expected)


@pytest.mark.parametrize("encoding", ["mono16", "bgr16", "bayer_grbg16"])
def test_swaps_big_endian_words(encoding: str) -> None:
    message, expected = CASES[encoding]
    swapped = np.asarray(message.data).reshape(-1, 2)[:, ::-1]
    fields = {"height": message.height, "width": message.width, "encoding": encoding, "step": message.step}
    result = to_array(Image(data=array("B", swapped.tobytes()), is_bigendian=1, **fields))
    np.testing.assert_array_equal(result, expected)


def ramp(dtype: Any) -> np.ndarray:
    """Return values that rise evenly from 100 to 200 over an image large enough for exact percentiles."""
    return np.linspace(100, 200, 101 * 101).reshape(101, 101).astype(dtype)


@pytest.mark.parametrize(
    ("encoding", "dtype"),
    [
        ("16UC1", np.uint16),
        ("16SC1", np.int16),
        ("32SC1", np.int32),
        ("32FC1", np.float32),
        ("64FC1", np.float64),
    ],
)
def test_stretches_numbers_without_a_range_from_the_1st_to_the_99th_percentile(encoding: str, dtype: Any) -> None:
    pixels = ramp(dtype)
    result = to_array(image_message(pixels, encoding))
    expected = np.clip((pixels.astype(float) - 101) / (199 - 101), 0, 1) * 255
    np.testing.assert_allclose(result, expected, atol=1.5)


def test_stretching_does_not_depend_on_offset_or_unit() -> None:
    metres = ramp(np.float32)
    np.testing.assert_allclose(
        to_array(image_message(metres, "32FC1")).astype(int),
        to_array(image_message(metres * 1000 - 7, "32FC1")).astype(int),
        atol=1,
    )


def test_nan_and_infinity_neither_spread_nor_disturb_the_range() -> None:
    clean = ramp(np.float32)
    pixels = clean.copy()
    pixels[::10, 3], pixels[::10, 4], pixels[::10, 5] = np.nan, np.inf, -np.inf
    result, expected = (to_array(image_message(image, "32FC1")).astype(int) for image in (pixels, clean))
    assert (result[::10, 3] == 0).all() and (result[::10, 4] == 255).all() and (result[::10, 5] == 0).all()
    untouched = pixels == clean
    np.testing.assert_allclose(result[untouched], expected[untouched], atol=2)


@pytest.mark.filterwarnings("error")
@given(
    values=st.lists(st.floats(), min_size=8, max_size=16),
    value_range=st.none()
    | st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2).filter(lambda r: r[0] < r[1]),
    dtype=st.sampled_from([np.float32, np.float64, np.int32, np.int16]),
)
def test_numbers_of_any_size_are_scaled_without_overflow(values, value_range, dtype) -> None:
    with np.errstate(all="ignore"):
        pixels = np.array([values] * 8, np.float64).astype(dtype)
    result = to_array(image_message(pixels, ENCODINGS_OF_NUMBERS[dtype]), value_range)[0]
    if value_range is not None and value_range[1] - value_range[0] < np.inf:
        numbers = pixels[0].astype(np.float64)
        assert np.all(result[numbers >= value_range[1]] == 255)
        assert np.all(result[(numbers <= value_range[0]) | np.isnan(numbers)] == 0)
    finite = np.argsort(pixels[0][np.isfinite(pixels[0])])
    assert np.all(np.diff(result[np.isfinite(pixels[0])][finite].astype(int)) >= 0)


SIGNALLING_NAN = np.full((16, 16), 0x7FA00000, np.uint32).view(np.float32)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "pixels", [np.full((16, 16), 3.5), np.full((16, 16), np.nan), np.full((16, 16), np.inf), SIGNALLING_NAN]
)
def test_an_image_without_contrast_becomes_black(pixels: np.ndarray) -> None:
    assert not to_array(image_message(pixels.astype(np.float32), "32FC1")).any()


@pytest.mark.parametrize(("encoding", "dtype"), [("mono16", np.uint16), ("16UC1", np.uint16), ("32FC1", np.float32)])
def test_a_given_value_range_is_used_instead(encoding: str, dtype: Any) -> None:
    pixels = np.tile(np.array([0, 1000, 2500, 4000, 5000], dtype), (8, 2))
    result = to_array(image_message(pixels, encoding), value_range=(1000.0, 4000.0))
    assert result[0].tolist() == [0, 0, 128, 255, 255] * 2


def test_8_bit_images_share_the_memory_of_the_message() -> None:
    message = image_message(GRAY, "mono8")
    assert np.shares_memory(to_array(message), np.asarray(message.data))


# Compressed


def encoded(image: pillow.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def test_decompresses_png_exactly() -> None:
    message = compressed_message(encoded(pillow.fromarray(RGB), "PNG"), "bgr8; png compressed bgr8")
    np.testing.assert_array_equal(to_array(message), RGB)
    message = compressed_message(encoded(pillow.fromarray(GRAY), "PNG"), "mono8; png compressed")
    np.testing.assert_array_equal(to_array(message), GRAY)


@pytest.mark.parametrize("format", ["jpeg", "bgr8; jpeg compressed bgr8", "rgb8; jpeg compressed rgb8", ""])
def test_decompresses_jpeg(format: str) -> None:
    smooth = cv2.GaussianBlur(RGB, (0, 0), 4)
    message = compressed_message(encoded(pillow.fromarray(smooth), "JPEG", quality=98), format)
    np.testing.assert_allclose(to_array(message).astype(int), smooth.astype(int), atol=8)


def test_does_not_turn_a_jpeg_by_its_orientation_tag() -> None:
    exif = pillow.Exif()
    exif[0x0112] = 6
    data = encoded(pillow.fromarray(RGB), "JPEG", exif=exif)
    assert to_array(compressed_message(data, "jpeg")).shape == RGB.shape


@pytest.mark.parametrize(
    ("format", "full_range"), [("mono16; png compressed ", True), ("16UC1; png compressed ", False)]
)
def test_16_bit_png_follows_the_rule_of_its_original_encoding(format: str, full_range: bool) -> None:
    pixels = ramp(np.uint16) * 257
    result = to_array(compressed_message(encoded(pillow.fromarray(pixels), "PNG"), format))
    raw = to_array(image_message(pixels, format.split(";")[0]))
    np.testing.assert_array_equal(result, raw)
    assert (result.max() == 200) == full_range


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that announces a size and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


JPEG = encoded(pillow.fromarray(RGB), "JPEG")
PNG = encoded(pillow.fromarray(RGB), "PNG")


BAD_DATA: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "jpeg", "0 bytes"),
    "text": (b"not an image at all", "jpeg", "no image"),
    "truncated JPEG": (JPEG[:-200], "jpeg", "corrupt"),
    "truncated PNG": (PNG[: len(PNG) // 2], "png", "corrupt"),
    "overwritten PNG": (PNG[:60] + bytes(40) + PNG[100:], "png", "corrupt"),
    "bomb": (png_header(60000, 60000), "png", "absurd"),
    "smaller bomb": (png_header(10000, 10000), "png", "10000 x 10000 is absurd"),
    "narrow": (png_header(4, 400), "png", "too small"),
    "header only": (png_header(400, 400), "png", "corrupt"),
    "depth": (PNG, "16UC1; compressedDepth png", "depth"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BAD_DATA)
def test_refuses_bad_compressed_data(name: str) -> None:
    data, format, reason = BAD_DATA[name]
    with pytest.raises(ImageError, match=reason):
        to_array(compressed_message(data, format))


# Malformed


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"encoding": "rgb9"}, "'rgb9' is unknown"),
        ({"encoding": ""}, "'' is unknown"),
        ({"encoding": "8UC2"}, "no luminance"),
        ({"encoding": "8UC0"}, "unknown"),
        ({"encoding": "8UC" + "9" * 5000}, "unknown"),
        ({"width": 0}, "0 x 24 is too small"),
        ({"height": 0}, "40 x 0 is too small"),
        ({"width": 7, "step": 21}, "7 x 24 is too small"),
        ({"width": 100_000, "step": 300_000}, "absurd"),
        ({"width": 8192, "height": 4097, "step": 24_576}, "8192 x 4097 is absurd; expected at most .* 33554432 in all"),
        ({"width": 2**32 - 1, "height": 2**32 - 1}, "absurd"),
        ({"step": 119}, "step is 119 bytes; expected at least 120"),
        ({"step": 0}, "step is 0 bytes"),
        ({"step": 121}, "data holds 2880 bytes; expected 2904"),
        ({"height": 25}, "data holds 2880 bytes; expected 3000"),
        ({"height": 23}, "data holds 2880 bytes; expected 2760"),
        ({"encoding": "rgb16"}, "step is 120 bytes; expected at least 240"),
    ],
)
def test_refuses_malformed_images_and_says_what_was_expected(fields: dict[str, Any], reason: str) -> None:
    message = image_message(RGB, "rgb8")
    for name, value in fields.items():
        setattr(message, name, value)
    with pytest.raises(ImageError, match=reason):
        images.check(message)
    with pytest.raises(ImageError, match=reason):
        to_array(message)


@pytest.mark.parametrize(
    "message",
    [
        renamed(image_message(RGB, "rgb8"), "z" * 2_000_000),
        compressed_message(PNG, "z" * 2_000_000 + "compressedDepth"),
        compressed_message(b"nothing", "z" * 2_000_000),
    ],
    ids=["encoding", "format of depth", "format of no image"],
)
def test_what_it_says_is_short_however_long_the_texts_of_a_message_are(message: Any) -> None:
    with pytest.raises(ImageError, match=r"zzz\.\.\.'") as refusal:
        images.check(message)
    assert len(str(refusal.value)) < 200


ENCODINGS = [*CASES, "16UC1", "32FC1", "64FC4", "8SC3", "16UC2", "", "rgb", "8UC", "bayer_rggb12"]
SIZES = st.one_of(st.integers(0, 40), st.integers(0, 2**32 - 1))


@settings(max_examples=2000, deadline=None)
@given(st.sampled_from(ENCODINGS), SIZES, SIZES, SIZES, st.binary(max_size=4096), st.integers(0, 255))
def test_any_message_gives_an_image_or_an_image_error(
    encoding: str, width: int, height: int, step: int, data: bytes, is_bigendian: int
) -> None:
    fields = {"encoding": encoding, "width": width, "height": height, "step": step, "is_bigendian": is_bigendian}
    message = Image(data=array("B", data), **fields)
    try:
        images.check(message)
    except ImageError:
        return
    result = to_array(message)
    assert result.shape[:2] == (height, width) and result.dtype == np.uint8


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from([JPEG, PNG]),
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=20),
    st.floats(0, 1),
)
def test_any_compressed_data_gives_an_image_or_an_image_error(
    data: bytes, changes: list[tuple[float, int]], kept: float
) -> None:
    changed = bytearray(data)
    for position, value in changes:
        changed[int(position * (len(changed) - 1))] = value
    message = CompressedImage(format="jpeg", data=array("B", bytes(changed[: round(kept * len(changed))])))
    try:
        result = to_array(message)
    except ImageError:
        return
    assert result.dtype == np.uint8

"""Every kind of image source, on small generated data. No ROS needed."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import (
    CALIBRATION,
    CALIBRATION_YAML,
    image_folder,
    image_record,
    info_record,
    numbered_image,
    rosbag2,
    two_camera_bag,
    write_bag,
    write_video,
)

from superpoint_ros.nodes.camera_player.sources import (
    CameraCalibration,
    Frame,
    FrameFormat,
    SourceError,
    VirtualCamera,
    looped,
    open_source,
)
from superpoint_ros.simulation.flights import FLIGHTS


@pytest.mark.parametrize(("rate", "period"), [(0.0, 0.1), (20.0, 0.05)])
def test_video_plays_at_its_own_or_the_given_rate(tmp_path, rate, period):
    frames = list(open_source(str(write_video(tmp_path / "video.avi")), rate=rate))
    assert [frame.offset for frame in frames] == pytest.approx([index * period for index in range(5)])
    for index, frame in enumerate(frames):
        assert frame.image.shape == (24, 32, 3)
        assert np.abs(frame.image.astype(int) - numbered_image(index)).mean() < 8  # JPEG inside


def test_folder_plays_in_natural_order(tmp_path):
    frames = list(open_source(str(image_folder(tmp_path / "images")), rate=4.0))
    assert [frame.offset for frame in frames] == [index / 4 for index in range(11)]
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, numbered_image(index))


def test_a_single_image_is_a_source(tmp_path):
    cv2.imwrite(str(tmp_path / "one.png"), numbered_image(3)[:, :, 0])
    (frame,) = open_source(str(tmp_path / "one.png"))
    np.testing.assert_array_equal(frame.image, numbered_image(3)[:, :, 0])


@pytest.mark.parametrize("storage", rosbag2.StoragePlugin)
@pytest.mark.parametrize("single_file", [False, True])
def test_bag_topic_with_calibration_and_recorded_spacing(tmp_path, storage, single_file):
    bag = two_camera_bag(tmp_path / "bag", storage)
    (file,) = (path for path in bag.iterdir() if path.suffix in (".mcap", ".db3"))
    source = open_source(str(file if single_file else bag))
    assert re.match("/left/image_raw of the bag .*also has /right/image_raw/compressed", source.title())
    frames = list(source)
    assert [frame.offset for frame in frames] == pytest.approx([0.0, 0.1, 0.4])
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, numbered_image(index))
        assert frame.calibration == CALIBRATION


def test_bag_topic_by_name_compressed_at_a_rate(tmp_path):
    bag = two_camera_bag(tmp_path / "bag")
    frames = list(open_source(str(bag), topic="/right/image_raw/compressed", rate=10.0))
    assert [frame.offset for frame in frames] == pytest.approx([0.0, 0.1, 0.2])
    np.testing.assert_array_equal(frames[2].image, numbered_image(2)[:, :, 0])
    assert frames[2].calibration is None


@pytest.mark.parametrize(
    ("encoding", "image", "expected"),
    [
        ("rgb8", np.array([[[1, 2, 3]]], np.uint8), [[[3, 2, 1]]]),
        ("bgra8", np.array([[[1, 2, 3, 4]]], np.uint8), [[[1, 2, 3]]]),
        ("mono8", np.array([[7, 8]], np.uint8), [[7, 8]]),
        ("8UC1", np.array([[7, 8]], np.uint8), [[7, 8]]),
        ("mono16", np.array([[0, 65535]], np.uint16), [[0, 255]]),
        ("bayer_rggb8", np.full((4, 4), 9, np.uint8), np.full((4, 4, 3), 9)),
    ],
)
def test_bag_encodings(tmp_path, encoding, image, expected):
    bag = write_bag(tmp_path / "bag", [("/camera/image_raw", image_record(image, 5, encoding))])
    (frame,) = open_source(str(bag))
    np.testing.assert_array_equal(frame.image, expected)


def test_virtual_camera_is_repeatable_smooth_and_seeded():
    camera = VirtualCamera(320, 240, rate=30.0, seed=1)
    frames = list(itertools.islice(camera, 30))
    assert all(frame.image.shape == (240, 320, 3) for frame in frames)
    assert [frame.offset for frame in frames] == pytest.approx([index / 30 for index in range(30)])
    np.testing.assert_array_equal(frames[7].image, next(itertools.islice(camera, 7, 8)).image)
    other = next(iter(VirtualCamera(320, 240, rate=30.0, seed=2))).image
    assert np.abs(frames[0].image.astype(int) - other).mean() > 10
    corners = np.array([[[0, 0]], [[319, 0]], [[319, 239]], [[0, 239]]], np.float64)
    for index in range(29):
        to_next = camera.homography((index + 1) / 30) @ np.linalg.inv(camera.homography(index / 30))
        motion = np.linalg.norm(cv2.perspectiveTransform(corners, to_next) - corners, axis=2)
        assert 0 < motion.max() < 10  # pixels between two frames


@given(time=st.floats(0, 1000), seed=st.integers(0, 3))
def test_virtual_camera_calibration_is_exact(time, seed):
    """Without the intrinsics, a homography of a plane has two orthonormal columns (up to one common scale)."""
    camera = VirtualCamera(64, 48, seed=seed)
    first, second = (np.linalg.inv(np.reshape(camera.calibration.k, (3, 3))) @ camera.homography(time))[:, :2].T
    assert first @ second == pytest.approx(0, abs=1e-9)
    assert first @ first == pytest.approx(second @ second)


@pytest.mark.parametrize(
    ("wanted", "size"),
    [
        ({}, (480, 640)),
        ({"width": 320}, (240, 320)),
        ({"height": 120}, (120, 160)),
        ({"width": 99, "height": 77}, (77, 99)),
    ],
)
def test_virtual_camera_follows_the_wanted_size(wanted, size):
    frame = next(iter(open_source("virtual", **wanted)))
    assert frame.image.shape[:2] == size
    assert (frame.calibration.height, frame.calibration.width) == size


@pytest.mark.parametrize("encoding", ["mono8", "bgr8", "rgb8"])
@pytest.mark.parametrize("channels", [1, 3])
def test_format_converts_colour(encoding, channels):
    colour = np.zeros((4, 6, 3), np.uint8) + np.array([255, 0, 0], np.uint8)  # pure blue, as BGR
    image = colour if channels == 3 else cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY)
    converted = FrameFormat(encoding).apply(Frame(image, 0.5)).image
    grey = 29
    pixel = {"mono8": grey, "bgr8": [255, 0, 0], "rgb8": [0, 0, 255]}[encoding] if channels == 3 else grey
    np.testing.assert_array_equal(converted, np.broadcast_to(pixel, converted.shape))
    assert converted.ndim == (2 if encoding == "mono8" else 3)


def test_format_does_not_copy_what_fits():
    frame = Frame(np.zeros((4, 6, 3), np.uint8), 0.0)
    assert FrameFormat("bgr8", 6, 4).apply(frame).image is frame.image


@given(width=st.integers(8, 200), height=st.integers(8, 200))
def test_resizing_keeps_the_calibration_exact(width, height):
    """A ray must hit the same spot of the scene: the corners of the image area are seen in the same directions."""
    resized = CALIBRATION.resized(width, height)
    for calibration in (CALIBRATION, resized):
        corners = np.array([[-0.5, -0.5, 1], [calibration.width - 0.5, calibration.height - 0.5, 1]]).T
        rays = np.linalg.inv(np.reshape(calibration.k, (3, 3))) @ corners
        np.testing.assert_allclose(rays[:2], [[-16 / 30, 16 / 30], [-12 / 30, 12 / 30]])
        np.testing.assert_allclose(np.reshape(calibration.p, (3, 4))[:, :3], np.reshape(calibration.k, (3, 3)))
    frame = FrameFormat("bgr8", width, height).apply(Frame(np.zeros((24, 32), np.uint8), 0.0, CALIBRATION))
    assert frame.image.shape == (height, width, 3)
    assert frame.calibration == resized


def test_looping_goes_on_with_the_same_spacing(tmp_path):
    source = open_source(str(write_video(tmp_path / "video.avi", frames=3)))
    frames = list(itertools.islice(looped(source), 8))
    assert [frame.offset for frame in frames] == pytest.approx([index * 0.1 for index in range(8)])
    np.testing.assert_array_equal(frames[4].image, frames[1].image)


@pytest.mark.parametrize("as_url", [False, True])
def test_calibration_from_yaml(tmp_path, as_url):
    path = tmp_path / "eye 1.yaml"
    path.write_text(CALIBRATION_YAML)
    assert CameraCalibration.from_yaml(path.as_uri() if as_url else str(path)) == CALIBRATION


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("just text", "not the YAML of camera_calibration"),
        (": [", "not the YAML of camera_calibration"),
        (CALIBRATION_YAML.replace("camera_matrix", "matrix"), "'camera_matrix' is missing"),
        (
            CALIBRATION_YAML.replace("data: [30.0, 0.0, 15.5, 0.0, 30.0, 11.5, 0.0, 0.0, 1.0]", "data: [1.0]"),
            "instead of 9",
        ),
        (CALIBRATION_YAML.replace("image_width: 32", "image_width: wide"), "wide"),
    ],
)
def test_bad_calibration_files(tmp_path, content, message):
    path = tmp_path / "eye.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SourceError, match=message) as failure:
        CameraCalibration.from_yaml(str(path))
    assert str(path) in str(failure.value)
    assert "\n" not in str(failure.value)


def _missing_file(folder: Path) -> str:
    return str(folder / "nothing.mp4")


def _text_as_video(folder: Path) -> str:
    (folder / "bad.mp4").write_text("this is no video")
    return str(folder / "bad.mp4")


def _video_without_frames(folder: Path) -> str:
    video = write_video(folder / "cut.avi")
    video.write_bytes(video.read_bytes()[:250])
    return str(video)


def _empty_folder(folder: Path) -> str:
    return str(folder)


def _folder_with_broken_image(folder: Path) -> str:
    (folder / "a.png").write_bytes(b"\x89PNG broken")
    return str(folder)


def _bag_without_images(folder: Path) -> str:
    return str(write_bag(folder / "bag", [("/left/camera_info", info_record(CALIBRATION))]))


def _truncated_bag(folder: Path) -> str:
    (file,) = two_camera_bag(folder / "bag").glob("*.mcap")
    file.write_bytes(file.read_bytes()[:300])
    return str(file)


def _text_as_database(folder: Path) -> str:
    (folder / "bad.db3").write_text("this is no database")
    return str(folder / "bad.db3")


def _bag_with_wrong_data_length(folder: Path) -> str:
    message = image_record(numbered_image(0), 5)
    message.data = message.data[:-1]
    return str(write_bag(folder / "bag", [("/camera/image_raw", message)]))


def _bag_of_depth_images(folder: Path) -> str:
    message = image_record(np.zeros((4, 4), np.float32), 5, "32FC1")
    return str(write_bag(folder / "bag", [("/camera/image_raw", message)]))


def _bag_folder_with_broken_metadata(folder: Path) -> str:
    bag = two_camera_bag(folder / "bag")
    (bag / "metadata.yaml").write_text("nonsense: [")
    return str(bag)


BAD_SOURCES = [
    (_missing_file, "no such file or folder; expected a video"),
    (_text_as_video, "not a video file"),
    (_video_without_frames, "not a video file|the video has no frame"),
    (_empty_folder, "the folder has no images"),
    (_folder_with_broken_image, r"a\.png: not an image"),
    (_bag_without_images, "the bag has no image topic.*/left/camera_info"),
    (_truncated_bag, "not a readable bag"),
    (_text_as_database, "not a readable bag"),
    (_bag_with_wrong_data_length, "image 0 of /camera/image_raw cannot be decoded"),
    (_bag_of_depth_images, "32FC1, expected"),
    (_bag_folder_with_broken_metadata, "not a readable bag"),
    (lambda folder: "/dev/video999", "no such device; V4L2 cameras here"),
    (lambda folder: "/dev/null", "cannot be opened as a V4L2 camera"),
]


@pytest.mark.parametrize(("make", "message"), BAD_SOURCES)
def test_bad_sources_are_named_in_one_line(tmp_path, make, message):
    source = make(tmp_path)
    with pytest.raises(SourceError, match=message) as failure:
        list(open_source(source))
    assert str(failure.value).startswith(source)
    assert "\n" not in str(failure.value)


def test_bag_with_another_topic(tmp_path):
    bag = two_camera_bag(tmp_path / "bag")
    with pytest.raises(SourceError, match="no image topic /up in the bag, it has /left/image_raw, /right"):
        list(open_source(str(bag), topic="/up"))


def test_the_room_is_seen_by_one_camera_or_two_with_exact_poses():
    mono, stereo = (open_source("room:fast", width=64, seed=2, stereo=stereo) for stereo in (False, True))
    one, two = (list(itertools.islice(source, 3)) for source in (mono, stereo))
    for index, (left, pair) in enumerate(zip(one, two)):
        assert left.offset == pair.offset == pytest.approx(index / 10)
        np.testing.assert_array_equal(left.pose.matrix, FLIGHTS["fast"].path.pose(left.offset).matrix)
        assert left.right is None
        assert pair.right.image.shape == left.image.shape == (48, 64, 3)
        assert (pair.right.image != pair.image).any()
        baseline = -pair.right.calibration.p[3] / pair.right.calibration.p[0]
        assert baseline == pytest.approx(0.12)
        assert pair.right.calibration.k == pair.calibration.k == left.calibration.k
    grey = FrameFormat("mono8", 32).apply(two[0])
    assert grey.image.shape == grey.right.image.shape == (24, 32)
    assert grey.right.calibration.p[3] == pytest.approx(two[0].right.calibration.p[3] / 2)


@pytest.mark.parametrize(
    ("source", "stereo", "message"),
    [("room:nowhere", False, "no such flight"), ("virtual", True, "only the simulated room")],
)
def test_what_the_room_is_not(source, stereo, message):
    with pytest.raises(SourceError, match=message):
        open_source(source, stereo=stereo)

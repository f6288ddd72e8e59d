"""The bag command adds keypoints to recordings of both storage formats, whole, killed and cut off."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("rosbags.rosbag2", reason="bags are read with rosbags: pip install rosbags")
pytest.importorskip("mcap", reason="damaged MCAP files are read with mcap: pip install mcap")

from recordings import CALIBRATION, compressed_record, image_record, info_record, rosbag2
from rosbags.highlevel import AnyReader
from rosbags.rosbag2.metadata import parse_qos

from superpoint_ros.__main__ import main
from superpoint_ros.bags.messages import DETECTOR_QOS, make_typestore
from superpoint_ros.bags.resumable import ResumableBag
from superpoint_ros.geometry import match_descriptors
from superpoint_ros.superpoint import SuperPointExtractor

FRAMES = 6
LEFT, RIGHT = "/left/image_raw", "/right/image_raw/compressed"
STORE = make_typestore()
STORAGES = ["mcap", "sqlite3"]
SUFFIX = {"mcap": ".mcap", "sqlite3": ".db3"}
OPTIONS = ["--weights", "random", "--device", "cpu", "--backend", "torch", "--max-keypoints", "40"]

# Three frames, of two images and up to seven messages each, make a file.
KILLED_IN_THE_THIRD_FILE = """
import os, signal, sys
from superpoint_ros.__main__ import main
from superpoint_ros.bags.resumable import ResumableBag

write, written = ResumableBag.write, []

def write_until_killed(*arguments):
    written.append(arguments)
    if len(written) == 50:
        os.kill(os.getpid(), signal.SIGKILL)
    write(*arguments)

ResumableBag.write = write_until_killed
main(sys.argv[1:])
"""


def picture(index: int) -> np.ndarray:
    """48 x 64 BGR texture that moves."""
    seed = np.random.default_rng(7).integers(0, 256, (12, 32), np.uint8)
    texture = cv2.resize(seed, (128, 48), interpolation=cv2.INTER_CUBIC)
    return np.repeat(texture[:, 2 * index : 2 * index + 64, None], 3, axis=2)


def record(path: Path, storage: str, frames: int = FRAMES, ballast: int = 0) -> Path:
    """Record two cameras, and another topic with `ballast` bytes a frame."""
    with rosbag2.Writer(path, version=9, storage_plugin=rosbag2.StoragePlugin[storage.upper()]) as writer:
        kinds = {LEFT: "Image", RIGHT: "CompressedImage", "/left/camera_info": "CameraInfo"}
        kinds |= {"/ballast": "Image"} if ballast else {}
        topics = {
            topic: writer.add_connection(
                topic, f"sensor_msgs/msg/{kind}", typestore=STORE, offered_qos_profiles=[DETECTOR_QOS._replace(depth=7)]
            )
            for topic, kind in kinds.items()
        }
        for index in range(frames):
            stamp = 10**9 * (index + 1)
            messages = {
                "/left/camera_info": info_record(CALIBRATION),
                LEFT: image_record(picture(index), stamp, padding=4),
                RIGHT: compressed_record(picture(index)[:, :, 0], stamp),
            }
            if ballast:
                messages["/ballast"] = replace(messages[LEFT], data=np.zeros(ballast, np.uint8))
            for offset, (topic, message) in enumerate(messages.items()):
                writer.write(topics[topic], stamp + offset, STORE.serialize_cdr(message, message.__msgtype__))
    return path


def add_keypoints(source: Path, out: Path, *arguments: object) -> int:
    return main(["bag", str(source), str(out), *OPTIONS, *map(str, arguments)])


def content(path: Path) -> list[tuple[str, int, bytes]]:
    with AnyReader([path]) as reader:
        return [(connection.topic, stamp, bytes(data)) for connection, stamp, data in reader.messages()]


def parsed(path: Path) -> dict[str, list[Any]]:
    messages: dict[str, list[Any]] = {}
    with AnyReader([path]) as reader:
        for connection, _, data in reader.messages():
            messages.setdefault(connection.topic, []).append(reader.deserialize(data, connection.msgtype))
    return messages


def fingerprint(path: Path) -> dict[str, str]:
    files = path.rglob("*") if path.is_dir() else [path]
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


@pytest.fixture(scope="module", params=STORAGES)
def storage(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def source(storage: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("source") / "drive", storage)


@pytest.fixture(scope="module")
def augmented(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    before = fingerprint(source)
    out = tmp_path_factory.mktemp("augmented") / "out"
    assert add_keypoints(source, out, "--matches", "--split", 5, "--batch", 3) == 0
    assert fingerprint(source) == before
    return out


def test_every_message_is_kept_in_order(source: Path, augmented: Path) -> None:
    new = {f"/{side}/{kind}" for side in ("left", "right") for kind in ("keypoints", "matches")}
    assert [message for message in content(augmented) if message[0] not in new] == content(source)


def test_keypoints_are_those_of_the_extractor(augmented: Path) -> None:
    extractor = SuperPointExtractor.from_pretrained(
        "random", device="cpu", backend="torch", precision="fp32", max_keypoints=40
    )
    messages = parsed(augmented)
    for camera in ("left", "right"):
        assert len(messages[f"/{camera}/keypoints"]) == FRAMES
        for index, message in enumerate(messages[f"/{camera}/keypoints"]):
            features = extractor(picture(index)[:, :, 0])
            assert message.header.stamp.sec == index + 1
            assert message.header.frame_id == "eye"
            assert (message.width, message.height) == (64, 48)
            assert message.model == extractor.model_name
            assert len(message.x) == len(features) == 40
            found, expected = np.stack([message.x, message.y], 1), features.keypoints
            np.testing.assert_allclose(found, expected, atol=1e-3)
            descriptors = message.descriptors.reshape(-1, message.descriptor_size)
            np.testing.assert_allclose(descriptors, features.descriptors, atol=1e-4)


def test_keypoints_have_the_time_of_their_image(augmented: Path) -> None:
    times: dict[str, list[int]] = {}
    for topic, stamp, _ in content(augmented):
        times.setdefault(topic, []).append(stamp)
    assert times["/left/keypoints"] == times[LEFT]
    assert times["/right/keypoints"] == times[RIGHT]
    assert times["/left/matches"] == times[LEFT][1:]


def test_matches_are_those_between_consecutive_frames(augmented: Path) -> None:
    messages = parsed(augmented)
    keypoints = messages["/left/keypoints"]
    for index, message in enumerate(messages["/left/matches"]):
        pair = keypoints[index : index + 2]
        descriptors = [one.descriptors.reshape(-1, one.descriptor_size) for one in pair]
        expected = match_descriptors(*descriptors)
        np.testing.assert_array_equal(np.stack([message.indices0, message.indices1], 1), expected.indices)
        np.testing.assert_array_equal(message.x1, pair[1].x[message.indices1])
        assert (message.reference_header, message.header) == (pair[0].header, pair[1].header)
        assert len(message.distances) == len(message.inliers) > 10


def test_metadata_describe_all_files(storage: str, augmented: Path) -> None:
    metadata = yaml.safe_load((augmented / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    counts = Counter(topic for topic, _, _ in content(augmented))
    topics = {one["topic_metadata"]["name"]: one for one in metadata["topics_with_message_count"]}
    assert {name: topic["message_count"] for name, topic in topics.items()} == counts
    assert metadata["message_count"] == sum(counts.values()) == sum(one["message_count"] for one in metadata["files"])
    assert metadata["storage_identifier"] == storage
    assert metadata["relative_file_paths"] == [f"out_{index}{SUFFIX[storage]}" for index in range(2)]
    assert sorted(entry.name for entry in augmented.iterdir()) == ["metadata.yaml", *metadata["relative_file_paths"]]
    assert parse_qos(topics[LEFT]["topic_metadata"]["offered_qos_profiles"]) == [DETECTOR_QOS._replace(depth=7)]
    assert parse_qos(topics["/left/keypoints"]["topic_metadata"]["offered_qos_profiles"]) == [DETECTOR_QOS]
    job = json.loads(metadata["custom_data"]["superpoint_ros"])
    assert job["model"].startswith("superpoint_ros/random@")
    assert job["options"]["max_keypoints"] == 40


def test_metadata_have_every_field_that_rosbag2_reads(augmented: Path) -> None:
    """`ros2 bag` of Jazzy and later refuses a bag of version 9 that lacks one."""
    metadata = yaml.safe_load((augmented / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert set(metadata) == {
        *("version", "storage_identifier", "duration", "starting_time", "message_count", "topics_with_message_count"),
        *("compression_format", "compression_mode", "relative_file_paths", "files", "custom_data", "ros_distro"),
    }
    assert metadata["version"] == 9
    assert all(isinstance(value, str) for value in metadata["custom_data"].values())
    assert all(set(file) == {"path", "starting_time", "duration", "message_count"} for file in metadata["files"])
    for topic in (entry["topic_metadata"] for entry in metadata["topics_with_message_count"]):
        assert set(topic) == {"name", "type", "serialization_format", "offered_qos_profiles", "type_description_hash"}
        assert topic["type_description_hash"].startswith("RIHS01_")
        for profile in topic["offered_qos_profiles"]:
            assert set(profile) == {
                *("history", "depth", "reliability", "durability", "deadline", "lifespan", "liveliness"),
                *("liveliness_lease_duration", "avoid_ros_namespace_conventions"),
            }


def test_each_mcap_file_opens_with_the_mcap_library(storage: str, augmented: Path) -> None:
    if storage != "mcap":
        pytest.skip("the storage is SQLite")
    from mcap.reader import make_reader

    count = 0
    for file in sorted(augmented.glob("*.mcap")):
        with file.open("rb") as stream:
            reader = make_reader(stream)
            summary = reader.get_summary()
            assert summary is not None and summary.statistics is not None
            assert {schema.name for schema in summary.schemas.values()} >= {"superpoint_ros/msg/KeypointArray"}
            count += len(list(reader.iter_messages()))
    assert count == len(content(augmented))


def test_ros_reads_the_messages(augmented: Path) -> None:
    pytest.importorskip("superpoint_ros.msg", reason="the messages are not built")
    serialization = pytest.importorskip("rclpy.serialization")
    from superpoint_ros.msg import KeypointArray, KeypointMatches

    from superpoint_ros.nodes.messages import keypoints as keypoint_messages
    from superpoint_ros.nodes.messages import matches as match_messages

    raw: dict[str, list[bytes]] = {}
    for topic, _, data in content(augmented):
        raw.setdefault(topic, []).append(data)
    message = serialization.deserialize_message(raw["/left/keypoints"][1], KeypointArray)
    keypoints = keypoint_messages.from_message(message)
    assert keypoints.descriptors.shape == (40, 256)
    np.testing.assert_allclose(np.linalg.norm(keypoints.descriptors, axis=1), 1, atol=1e-5)
    matches = match_messages.from_message(serialization.deserialize_message(raw["/left/matches"][0], KeypointMatches))
    np.testing.assert_array_equal(matches.points1, keypoints.keypoints[matches.indices[:, 1]])
    assert bytes(serialization.serialize_message(message)) == raw["/left/keypoints"][1]


@pytest.mark.parametrize("name", ["KeypointArray", "KeypointMatches"])
def test_types_have_the_hash_that_ros_gives_them(name: str) -> None:
    prefixes = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    files = [prefix / "share" / "superpoint_ros" / "msg" / f"{name}.json" for prefix in prefixes]
    built = next((file for file in files if file.is_file()), None)
    if built is None:
        pytest.skip("the messages are not built")
    hashes = {entry["type_name"]: entry["hash_string"] for entry in json.loads(built.read_text())["type_hashes"]}
    assert STORE.hash_rihs01(f"superpoint_ros/msg/{name}") == hashes[f"superpoint_ros/msg/{name}"]


def test_a_killed_run_is_continued(storage: str, tmp_path: Path) -> None:
    source = record(tmp_path / "drive", storage, frames=24)
    whole, out, partial = tmp_path / "whole", tmp_path / "out", tmp_path / "out.partial"
    arguments = ["--matches", "--split", "6", "--batch", "2"]
    assert add_keypoints(source, whole, *arguments) == 0
    command = [sys.executable, "-c", KILLED_IN_THE_THIRD_FILE, "bag", source, out, *OPTIONS, *arguments]
    assert subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == -signal.SIGKILL
    assert not out.exists()
    finished = {file: file.stat().st_mtime_ns for file in partial.glob(f"out_*{SUFFIX[storage]}")}
    assert len(finished) == 2 and (partial / "writing").is_dir()
    assert add_keypoints(source, out, *arguments) == 0
    assert not partial.exists()
    assert all((out / file.name).stat().st_mtime_ns == written for file, written in finished.items())
    resumed = content(out)
    expected = content(whole)
    assert [message[:2] for message in resumed] == [message[:2] for message in expected]
    kept = {f"/{side}/keypoints" for side in ("left", "right")}
    differing = [one[0] for one, other in zip(resumed, expected) if one != other and one[0] not in kept]
    assert not [topic for topic in differing if not topic.endswith("/matches")]
    matches, expected_matches = parsed(out)["/left/matches"], parsed(whole)["/left/matches"]
    for one, other in zip(matches, expected_matches):
        np.testing.assert_array_equal(one.indices1, other.indices1)
        np.testing.assert_allclose(one.distances, other.distances, atol=1e-3)


def test_a_run_killed_before_the_last_renaming_loses_nothing(source: Path, tmp_path: Path) -> None:
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    assert add_keypoints(source, out, "--split", "2") == 0
    written = content(out)
    out.rename(partial)  # records and job are removed by then
    assert add_keypoints(source, out, "--split", "2") == 0
    assert content(out) == written


@pytest.fixture
def begun(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a bag with two finished files, and a third that was interrupted."""

    def interrupted(bag: ResumableBag) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ResumableBag, "finish", interrupted)
        assert add_keypoints(source, tmp_path / "out", "--split", 5, "--batch", 1) == 130
    return tmp_path / "out.partial"


@pytest.mark.parametrize("difference", ["model", "device", "backend", "precision"])
def test_a_run_with_other_options_does_not_continue(source: Path, begun: Path, capsys, difference: str) -> None:
    job = json.loads((begun / "job.json").read_text())
    (begun / "job.json").write_text(json.dumps({**job, difference: "another"}))
    before = fingerprint(begun)
    assert add_keypoints(source, begun.with_suffix("")) == 1
    assert f"was begun with other {difference};" in capsys.readouterr().err
    assert fingerprint(begun) == before


def test_a_run_may_continue_with_other_files_batches_and_threads(source: Path, begun: Path, augmented: Path) -> None:
    out = begun.with_suffix("")
    assert add_keypoints(source, out, "--split", 1, "--batch", 2, "--threads", 1) == 0
    assert len(list(out.glob("out_*"))) == 3
    expected = [message[:2] for message in content(augmented) if not message[0].endswith("/matches")]
    assert [message[:2] for message in content(out)] == expected


def test_a_cut_off_recording_gives_what_it_holds(storage: str, tmp_path: Path, capsys) -> None:
    source = record(tmp_path / "drive", storage, frames=20, ballast=400_000)
    whole = content(source)
    (file,) = source.glob(f"*{SUFFIX[storage]}")
    with file.open("r+b") as stream:
        stream.truncate(int(file.stat().st_size * 0.8))
    (source / "metadata.yaml").unlink()
    before = fingerprint(source)
    assert add_keypoints(source, tmp_path / "out", "--topics", RIGHT) == 0
    assert fingerprint(source) == before
    kept = [message for message in content(tmp_path / "out") if message[0] != "/right/keypoints"]
    assert kept == whole[: len(kept)]
    assert 0.5 * len(whole) < len(kept) < len(whole)
    assert len(parsed(tmp_path / "out")["/right/keypoints"]) == sum(topic == RIGHT for topic, _, _ in kept)
    warnings = capsys.readouterr().err
    assert "there is no metadata.yaml" in warnings
    assert f"{file}: cut off or damaged" in warnings


@pytest.fixture
def unfinished(tmp_path: Path) -> Path:
    """A database with its write-ahead log, as a killed recorder leaves them; the whole recording is beside it."""
    source = tmp_path / "drive"
    source.mkdir()
    database = sqlite3.connect(record(tmp_path / "whole", "sqlite3") / "whole.db3")
    rows = database.execute("SELECT * FROM messages WHERE id > 9").fetchall()
    database.execute("DELETE FROM messages WHERE id > 9")
    database.commit()
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA wal_autocheckpoint=0")
    database.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", rows)
    database.commit()
    for name in ("whole.db3", "whole.db3-wal"):
        shutil.copyfile(tmp_path / "whole" / name, source / name)
    database.close()
    return source


def test_a_recorders_unfinished_transactions_are_read(unfinished: Path, tmp_path: Path, capsys) -> None:
    before = fingerprint(unfinished)
    assert add_keypoints(unfinished, tmp_path / "out", "--topics", LEFT) == 0
    assert fingerprint(unfinished) == before
    kept = [message for message in content(tmp_path / "out") if message[0] != "/left/keypoints"]
    assert kept == content(tmp_path / "whole")
    assert "its recorder was killed" in capsys.readouterr().err
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["metadata.yaml", "out_0.db3"]


@pytest.mark.parametrize("begun", [[], ["job.json", "out_0.db3"]])
def test_a_refused_run_leaves_no_copy_of_the_recording(unfinished: Path, tmp_path: Path, begun: list[str]) -> None:
    partial = tmp_path / "out.partial"
    for name in begun:
        partial.mkdir(exist_ok=True)
        (partial / name).touch()
    assert add_keypoints(unfinished, tmp_path / "out", "--topics", "/rear/image_raw") == 1
    assert sorted(entry.name for entry in partial.glob("*")) == begun
    assert partial.exists() == bool(begun)


def test_types_that_nobody_knows_are_copied(tmp_path: Path) -> None:
    """As bags of ROS 2 Humble have them, SQLite files without definitions; service events have a hash, too."""
    source = record(tmp_path / "drive", "sqlite3")
    database = sqlite3.connect(source / "drive.db3")
    database.execute("UPDATE topics SET type_description_hash = ''")
    database.execute("UPDATE topics SET type = 'my_msgs/msg/Thing', type_description_hash = 'RIHS01_ab' WHERE id = 3")
    database.execute("DELETE FROM message_definitions")
    database.commit()
    database.close()
    (source / "metadata.yaml").unlink()
    for storage in STORAGES:
        assert add_keypoints(source, tmp_path / storage, "--topics", LEFT, "--storage", storage) == 0
        with AnyReader([tmp_path / storage]) as reader:
            kinds = {connection.topic: connection.msgtype for connection in reader.connections}
            assert kinds["/left/camera_info"] == "my_msgs/msg/Thing"
            assert sum(connection.topic == "/left/camera_info" for connection, _, _ in reader.messages()) == FRAMES


def test_a_broken_image_is_copied_without_keypoints(source: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "drive"
    with rosbag2.Writer(path, version=9) as writer:
        topic = writer.add_connection(RIGHT, "sensor_msgs/msg/CompressedImage", typestore=STORE)
        for index in range(3):
            message = compressed_record(picture(index), index + 1)
            if index == 1:
                message.data = message.data[:40]
            writer.write(topic, index + 1, STORE.serialize_cdr(message, message.__msgtype__))
    assert add_keypoints(path, tmp_path / "out", "--matches") == 0
    assert Counter(topic for topic, _, _ in content(tmp_path / "out")) == {RIGHT: 3, "/right/keypoints": 2}
    error = capsys.readouterr().err
    assert "such images are copied without keypoints" in error
    assert "1 images could not be read" in error


def test_options_choose_what_is_written(source: Path, tmp_path: Path) -> None:
    arguments = ["--only-keypoints", "--topics", RIGHT, "--storage", "mcap", "--descriptor-type", "int8"]
    assert add_keypoints(source, tmp_path / "out", *arguments, "--max-keypoints", 7) == 0
    messages = parsed(tmp_path / "out")
    assert list(messages) == ["/right/keypoints"]
    assert list((tmp_path / "out").glob("*.mcap"))
    for message in messages["/right/keypoints"]:
        assert (len(message.x), message.descriptor_size, len(message.descriptors)) == (7, 256, 0)
        norms = np.linalg.norm(message.descriptors_int8.reshape(7, 256).astype(float), axis=1)
        np.testing.assert_allclose(norms, 127, rtol=0.02)


def test_topics_that_would_share_a_name_get_longer_ones(tmp_path: Path) -> None:
    path = tmp_path / "drive"
    names = ["/cam/image_raw", "/cam/image_rect", "/cam/image_rect/compressed", "/depth/image/compressedDepth"]
    with rosbag2.Writer(path, version=9) as writer:
        for name in names:
            image = compressed_record(picture(0), 1) if "compressed" in name else image_record(picture(0), 1)
            topic = writer.add_connection(name, image.__msgtype__, typestore=STORE)
            writer.write(topic, 1, STORE.serialize_cdr(image, image.__msgtype__))
    assert add_keypoints(path, tmp_path / "out", "--only-keypoints") == 0
    assert {topic for topic, _, _ in content(tmp_path / "out")} == {
        "/cam/image_raw/keypoints",
        "/cam/image_rect/keypoints",
    }


FILES_THAT_ARE_NO_BAGS = {"text file": ".txt", "garbage": ".mcap", "ROS 1": ".bag", "compressed file": ".mcap.zstd"}


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (
            "nothing",
            ["--topics", "/rear/image_raw"],
            "/rear/image_raw is no image topic of the bag; its image topics are",
        ),
        ("nothing", ["--topics", "/left/camera_info"], "/left/camera_info is no image topic"),
        ("nothing", ["--threshold", "2"], "threshold must be a number in"),
        ("out exists", [], "exists already"),
        ("absent", [], "no such file or folder"),
        ("empty folder", [], "has neither .mcap nor .db3 files"),
        ("text file", [], "expected a rosbag2 folder, or an .mcap or .db3 file"),
        ("garbage", [], "no messages can be read from it"),
        ("ROS 1", [], "a ROS 1 bag; convert it first"),
        ("compressed file", [], "a compressed file of a bag; give its folder, or unpack it first: zstd -d"),
    ],
)
def test_what_cannot_be_done_is_refused(
    tmp_path: Path, capsys, change: str, arguments: list[str], message: str
) -> None:
    source, out = tmp_path / "drive", tmp_path / "out"
    if change in ("nothing", "out exists"):
        record(source, "mcap", frames=1)
    if change == "out exists":
        out.mkdir()
    elif change == "empty folder":
        source.mkdir()
    elif change in FILES_THAT_ARE_NO_BAGS:
        source = source.with_suffix(FILES_THAT_ARE_NO_BAGS[change])
        source.write_text("no bag")
    existing = fingerprint(tmp_path)
    assert add_keypoints(source, out, *arguments) == 1
    assert message in capsys.readouterr().err
    assert fingerprint(tmp_path) == existing


def test_a_recording_that_has_keypoints_is_not_mixed_with_new_ones(augmented: Path, tmp_path: Path, capsys) -> None:
    assert add_keypoints(augmented, tmp_path / "out") == 1
    assert "the bag has /left/keypoints already; --only-keypoints" in capsys.readouterr().err
    assert add_keypoints(augmented, tmp_path / "out", "--only-keypoints", "--topics", LEFT) == 0
    assert {topic for topic, _, _ in content(tmp_path / "out")} == {"/left/keypoints"}


@pytest.mark.parametrize("arguments", [["--batch", "0"], ["--batch", "two"], ["--split", "-1"]])
def test_impossible_numbers_are_refused(tmp_path: Path, capsys, arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        add_keypoints(tmp_path, tmp_path / "out", *arguments)
    assert f"argument {arguments[0]}: must be a whole number of at least" in capsys.readouterr().err

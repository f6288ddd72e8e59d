"""A matcher process as its users meet it: keypoints in, matches and tracks out."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from node_testing import TIMEOUT, NodeProcess, Probe, counts, image_message, latest_status, textured_image, values
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from superpoint_ros.msg import KeypointArray, KeypointMatches

from superpoint_ros.geometry import corner_error, match_descriptors, warp_points
from superpoint_ros.matching import FrameMatch
from superpoint_ros.nodes.camera_player.sources.virtual import VirtualCamera
from superpoint_ros.nodes.matcher.node import _placement
from superpoint_ros.nodes.matcher.parameters import MatcherParameters
from superpoint_ros.nodes.matcher.temporal_stream import TemporalStream
from superpoint_ros.nodes.messages.keypoints import to_message
from superpoint_ros.nodes.messages.matches import MatchedKeypoints, from_message
from superpoint_ros.superpoint import Features

SIZE = (320, 240)
SHIFT = np.array([[1.0, 0, 6], [0, 1, -4], [0, 0, 1]])


def random_features(seed: int = 0, count: int = 60) -> Features:
    generator = np.random.default_rng(seed)
    descriptors = generator.normal(size=(count, 32)).astype(np.float32)
    return Features(
        keypoints=generator.uniform((20, 20), (300, 220), (count, 2)).astype(np.float32),
        scores=np.linspace(1, 0.1, count, dtype=np.float32),
        descriptors=descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True),
        image_size=SIZE,
    )


def moved(features: Features, homography: np.ndarray, keep: int | None = None) -> Features:
    """Return the same keypoints in reverse order, elsewhere; the others are replaced by new ones."""
    new = random_features(seed=99, count=len(features))
    kept = np.arange(len(features)) < (len(features) if keep is None else keep)
    keypoints = np.where(kept[:, None], warp_points(features.keypoints, homography), new.keypoints)
    descriptors = np.where(kept[:, None], features.descriptors, new.descriptors)
    return Features(keypoints[::-1].astype(np.float32), features.scores, descriptors[::-1], SIZE)


NOTHING = Features(np.empty((0, 2), np.float32), np.empty(0, np.float32), np.empty((0, 32), np.float32), SIZE)


class Feed:
    """Keypoints into a matcher, and the matches that come back."""

    def __init__(self, probe: Probe, cameras: tuple[str, ...] = ("camera",), output: str = "camera/matches") -> None:
        self._probe = probe
        self._seconds = 1000.0
        self._publishers = [probe.create_publisher(KeypointArray, f"{camera}/keypoints", 10) for camera in cameras]
        self.results = probe.collect(KeypointMatches, output)
        for publisher in self._publishers:
            probe.wait_until(lambda: publisher.get_subscription_count() > 0, "the matcher to subscribe")  # noqa: B023
        # The matcher ignores keypoints until it has seen that somebody listens.
        probe.wait_until(self._is_answered, "an answer of the matcher")
        self.restart()

    def _is_answered(self) -> bool:
        self._seconds += 1
        for side in range(len(self._publishers)):
            self.publish(random_features(), self._seconds, side=side)
        self._probe.spin_for(0.3, unless=lambda: bool(self.results))
        return bool(self.results)

    def restart(self) -> None:
        """Let stamps go back, as a bag that starts again does, to begin without a reference."""
        self._probe.spin_for(0.3)
        del self.results[:]
        self._seconds = self._seconds - 500 if self._seconds > 600 else 400.0
        self.last = Time()

    def publish(
        self, features: Features, seconds: float | None = None, side: int = 0, model: str = "weights@1", **options: Any
    ) -> None:
        """Publish keypoints, a tenth of a second after the last ones or at a time of their own."""
        if seconds is None:
            self._seconds += 0.1
            seconds = self._seconds
        stamp = Time(sec=int(seconds), nanosec=round(seconds % 1 * 1e9))
        header = Header(stamp=stamp, frame_id=f"frame{side}")
        self._publishers[side].publish(to_message(header, features, model, **options))
        self.last = stamp

    def answer(self) -> tuple[KeypointMatches, MatchedKeypoints]:
        """Return the message about the keypoints published last."""
        self._probe.wait_until(lambda: any(each.header.stamp == self.last for each in self.results), "matches")
        message = next(each for each in self.results if each.header.stamp == self.last)
        return message, from_message(message)


def seconds(header: Header) -> float:
    return float(header.stamp.sec + header.stamp.nanosec * 1e-9)


@pytest.fixture(scope="module")
def matcher(start_node: Callable[..., NodeProcess], probe: Probe) -> SimpleNamespace:
    """A matcher of consecutive frames with homographies, and the topics around it."""
    node = start_node("matcher", {"estimate": "homography"})
    return SimpleNamespace(
        node=node,
        feed=Feed(probe),
        diagnostics=probe.collect(DiagnosticArray, "/diagnostics"),
        overlays=None,
    )


@pytest.fixture
def feed(matcher: SimpleNamespace) -> Iterator[Feed]:
    """A feed whose next frame has nothing to be matched to."""
    matcher.feed.restart()
    return matcher.feed


# Consecutive frames


@pytest.mark.parametrize("descriptor_type", ["float32", "int8"])
def test_consecutive_frames_are_matched_with_their_homography(descriptor_type: str, feed: Feed) -> None:
    features = [random_features()]
    features += [moved(features[0], SHIFT, keep=45)]
    features += [moved(features[1], SHIFT)]
    feed.publish(features[0], descriptor_type=descriptor_type)
    for before, now in itertools.pairwise(features):
        earlier = feed.last
        feed.publish(now, descriptor_type=descriptor_type)
        message, result = feed.answer()
        assert message.reference_header == Header(stamp=earlier, frame_id="frame0")
        assert message.header == Header(stamp=feed.last, frame_id="frame0")
        np.testing.assert_array_equal(result.points0, before.keypoints[result.indices[:, 0]])
        np.testing.assert_array_equal(result.points1, now.keypoints[result.indices[:, 1]])
        assert (result.kind, result.model) == ("homography", "weights@1")
        np.testing.assert_allclose(result.matrix, SHIFT, atol=1e-3)
        expected = warp_points(result.points0, SHIFT) - result.points1
        np.testing.assert_array_equal(result.inliers, np.linalg.norm(expected, axis=1) < 3)
        assert result.inliers.sum() >= 45


def test_a_frame_without_keypoints_gives_no_matches_and_is_bridged(feed: Feed) -> None:
    feed.publish(random_features())
    first = feed.last
    feed.publish(NOTHING)
    message, result = feed.answer()
    assert len(result.indices) == 0 and not message.estimated and message.reference_header.stamp == first
    feed.publish(moved(random_features(), SHIFT))
    message, result = feed.answer()
    assert message.reference_header.stamp == first and result.inliers.sum() == 60


def test_stamps_that_go_back_start_anew(feed: Feed, matcher: SimpleNamespace, probe: Probe) -> None:
    feed.publish(random_features())
    feed.publish(random_features())
    feed.answer()
    before = matcher.node.output.count("matching starts anew")
    feed.restart()
    feed.publish(random_features())
    first = feed.last
    feed.publish(random_features())
    assert feed.answer()[0].reference_header.stamp == first
    assert [each.header.stamp for each in feed.results] == [feed.last]
    assert matcher.node.output.count("matching starts anew") == before + 1


def test_different_weights_are_refused_with_a_warning_and_an_error_on_diagnostics(
    feed: Feed, matcher: SimpleNamespace, probe: Probe
) -> None:
    del matcher.diagnostics[:]
    feed.publish(random_features(), model="weights@1")
    feed.publish(random_features(), model="weights@2")
    refused, sentence = feed.last, "descriptors of different weights cannot be matched: 'weights@1' and 'weights@2'"

    def is_reported() -> bool:
        return any(
            status.name == "matcher: camera" and status.level == DiagnosticStatus.ERROR and sentence in status.message
            for message in matcher.diagnostics
            for status in message.status
        )

    probe.wait_until(is_reported, "the refusal on /diagnostics")
    assert sentence in matcher.node.output and "Traceback" not in matcher.node.output
    feed.publish(random_features(), model="weights@2")  # the new weights go on
    message, result = feed.answer()
    assert message.reference_header.stamp == refused and result.model == "weights@2"
    assert all(each.header.stamp != refused for each in feed.results)


@pytest.mark.parametrize(
    ("spoil", "key"),
    [
        (lambda message: message.x.pop(), "dropped: malformed"),
        (lambda message: setattr(message, "width", 2**25), "dropped: malformed"),
        (
            lambda message: setattr(message, "descriptor_size", 0) or setattr(message, "descriptors", []),
            "dropped: cannot",
        ),
    ],
)
def test_what_cannot_be_matched_is_counted_and_the_next_frame_goes_on(
    spoil: Callable[[KeypointArray], Any], key: str, feed: Feed, matcher: SimpleNamespace, probe: Probe
) -> None:
    def dropped() -> int:
        return sum(n for name, n in counts(matcher.diagnostics, "matcher: camera").items() if name.startswith(key))

    probe.wait_until(lambda: counts(matcher.diagnostics, "matcher: camera"), "diagnostics")
    before = dropped()
    feed.publish(random_features())
    first = feed.last
    message = to_message(Header(stamp=Time(sec=first.sec, nanosec=first.nanosec + 1)), random_features(), "weights@1")
    spoil(message)
    feed._publishers[0].publish(message)
    probe.wait_until(lambda: dropped() > before, f"'{key}' to be counted")
    feed.publish(random_features())
    assert feed.answer()[0].reference_header.stamp == first
    assert "Traceback" not in matcher.node.output


def test_a_gpu_without_room_for_the_descriptors_costs_that_frame(probe: Probe) -> None:
    full, is_full = RuntimeError("CUDA error: out of memory"), False

    def place(descriptors: np.ndarray) -> np.ndarray:
        if is_full:
            raise full
        return descriptors

    node = LifecycleNode("crowded")  # `probe` starts ROS
    stream = TemporalStream(node, "crowded", MatcherParameters, place)

    def matched(second: int) -> FrameMatch | None:
        """Receive the keypoints of a moment and return what they were matched to."""
        stream.last_match = None
        stream._receive(0, to_message(Header(stamp=Time(sec=second)), random_features(), "weights@1"))
        return stream.last_match

    assert matched(1) is None and matched(2) is not None
    is_full = True
    assert matched(3) is None
    snapshot = stream.statistics.snapshot()
    assert snapshot.totals["failed"] == 1
    assert snapshot.failure == f"message on /crowded/keypoints failed: RuntimeError: {full}"
    is_full = False
    assert matched(4) is None and matched(5) is not None  # it starts anew
    node.destroy_node()


# Parameters and diagnostics


def test_live_limits_take_effect_on_the_next_frame(feed: Feed, probe: Probe) -> None:
    far = np.array([[1.0, 0, 30], [0, 1, 0], [0, 0, 1]])
    feed.publish(random_features())
    feed.publish(random_features())
    assert len(feed.answer()[1].indices) == 60
    assert probe.set_parameters("matcher", search_radius=10.0)[0].successful
    feed.publish(moved(random_features(), far))
    assert len(feed.answer()[1].indices) < 30
    feed.restart()
    features = random_features()
    for shift in (0, 8, 16, 24):  # the last one moves further than the radius, but nearly as predicted
        feed.publish(features)
        features = moved(features, np.array([[1.0, 0, shift], [0, 1, 0], [0, 0, 1]]))
    assert len(feed.answer()[1].indices) == 60
    assert probe.set_parameters("matcher", search_radius=0.0, max_distance=0.01)[1].successful
    feed.publish(random_features(seed=5))
    assert len(feed.answer()[1].indices) == 0
    assert probe.set_parameters("matcher", max_distance=2.0)[0].successful


def test_bad_values_and_what_needs_configure_are_refused(matcher: SimpleNamespace, probe: Probe) -> None:
    assert "max_ratio" in probe.set_parameters("matcher", max_ratio=1.5)[0].reason
    assert "configure" in probe.set_parameters("matcher", mode="stereo")[0].reason


def test_diagnostics_tell_rates_latencies_and_the_last_result(
    feed: Feed, matcher: SimpleNamespace, probe: Probe
) -> None:
    for _ in range(3):
        feed.publish(random_features())
    feed.answer()
    del matcher.diagnostics[:]
    probe.wait_until(lambda: len(matcher.diagnostics) >= 2, "diagnostics")
    found = values(latest_status(matcher.diagnostics, "matcher: camera"))
    assert found["keypoint topic"] == "/camera/keypoints" and found["matches in the last frame"] == "60"
    assert float(found["matching p50 [ms]"]) <= float(found["matching p99 [ms]"])
    node = latest_status(matcher.diagnostics, "matcher: node")
    assert node.level == DiagnosticStatus.OK and values(node)["mode"] == "consecutive"


def test_tracks_are_drawn_on_black_and_on_the_image_of_the_stamp(
    feed: Feed, matcher: SimpleNamespace, probe: Probe
) -> None:
    overlays = probe.collect(Image, "camera/tracks_image")
    images = probe.image_publisher("camera/image_raw")  # subscribed to only now that somebody looks
    features = random_features()

    def next_overlay(image: Image | None) -> np.ndarray:
        nonlocal features
        features = moved(features, SHIFT)
        if image is not None:
            feed._seconds += 0.1
            image.header.stamp = Time(sec=int(feed._seconds), nanosec=round(feed._seconds % 1 * 1e9))
            images.publish(image)
            probe.spin_for(0.5)
            feed.publish(features, seconds=feed._seconds)
        else:
            feed.publish(features)
        probe.wait_until(lambda: any(each.header.stamp == feed.last for each in overlays), "an overlay")
        overlay = next(each for each in overlays if each.header.stamp == feed.last)
        assert (overlay.width, overlay.height, overlay.encoding) == (*SIZE, "rgb8")
        return np.asarray(overlay.data).reshape(SIZE[1], SIZE[0], 3)

    feed.publish(features)
    on_black = next_overlay(None)
    assert 0.5 < (on_black == 0).all(axis=2).mean() < 0.99
    picture = textured_image(SIZE[1], SIZE[0])

    def is_on_image() -> bool:
        return 0.5 < (next_overlay(image_message(picture, "rgb8")) == picture).all(axis=2).mean() < 0.99

    probe.wait_until(is_on_image, "tracks on the image, once one has come before its keypoints")
    probe.destroy_subscription(overlays.subscription)
    probe.wait_until(lambda: images.get_subscription_count() == 0, "the matcher to leave the images alone")
    probe.destroy_publisher(images)


# Only for who listens


def test_keypoints_are_received_only_while_matches_are_wanted(
    start_node: Callable[..., NodeProcess], probe: Probe
) -> None:
    start_node("matcher", {"cameras": ["lonely"]}, "-r", "__node:=idler")
    diagnostics = probe.collect(DiagnosticArray, "/diagnostics")
    keypoints = probe.create_publisher(KeypointArray, "lonely/keypoints", 10)

    def is_idle() -> bool:
        status = latest_status(diagnostics, "idler: lonely")
        return status is not None and status.message == "idle: nobody subscribes to matches or overlay"

    probe.wait_until(lambda: is_idle() and keypoints.get_subscription_count() == 0, "the matcher to idle")
    assert probe.set_parameters("idler", process_without_subscribers=True)[0].successful
    probe.wait_until(lambda: keypoints.get_subscription_count() == 1, "a subscriber, wanted or not")
    assert probe.set_parameters("idler", process_without_subscribers=False)[0].successful
    probe.wait_until(lambda: keypoints.get_subscription_count() == 0, "the matcher to idle again")
    feed = Feed(probe, ("lonely",), "lonely/matches")
    probe.destroy_subscription(feed.results.subscription)
    probe.wait_until(lambda: keypoints.get_subscription_count() == 0, "the matcher to idle when all have left")


# Lifecycle and process


def test_deactivated_it_forgets_and_activated_it_goes_on(feed: Feed, matcher: SimpleNamespace, probe: Probe) -> None:
    feed.publish(random_features())
    assert probe.change_state("matcher", "deactivate") and probe.state("matcher") == "inactive"
    publisher = feed._publishers[0]
    probe.wait_until(lambda: publisher.get_subscription_count() == 0, "the matcher to unsubscribe")
    assert probe.change_state("matcher", "activate") and probe.state("matcher") == "active"
    probe.wait_until(lambda: publisher.get_subscription_count() > 0, "the matcher to subscribe")
    feed.publish(random_features())
    first = feed.last
    feed.publish(random_features())
    assert feed.answer()[0].reference_header.stamp == first


def test_bad_start_is_one_sentence(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    node = start_node("matcher", {"max_ratio": 2.0})
    assert node.process.wait(TIMEOUT) == 1
    assert "max_ratio must be" in node.output and len(node.output.splitlines()) == 1
    start_node("matcher", {"backend": "numpy", "device": "cuda:0"}, "-r", "__node:=torn").wait_for_output(
        "cannot configure: device cuda:0: NumPy computes on the CPU"
    )
    node = start_node("matcher", {"mode": "stereo"}, "-r", "__node:=lonely")
    node.wait_for_output("cannot configure: mode stereo needs two cameras, left and right, but cameras has 1")
    assert probe.state("lonely") == "unconfigured"
    assert node.stop(signal.SIGTERM) == 0 and "Traceback" not in node.output


# Other modes


def test_key_frames_stay_until_too_little_of_them_is_seen(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    start_node("matcher", {"mode": "keyframes", "cameras": ["key"], "keyframe_overlap": 0.5}, "-r", "__node:=keys")
    feed = Feed(probe, ("key",), "key/matches")
    key = random_features()
    feed.publish(key)
    stamps = [feed.last]
    for keep in (60, 40, 20, 60):
        frame = moved(key, SHIFT, keep=keep)
        feed.publish(frame)
        stamps.append(feed.last)
        message, result = feed.answer()
        expected = 0 if keep != 60 or len(stamps) == 2 else 3  # the frame with 20 has become the key frame
        assert message.reference_header.stamp == stamps[expected]
        assert len(result.indices) == len(match_descriptors(key.descriptors, frame.descriptors)) or expected


def test_stereo_pairs_stamps_within_the_slop(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    parameters = {"mode": "stereo", "cameras": ["left", "right"], "sync_slop": 0.02, "epipolar_distance": 1.0}
    start_node("matcher", parameters, "-r", "__node:=stereo")
    diagnostics = probe.collect(DiagnosticArray, "/diagnostics")
    feed = Feed(probe, ("left", "right"), "left/stereo_matches")
    left = random_features()
    right = moved(left, np.array([[1.0, 0, -12], [0, 1, 0], [0, 0, 1]]))
    feed.publish(right, seconds=500.01, side=1)
    feed.publish(left, seconds=500.0, side=0)
    probe.wait_until(lambda: feed.results, "matches")
    message = feed.results[0]
    assert (message.reference_header.frame_id, message.header.frame_id) == ("frame0", "frame1")
    assert (seconds(message.reference_header), seconds(message.header)) == (500.0, pytest.approx(500.01))
    result = from_message(message)
    assert len(result.indices) == 60
    np.testing.assert_allclose(result.points0 - result.points1, np.tile([12, 0], (60, 1)), atol=1e-3)

    feed.publish(left, seconds=501.0, side=0)  # 30 ms from the nearest: no partner
    feed.publish(right, seconds=501.03, side=1)
    feed.publish(left, seconds=502.0, side=0)
    feed.publish(right, seconds=502.0, side=1, model="weights@2")
    feed.publish(left, seconds=503.0, side=0)
    feed.publish(right, seconds=503.0, side=1)
    probe.wait_until(lambda: len(feed.results) > 1, "matches")
    assert [seconds(each.header) for each in feed.results[1:]] == [503.0]
    probe.wait_until(lambda: counts(diagnostics, "stereo: left").get("dropped: no partner", 0) >= 2, "diagnostics")
    assert counts(diagnostics, "stereo: left")["dropped: cannot be matched"] == 1

    broken = to_message(Header(), right, "weights@1")
    broken.y = broken.y[:-1]
    feed._publishers[1].publish(broken)
    probe.wait_until(lambda: counts(diagnostics, "stereo: left")["dropped: malformed"] == 1, "diagnostics")


def test_essential_matrix_needs_camera_info_and_says_so(start_node: Callable[..., NodeProcess], probe: Probe) -> None:
    start_node("matcher", {"cameras": ["lens"], "estimate": "essential"}, "-r", "__node:=lens")
    diagnostics = probe.collect(DiagnosticArray, "/diagnostics")
    feed = Feed(probe, ("lens",), "lens/matches")
    matrix = np.array([[250.0, 0, 160], [0, 250, 120], [0, 0, 1]])
    generator = np.random.default_rng(0)
    points = generator.uniform((-1, -0.8, 4), (1, 0.8, 8), (60, 3))
    views = []
    for shift in ([0, 0, 0], [0.5, 0, 0]):
        pixels = (points + shift) @ matrix.T
        keypoints = (pixels[:, :2] / pixels[:, 2:]).astype(np.float32)
        views.append(Features(keypoints, random_features().scores, random_features().descriptors, SIZE))

    def estimate() -> MatchedKeypoints:
        for view in views:
            feed.publish(view)
        return feed.answer()[1]

    result = estimate()
    assert result.kind == "essential" and result.matrix is None and not result.inliers.any()

    def is_said() -> bool:
        status = latest_status(diagnostics, "lens: lens")
        return status is not None and "no camera_info on /lens/camera_info yet" in status.message

    probe.wait_until(lambda: estimate() and is_said(), "the reason on /diagnostics")
    infos = probe.create_publisher(CameraInfo, "lens/camera_info", 10)
    info = CameraInfo(width=SIZE[0], height=SIZE[1], distortion_model="plumb_bob", d=[0.0] * 5, k=matrix.ravel())

    def is_calibrated() -> bool:
        infos.publish(info)
        return estimate().matrix is not None

    probe.wait_until(is_calibrated, "an essential matrix")
    result = estimate()
    expected = np.array([[0, 0, 0], [0, 0, -1], [0, 1, 0]]) / np.sqrt(2)  # a shift along x
    found = result.matrix / np.linalg.norm(result.matrix)
    np.testing.assert_allclose(found * np.sign((found * expected).sum()), expected, atol=0.02)
    assert result.inliers.mean() > 0.9


# The whole way


def test_a_flight_along_a_wall_is_matched_with_its_true_homographies(
    start_node: Callable[..., NodeProcess], probe: Probe
) -> None:
    rate, frames = 5.0, 10
    start_node("matcher", {"cameras": ["flight"], "estimate": "homography"}, "-r", "__node:=pilot")
    start_node(
        "detector",
        {"cameras": ["flight"], "device": "cpu", "backend": "torch", "frame_policy": "all", "max_keypoints": 500},
        "-r",
        "__node:=eye",
    )
    images = probe.collect(Image, "flight/image_raw")
    matches = probe.collect(KeypointMatches, "flight/matches")
    tracks = probe.collect(Image, "flight/tracks_image")
    probe.wait_until(lambda: probe.count_publishers("flight/tracks_image") > 0, "the matcher")
    probe.wait_until(
        lambda: probe.count_subscribers("flight/image_raw") >= 3, "detector, matcher and this test to listen"
    )
    start_node(
        "camera_player",
        {
            "camera_name": "flight",
            "width": SIZE[0],
            "height": SIZE[1],
            "rate": rate,
            "seed": 3,
            "max_frames": frames,
            "wait_for_subscribers": 3,
        },
    )
    probe.wait_until(lambda: len(images) == frames, "the images")
    stamps = [(image.header.stamp.sec, image.header.stamp.nanosec) for image in images]

    def last_is_matched() -> bool:
        return any((each.header.stamp.sec, each.header.stamp.nanosec) == stamps[-1] for each in matches)

    probe.wait_until(last_is_matched, "the last matches")
    camera = VirtualCamera(*SIZE, rate=rate, seed=3)
    assert len(matches) >= frames - 3
    for message in matches:
        first, second = (
            stamps.index((header.stamp.sec, header.stamp.nanosec))
            for header in (message.reference_header, message.header)
        )
        assert second == first + 1
        truth = camera.homography(second / rate) @ np.linalg.inv(camera.homography(first / rate))
        assert message.estimated
        assert corner_error(np.reshape(message.matrix, (3, 3)), truth, *SIZE) < 2.0
        assert np.mean(message.inliers) > 0.6 and len(message.inliers) > 100
    probe.wait_until(lambda: tracks and tracks[-1].header.stamp == images[-1].header.stamp, "the last overlay")
    pixels = np.asarray(tracks[-1].data).reshape(SIZE[1], SIZE[0], 3)
    image = np.asarray(images[-1].data).reshape(SIZE[1], SIZE[0], 3)[:, :, ::-1]
    assert 0.2 < (pixels == image).all(axis=2).mean() < 0.98


def test_a_gpu_that_is_not_there_is_told_before_the_first_match(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="device cuda:3: PyTorch finds 1 CUDA GPUs"):
        _placement(MatcherParameters(device="cuda:3", backend="torch"))
    assert _placement(MatcherParameters(device="cuda:0", backend="torch"))[1:] == ("torch", "cuda:0")

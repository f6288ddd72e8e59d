"""What the detector says about a camera's stream, from what was counted; no processes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

from diagnostic_msgs.msg import DiagnosticStatus
from node_testing import values

from superpoint_ros.nodes.detector.parameters import DetectorParameters
from superpoint_ros.nodes.detector.status import camera_status
from superpoint_ros.nodes.reporting.stream_statistics import Event, StreamStatistics

OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE


def status_after(seconds: float, events: list[Event], parameters: DetectorParameters) -> DiagnosticStatus:
    now = 0.0
    statistics = StreamStatistics(clock=lambda: now)
    for event in events:
        statistics.received(stamp=0.0, now=0.0)
        statistics.count(event)
    now = seconds
    camera = SimpleNamespace(
        name="eye", image_topic="/eye/image_raw", image_size=None, subscription=None, statistics=statistics
    )
    return camera_status("detector", camera, parameters)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("events", "level", "message"),
    [
        (["processed"] * 3, OK, "3.0 Hz"),
        (["processed", "overload", "overload"], OK, "1.0 Hz"),
        (["overload"] * 3, WARN, "images come, but the model has finished none of late"),
        (["unwatched"] * 3, OK, "idle: nobody subscribes to keypoints or overlay"),
        (["malformed", "processed"], WARN, "malformed images: 1, see the log"),
        ([], STALE, "no image on /eye/image_raw yet"),
    ],
)
def test_what_becomes_of_images_decides_the_verdict(events: list[Event], level: bytes, message: str) -> None:
    status = status_after(1.0, events, DetectorParameters())
    assert (status.name, status.hardware_id, status.level, status.message) == ("detector: eye", "eye", level, message)
    assert values(status)["images received"] == str(len(events))


@pytest.mark.parametrize(
    ("seconds", "level", "message"),
    [(0.5, OK, "2.0 Hz"), (2.0, WARN, "0.5 Hz published, below the limit of 5 Hz")],
)
def test_a_rate_is_judged_once_it_was_taken_for_a_while(seconds: float, level: bytes, message: str) -> None:
    status = status_after(seconds, ["processed"], DetectorParameters(warn_below_rate=5.0))
    assert (status.level, status.message) == (level, message)


def test_only_the_reasons_for_the_worst_level_are_told() -> None:
    status = status_after(2.0, ["failed", "malformed"], DetectorParameters(error_below_rate=5.0))
    assert status.level == ERROR
    assert [reason.split(" ", 1)[0] for reason in status.message.split("; ")] == ["images", "0.0"]

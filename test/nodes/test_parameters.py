"""Declarations of parameters, and everything made from them."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("superpoint_ros.msg", reason="needs ROS 2: make build, scripts/ros_env python -m pytest")

from superpoint_ros.nodes.detector.parameters import DetectorParameters
from superpoint_ros.nodes.matcher.parameters import MatcherParameters
from superpoint_ros.nodes.parameter_docs import documents
from superpoint_ros.nodes.parameters.declaration import changed, declarations
from superpoint_ros.superpoint import DetectionOptions, load_checkpoint

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", documents())
def test_generated_files_are_up_to_date(path: str) -> None:
    expected = documents()[path]
    assert (ROOT / path).read_text() == expected, "run: scripts/ros_env python -m superpoint_ros.nodes.parameter_docs"


@pytest.mark.parametrize(("node", "defaults"), [("detector", DetectorParameters()), ("matcher", MatcherParameters())])
def test_parameter_file_holds_every_parameter_with_its_default(node: str, defaults: Any) -> None:
    content = yaml.safe_load((ROOT / "config" / f"{node}.yaml").read_text())["/**"]["ros__parameters"]
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
    assert given == asdict(defaults)


def test_detection_options_default_to_what_the_bundled_weights_recommend() -> None:
    recommended = DetectionOptions.from_config(load_checkpoint("default").config)
    assert DetectorParameters().detection_options() == recommended


def test_every_parameter_has_a_description() -> None:
    for settings in (DetectorParameters, MatcherParameters):
        assert all(item.description.endswith((".", ")")) for item in declarations(settings).values())


BAD_VALUES = [
    ("threshold", -0.1),
    ("threshold", 1.0),
    ("threshold", float("nan")),
    ("threshold", 1),
    ("nms_radius", -1),
    ("nms_radius", True),
    ("nms_radius", 4.0),
    ("max_keypoints", -2),
    ("border", -1),
    ("resize", 15),
    ("resize", -1),
    ("resize", 4097),
    ("max_pixels", 1023),
    ("max_pixels", 2**25 + 1),
    ("subpixel", "cubic"),
    ("device", "gpu"),
    ("device", "cuda:"),
    ("backend", "tensorflow"),
    ("precision", "fp8"),
    ("cameras", ()),
    ("cameras", ("left", "left")),
    ("cameras", ("left camera",)),
    ("cameras", ("1st",)),
    ("cameras", ("kamerä",)),
    ("cameras", ("left/",)),
    ("cameras", "camera"),
    ("image_transport", "theora"),
    ("frame_policy", "oldest"),
    ("descriptor_type", "uint8"),
    ("publish_descriptors", 1),
    ("value_range", (1.0,)),
    ("value_range", (2.0, 1.0)),
    ("value_range", (0.0, float("inf"))),
    ("value_range", (0, 255)),
    ("weights", 5),
    ("threads", -1),
    ("max_batch_size", -1),
    ("max_batch_size", 9),
    ("max_rate", -1.0),
    ("max_rate", float("inf")),
    ("mask", True),
    ("publish_bearings", 1),
    ("stale_after", 0.0),
    ("warn_below_rate", -0.5),
    ("error_below_rate", -0.5),
    ("warn_above_latency", -0.5),
    ("error_above_latency", -0.5),
    ("warn_above_age", -0.5),
    ("error_above_age", 3601.0),
]


@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
def test_refuses_a_bad_value_and_names_the_parameter(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*, got"):
        DetectorParameters(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "mono"),
        ("cameras", ("left", "left")),
        ("backend", "jax"),
        ("device", "gpu"),
        ("estimate", "fundamental"),
        ("sync_slop", -0.1),
        ("max_ratio", 1.1),
        ("max_distance", 2.1),
        ("search_radius", float("nan")),
        ("epipolar_distance", -1.0),
        ("max_error", 0.0),
        ("keyframe_overlap", 1.1),
        ("trail_length", 1),
        ("image_transport", "theora"),
    ],
)
def test_the_matcher_refuses_a_bad_value_and_names_the_parameter(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .*, got"):
        MatcherParameters(**{name: value})


def test_every_parameter_with_a_rule_is_tested_with_a_bad_value() -> None:
    tested = {name for name, _ in BAD_VALUES}
    assert {field.name for field in fields(DetectorParameters)} - tested == {"autostart", "process_without_subscribers"}


def test_of_several_changes_all_or_none_are_taken() -> None:
    before = DetectorParameters()
    after = changed(before, {"threshold": 0.1, "cameras": ["left", "right"], "use_sim_time": True})
    assert (after.threshold, after.cameras) == (0.1, ("left", "right"))
    with pytest.raises(ValueError, match="border"):
        changed(before, {"threshold": 0.1, "border": -1})
    assert before == DetectorParameters()

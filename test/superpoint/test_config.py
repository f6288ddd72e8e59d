"""Configurations have transformers' names and defaults, and say which field is wrong."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from superpoint_ros.superpoint import DetectionOptions, PreprocessorConfig, SuperPointConfig


def test_names_and_defaults_are_those_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.SuperPointConfig()
    added = {"batch_norm", "descriptor_grid", "subpixel"}
    for name, value in asdict(SuperPointConfig()).items():
        assert name in added or getattr(theirs, name) == (list(value) if isinstance(value, tuple) else value)
    processor = transformers.SuperPointImageProcessor()
    for name, value in asdict(PreprocessorConfig()).items():
        expected = {"height": 480, "width": 640} if name == "size" else value
        assert getattr(processor, name) == expected


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (SuperPointConfig, "encoder_hidden_sizes", (64, 64, 128)),
        (SuperPointConfig, "encoder_hidden_sizes", (64, 64, 128, 0)),
        (SuperPointConfig, "encoder_hidden_sizes", 64),
        (SuperPointConfig, "decoder_hidden_size", 0),
        (SuperPointConfig, "keypoint_decoder_dim", 64),
        (SuperPointConfig, "descriptor_decoder_dim", -1),
        (SuperPointConfig, "descriptor_decoder_dim", 2.5),
        (SuperPointConfig, "keypoint_threshold", 1.0),
        (SuperPointConfig, "keypoint_threshold", float("nan")),
        (SuperPointConfig, "keypoint_threshold", "0.5"),
        (SuperPointConfig, "max_keypoints", -2),
        (SuperPointConfig, "max_keypoints", True),
        (SuperPointConfig, "nms_radius", -1),
        (SuperPointConfig, "border_removal_distance", None),
        (SuperPointConfig, "initializer_range", -0.1),
        (SuperPointConfig, "batch_norm", "always"),
        (SuperPointConfig, "descriptor_grid", "corners"),
        (SuperPointConfig, "subpixel", "cubic"),
        (PreprocessorConfig, "do_resize", 1),
        (PreprocessorConfig, "size", (480,)),
        (PreprocessorConfig, "size", (480, 0)),
        (PreprocessorConfig, "resample", 6),
        (PreprocessorConfig, "rescale_factor", "1/255"),
        (PreprocessorConfig, "do_grayscale", None),
    ],
)
def test_a_bad_value_is_refused_by_name(kind, field, value) -> None:
    with pytest.raises(ValueError, match=field):
        kind(**{field: value})


def test_numpy_scalars_are_taken_as_numbers() -> None:
    options = DetectionOptions(threshold=np.float32(0.5), max_keypoints=np.int64(9), resize=np.uint16(32))
    assert options == DetectionOptions(threshold=0.5, max_keypoints=9, resize=32)
    assert type(options.threshold) is float
    assert type(options.max_keypoints) is int
    config = SuperPointConfig(encoder_hidden_sizes=tuple(np.array([8, 8, 16, 16])), keypoint_threshold=np.float64(0.5))
    assert json.loads(json.dumps(asdict(config)))["encoder_hidden_sizes"] == [8, 8, 16, 16]
    with pytest.raises(ValueError, match="nms_radius"):
        DetectionOptions(nms_radius=np.bool_(True))  # type: ignore[arg-type]

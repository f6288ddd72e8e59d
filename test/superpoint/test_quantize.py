"""Quantised models are made by one command, belong to their weights, and find nearly the same."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from test_extractor import SMALL, picture

from superpoint_ros.__main__ import main
from superpoint_ros.superpoint import DetectionOptions, SuperPointExtractor, load_checkpoint, save_pretrained
from superpoint_ros.superpoint.checkpoints import random_checkpoint

pytest.importorskip("openvino")
from superpoint_ros.superpoint import quantize
from superpoint_ros.superpoint.quantize import rounded_with_sum
from superpoint_ros.superpoint.quantized_models import (
    BUNDLED_MODELS,
    QuantizedModelError,
    cached_model,
    load_quantized,
    origin,
    weights_hash,
)

OPTIONS = DetectionOptions(threshold=0.016, max_keypoints=300)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SUPERPOINT_ROS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def extractor(checkpoint, precision: str) -> SuperPointExtractor:
    return SuperPointExtractor(checkpoint, "cpu", "openvino", precision, OPTIONS)


@pytest.mark.parametrize("name", BUNDLED_MODELS)
def test_the_bundled_models_were_made_from_the_bundled_weights(name) -> None:
    """If not: python -m superpoint_ros quantize --weights NAME --output FILE."""
    assert origin(BUNDLED_MODELS[name]) == weights_hash(load_checkpoint(name).name)


@pytest.mark.parametrize("weights", BUNDLED_MODELS)
def test_int8_works_out_of_the_box_and_finds_nearly_the_same(weights) -> None:
    skimage_data = pytest.importorskip("skimage.data")
    image = skimage_data.camera()
    exact, quantized = (
        SuperPointExtractor.from_pretrained(
            weights, device="cpu", backend="openvino", precision=precision, max_keypoints=500
        )
        for precision in ("fp32", "int8")
    )
    assert (quantized.backend, quantized.precision) == ("openvino", "int8")
    ours, theirs = quantized(image), exact(image)
    distances = np.abs(theirs.keypoints[:, None] - ours.keypoints[None]).max(2)
    same = distances.min(1) < 1
    assert same.mean() > 0.75
    cosines = (theirs.descriptors[same] * ours.descriptors[distances.argmin(1)[same]]).sum(1)
    assert cosines.mean() > 0.98


def test_other_weights_are_quantised_by_the_command_that_the_error_names(cache, tmp_path, capsys) -> None:
    pytest.importorskip("nncf")
    checkpoint = random_checkpoint(SMALL)
    with pytest.raises(ValueError, match=f"{checkpoint.name}.*superpoint_ros quantize --weights"):
        extractor(checkpoint, "int8")
    save_pretrained(tmp_path / "weights", checkpoint)
    np.save(tmp_path / "images.npy", np.stack([picture(120, 160, seed) for seed in range(3)]))
    command = ["quantize", "--weights", str(tmp_path / "weights"), "--images", str(tmp_path / "images.npy")]
    assert main(command) == 0
    path = cached_model(checkpoint.name)
    assert path.is_relative_to(cache)
    assert str(path) in capsys.readouterr().out

    image = picture()
    ours, theirs = extractor(checkpoint, "int8")(image), extractor(checkpoint, "fp32")(image)
    common = {tuple(point) for point in ours.keypoints} & {tuple(point) for point in theirs.keypoints}
    assert len(common) > 0.5 * len(theirs)


def damage(path: Path, suffix: str, length: int | None) -> None:
    """Put a bundled model at `path`, one of its two files cut to so many bytes or, with None, missing."""
    path.parent.mkdir(parents=True)
    for each in (".xml", ".bin"):
        content = BUNDLED_MODELS["small"].with_suffix(each).read_bytes()
        if each != suffix:
            path.with_suffix(each).write_bytes(content)
        elif length is not None:
            path.with_suffix(each).write_bytes(content[:length])


@pytest.mark.parametrize(("suffix", "length"), [(".xml", 0), (".xml", 999), (".bin", 0), (".bin", 999), (".bin", None)])
def test_a_damaged_model_is_named_with_the_remedy(suffix: str, length: int | None) -> None:
    small = load_checkpoint("small")
    path = cached_model(small.name)
    damage(path, suffix, length)
    with pytest.raises(QuantizedModelError, match=r"damaged.*superpoint_ros quantize") as caught:
        extractor(small, "int8")
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_damaged_bundled_model_is_named_and_the_others_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "package" / "int8.xml"
    damage(path, ".bin", 1000)
    monkeypatch.setitem(BUNDLED_MODELS, "default", path)
    with pytest.raises(ValueError, match=f"superpoint_ros quantize.*{path}: .*damaged.*reinstall"):
        load_quantized(load_checkpoint("default").name)
    load_quantized(load_checkpoint("small").name)


@given(arrays(np.float32, (3, 1, 3, 3), elements=st.floats(-127, 127, width=32)))
def test_filters_keep_their_sums_when_they_are_rounded(filters) -> None:
    rounded = rounded_with_sum(filters)
    assert (rounded == np.round(rounded)).all()
    assert np.abs(rounded - filters).max() <= 1
    np.testing.assert_allclose(rounded.sum((1, 2, 3)), filters.sum((1, 2, 3)), atol=0.501)


def test_a_model_of_other_weights_is_never_used() -> None:
    checkpoint = random_checkpoint(SMALL)
    path = cached_model(checkpoint.name)
    path.parent.mkdir(parents=True)
    for suffix in (".xml", ".bin"):
        shutil.copy(BUNDLED_MODELS["default"].with_suffix(suffix), path.with_suffix(suffix))
    with pytest.raises(ValueError, match="superpoint_ros quantize"):
        extractor(checkpoint, "int8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "/nowhere"], "/nowhere: no such folder"),
        (["--images", __file__ + ".npy"], "not an array of images"),
        (["--weights", "/nowhere"], "no such file or folder"),
        (["--output", "model.bin"], "must end in .xml"),
    ],
)
def test_what_cannot_be_quantised_is_named(cache, capsys, arguments, message) -> None:
    pytest.importorskip("nncf")
    assert main(["quantize", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not cache.exists()


def test_an_unusable_folder_is_named_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    pytest.importorskip("nncf")
    monkeypatch.setattr(quantize, "quantize_network", lambda *_: pytest.fail("quantised before --output was tried"))
    assert main(["quantize", "--weights", "random", "--output", "/proc/nope/int8.xml"]) == 1
    assert "/proc/nope: must be a folder that can be written to" in capsys.readouterr().err


def test_int8_needs_openvino() -> None:
    with pytest.raises(ValueError, match="needs the backend 'openvino'"):
        SuperPointExtractor.from_pretrained("random", device="cpu", backend="torch", precision="int8")

"""Exported ONNX files compute what the network computes, at every size they promise."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("onnxscript", reason="PyTorch exports with onnxscript: pip install onnxscript")
pytest.importorskip("onnx", reason="ONNX files are checked with onnx: pip install onnx")
pytest.importorskip("onnxruntime", reason="ONNX files are run with onnxruntime: pip install onnxruntime")

import onnx
import onnxruntime
import torch

from superpoint_ros.__main__ import main
from superpoint_ros.superpoint import DetectionOptions, SuperPointExtractor, load_checkpoint, onnx_export
from superpoint_ros.superpoint.decoding import score_map


def export(*arguments: object) -> int:
    return main(["export", *map(str, arguments)])


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "dynamic.onnx"
    assert export("--onnx", path, "--dynamic") == 0
    return path


def check_against_torch(path: Path, weights: str, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(3).random(shape, np.float32)
    scores, descriptors = onnxruntime.InferenceSession(path).run(["scores", "descriptors"], {"image": images})
    with torch.inference_mode():
        expected = load_checkpoint(weights).network()(torch.from_numpy(images))
    np.testing.assert_allclose(scores, score_map(expected.keypoint_logits), atol=1e-6)
    unit = torch.nn.functional.normalize(expected.descriptor_map, dim=1)
    np.testing.assert_allclose(descriptors, unit, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 1, 120, 160), (3, 1, 64, 40), (2, 1, 8, 104)])
def test_a_dynamic_file_takes_every_size(dynamic: Path, shape: tuple[int, ...]) -> None:
    check_against_torch(dynamic, "default", shape)


def test_a_fixed_file_takes_its_size(tmp_path: Path) -> None:
    path = tmp_path / "fixed.onnx"
    assert export("--onnx", path, "--weights", "random", "--height", 48, "--width", 72) == 0
    check_against_torch(path, "random", (1, 1, 48, 72))
    (image,) = onnxruntime.InferenceSession(path).get_inputs()
    assert image.shape == [1, 1, 48, 72]
    with pytest.raises(Exception, match="invalid dimensions"):
        onnxruntime.InferenceSession(path).run(None, {"image": np.zeros((1, 1, 64, 64), np.float32)})


def test_the_file_says_what_its_consumers_must_know(dynamic: Path) -> None:
    model = onnx.load(dynamic)
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    checkpoint = load_checkpoint("default")
    assert metadata["model"] == checkpoint.name
    assert metadata["descriptor_grid"] == checkpoint.config.descriptor_grid
    assert DetectionOptions(**json.loads(metadata["options"])) == DetectionOptions.from_config(checkpoint.config)
    assert str(Path(__file__).parents[2]).encode() not in dynamic.read_bytes(), "paths of the machine that exported it"


@pytest.mark.parametrize("border", [0, 4])
def test_the_decoding_of_the_document_finds_the_keypoints_of_the_library(
    border: int, dynamic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = (Path(__file__).parents[2] / "docs" / "onnx.md").read_text()
    (example,) = re.findall(r"^```python\n(.*?)^```", document, re.DOTALL | re.MULTILINE)
    noise = np.random.default_rng(5).integers(0, 256, (24, 30), np.uint8)
    image = cv2.resize(noise, (240, 192), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "image.png"), image)
    model = onnx.load(dynamic)
    (options,) = (entry for entry in model.metadata_props if entry.key == "options")
    options.value = json.dumps({**json.loads(options.value), "border": border})
    onnx.save(model, tmp_path / "superpoint.onnx")
    monkeypatch.chdir(tmp_path)
    found: dict[str, np.ndarray] = {}
    exec(example, found)
    extractor = SuperPointExtractor.from_pretrained(
        "default", device="cpu", backend="torch", precision="fp32", subpixel="none", max_keypoints=-1, border=border
    )
    expected = extractor(image)
    order = np.lexsort(expected.keypoints.T[::-1])
    assert len(order) > 20
    order_found = np.lexsort(found["keypoints"].T[::-1])
    np.testing.assert_array_equal(found["keypoints"][order_found], expected.keypoints[order])
    np.testing.assert_allclose(found["descriptors"][order_found], expected.descriptors[order], atol=1e-4)


def test_weights_become_a_folder(tmp_path: Path) -> None:
    assert export("--weights", "random", "--output", tmp_path / "weights", "--threshold", 0.25) == 0
    loaded, original = load_checkpoint(tmp_path / "weights"), load_checkpoint("random")
    assert loaded.config.keypoint_threshold == 0.25
    assert loaded.name.partition("@")[2] == original.name.partition("@")[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--height", "100"], "height and width must be multiples of 8, got 100 x 640"),
        (["--height", "0", "--width", "-8"], "must be multiples of 8"),
        (["--dynamic", "--width", "64"], "either --dynamic or"),
        (["--weights", "default", "--config", "run.yaml"], "either --weights or --config"),
        (["--config", "run.yaml"], "export the run to a folder first"),
        (["--weights", "absent.pth"], "absent.pth: no such file"),
        (["--onnx", "."], ".: is a folder; --onnx takes a file"),
    ],
)
def test_what_cannot_be_exported_is_refused(tmp_path: Path, capsys, arguments: list[str], message: str) -> None:
    assert export("--onnx", tmp_path / "out.onnx", *arguments) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_unusable_folder_is_named_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(onnx_export, "_export", lambda *_: pytest.fail("exported before --onnx was tried"))
    assert export("--onnx", "/proc/nope/out.onnx", "--weights", "random") == 1
    assert "/proc/nope: must be a folder that can be written to" in capsys.readouterr().err

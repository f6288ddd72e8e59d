"""The examples of docs/transformers.md run as they are printed, one after the other."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("matplotlib").use("Agg")

DOCUMENT = Path(__file__).parents[2] / "docs" / "transformers.md"


def test_the_examples_run_and_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, (name, size) in enumerate({"first.jpg": (96, 128), "second.jpg": (120, 100)}.items()):
        texture = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
        cv2.imwrite(str(tmp_path / name), cv2.resize(texture, size[::-1], interpolation=cv2.INTER_NEAREST))
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    names: dict[str, object] = {}
    for example in examples[:2]:
        exec(example, names)
    outputs, processed, inputs = names["outputs"], names["features"], names["inputs"]
    assert inputs.to(torch.float64) is inputs and inputs.pixel_values.dtype == torch.float64
    assert outputs.keypoints.shape[:2] == outputs.mask.shape and outputs.descriptors.shape[2] == 256
    assert outputs[0] is outputs["keypoints"] is outputs.to_tuple()[0]
    assert "mask" in outputs and "loss" not in outputs and "to_tuple" not in outputs
    assert [len(one["scores"]) for one in processed] == outputs.mask.sum(dim=1).tolist()
    assert min(len(one["scores"]) for one in processed) > 0
    assert (tmp_path / "output_image.png").is_file()
    for example in examples[2:]:
        exec(example, names)
    assert names["configuration"].descriptor_decoder_dim == 128
    assert inputs.to(names["model"].device) is inputs
    assert [one.image_size for one in names["features"]] == [(128, 96), (100, 120)]
    images = [np.asarray(image) for image in names["images"]]
    found = names["same_as_transformers"](images)
    assert all((one.keypoints == np.floor(one.keypoints)).all() for one in found)
    assert [len(one) for one in found] == [len(one["scores"]) for one in by_transformers(images)]


def by_transformers(images: list[np.ndarray]) -> list[dict[str, torch.Tensor]]:
    from superpoint_ros.superpoint import SuperPointForKeypointDetection, SuperPointImageProcessor

    processor = SuperPointImageProcessor.from_pretrained("default", "transformers")
    model = SuperPointForKeypointDetection.from_pretrained("default", "transformers")
    outputs = model(**processor(images, return_tensors="pt"))
    return processor.post_process_keypoint_detection(outputs, [image.shape[:2] for image in images])

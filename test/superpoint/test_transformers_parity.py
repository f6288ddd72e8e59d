"""Same numbers as transformers, over drawn images, weights and options."""

import random
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch

from superpoint_ros.superpoint import (
    PreprocessorConfig,
    SuperPointConfig,
    SuperPointExtractor,
    SuperPointForKeypointDetection,
    SuperPointImageProcessor,
    SuperPointImageProcessorFast,
    SuperPointOutput,
)
from superpoint_ros.superpoint.checkpoints import BUNDLED_WEIGHTS, random_checkpoint, save_pretrained

transformers = pytest.importorskip("transformers")
from transformers.models.superpoint.image_processing_superpoint import (  # noqa: E402
    SuperPointImageProcessor as TheirProcessor,
)

CASES = 220
TIE = 1e-6


@dataclass(frozen=True)
class Case:
    seed: int
    height: int
    width: int
    batch: int
    config: SuperPointConfig


def draw_case(seed: int) -> Case:
    """Draw sizes, weights and options; wide networks only on small images, to keep the time bounded."""
    rng = random.Random(seed)
    largest = rng.choice([160, 160, 320, 720])
    wide = largest == 160 and rng.random() < 0.5
    config = SuperPointConfig(
        encoder_hidden_sizes=(64, 64, 128, 128) if wide else tuple(rng.choice([4, 8, 12, 24]) for _ in range(4)),
        decoder_hidden_size=256 if wide else rng.choice([16, 40]),
        descriptor_decoder_dim=256 if wide else rng.choice([8, 32, 64]),
        keypoint_threshold=rng.choice([0.0, 0.005, 0.015, 0.03, 0.1, 0.5, 0.99]),
        max_keypoints=rng.choice([-1, 0, 1, 50, 1000]),
        nms_radius=rng.randint(1, 8),
        border_removal_distance=rng.randint(0, 8),
        descriptor_grid=rng.choice(["magicleap", "cell_centers"]),  # transformers knows neither of these two
        subpixel=rng.choice(["none", "soft_argmax"]),
    )
    height, width = rng.randint(64, largest), rng.randint(64, largest)
    return Case(seed, height, width, rng.randint(1, 2 if largest == 720 else 4), config)


def their_model(config: SuperPointConfig, state: dict[str, torch.Tensor]):
    options = {
        name: getattr(config, name) for name in transformers.SuperPointConfig().to_dict() if hasattr(config, name)
    }
    options["encoder_hidden_sizes"] = list(config.encoder_hidden_sizes)
    model = transformers.SuperPointForKeypointDetection(transformers.SuperPointConfig(**options)).eval()
    model.load_state_dict(state)
    return model


def assert_same_keypoints(ours: SuperPointOutput, theirs, size: tuple[int, int]) -> None:
    """Compare padded outputs; keypoints may change places only where their scores tie."""
    assert ours.keypoints.shape == theirs.keypoints.shape
    assert ours.mask.dtype == theirs.mask.dtype
    assert torch.equal(ours.mask, theirs.mask)
    torch.testing.assert_close(ours.scores, theirs.scores, atol=1e-5, rtol=0)
    height, width = size
    for index, count in enumerate(ours.mask.sum(1).tolist()):
        points = [
            (output.keypoints[index, :count] * torch.tensor([width, height])).round() for output in (ours, theirs)
        ]
        our_order, their_order = ((xy[:, 1] * width + xy[:, 0]).argsort() for xy in points)
        assert torch.equal(points[0][our_order], points[1][their_order])
        scores = ours.scores[index]
        assert (scores[our_order] - scores[their_order]).abs().lt(TIE).all(), "order differs where scores do not tie"
        torch.testing.assert_close(
            ours.descriptors[index][our_order], theirs.descriptors[index][their_order], atol=1e-4, rtol=0
        )


@pytest.mark.parametrize("case", [draw_case(seed) for seed in range(CASES)], ids=lambda case: str(case.seed))
@torch.inference_mode()
def test_model_agrees(case: Case) -> None:
    state = random_checkpoint(case.config, case.seed).state
    ours = SuperPointForKeypointDetection(case.config, compatibility="transformers").eval()
    ours.load_state_dict(state)
    theirs = their_model(case.config, state)
    images = torch.rand(case.batch, 1, case.height, case.width, generator=torch.Generator().manual_seed(case.seed))
    pixel_values = images.expand(-1, 3, -1, -1)

    our_output = ours(pixel_values, output_hidden_states=True)
    their_output = theirs(pixel_values, output_hidden_states=True)

    assert_same_keypoints(our_output, their_output, (case.height, case.width))
    assert len(our_output.hidden_states) == len(their_output.hidden_states)
    for our_state, their_state in zip(our_output.hidden_states, their_output.hidden_states):
        torch.testing.assert_close(our_state, their_state, atol=1e-5, rtol=1e-5)

    sizes = [(case.height * 2 + index, case.width + index) for index in range(case.batch)]
    our_results = SuperPointImageProcessor(compatibility="transformers").post_process_keypoint_detection(
        our_output, sizes
    )
    their_results = TheirProcessor().post_process_keypoint_detection(their_output, sizes)
    for our_result, their_result in zip(our_results, their_results):
        assert our_result["keypoints"].dtype == their_result["keypoints"].dtype
        assert sorted(our_result["keypoints"].tolist()) == sorted(their_result["keypoints"].tolist())
        torch.testing.assert_close(our_result["scores"], their_result["scores"], atol=1e-5, rtol=0)


def test_drawn_weights_give_score_maps_that_are_not_flat() -> None:
    config = draw_case(0).config
    model = SuperPointForKeypointDetection(config).eval()
    model.load_state_dict(random_checkpoint(config, 0).state)
    model.options = model.options.__class__(threshold=0.0, max_keypoints=-1)
    scores = model(torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))).scores
    assert scores.max() > 3 / 65 > 1 / 130 > scores.min()


@torch.inference_mode()
def test_tuple_output_agrees() -> None:
    config = SuperPointConfig((4, 4, 4, 4), 8, descriptor_decoder_dim=8, keypoint_threshold=0.02)
    state = random_checkpoint(config, 1).state
    ours = SuperPointForKeypointDetection(config, compatibility="transformers").eval()
    ours.load_state_dict(state)
    pixel_values = torch.rand(2, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    our_tuple, their_tuple = (
        ours(pixel_values, return_dict=False),
        their_model(config, state)(pixel_values, return_dict=False),
    )
    assert len(our_tuple) == len(their_tuple)
    for our_value, their_value in zip(our_tuple, their_tuple):
        torch.testing.assert_close(our_value, their_value, atol=1e-4, rtol=0)


def draw_image(seed: int, shape: tuple[int, ...], fractions: bool) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random(shape, np.float32) if fractions else rng.integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("do_resize", [True, False])
@pytest.mark.parametrize("do_rescale", [True, False])
@pytest.mark.parametrize("do_grayscale", [True, False])
@pytest.mark.parametrize("fractions", [True, False])
@pytest.mark.parametrize(
    ("shape", "layout"), [((97, 131, 3), None), ((3, 64, 90), "channels_first"), ((75, 64, 1), "channels_last")]
)
@pytest.mark.parametrize("resample", [0, 2, 3])
def test_processor_gives_the_same_pixels(
    do_resize, do_rescale, do_grayscale, fractions, shape, layout, resample
) -> None:
    options = {
        "do_resize": do_resize,
        "do_rescale": do_rescale,
        "do_grayscale": do_grayscale,
        "size": {"height": 120, "width": 161},
        "resample": resample,
    }
    image = draw_image(resample, shape, fractions)
    ours = SuperPointImageProcessor(**options).preprocess([image, image[::-1]], "np", input_data_format=layout)
    theirs = TheirProcessor(**options).preprocess([image, image[::-1]], return_tensors="np", input_data_format=layout)
    assert ours["pixel_values"].dtype == theirs["pixel_values"].dtype
    np.testing.assert_array_equal(ours["pixel_values"], theirs["pixel_values"])


@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
def test_processor_lays_out_pixels_the_same_way(data_format) -> None:
    image = draw_image(0, (50, 60, 3), fractions=False)
    ours = SuperPointImageProcessor().preprocess(image, data_format=data_format)["pixel_values"]
    theirs = TheirProcessor().preprocess(image, data_format=data_format)["pixel_values"]
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("shape", [(50, 60, 3), (3, 50, 60), (1, 50, 60)])
@pytest.mark.parametrize("data_format", [None, "channels_first", "channels_last"])
def test_resize_agrees(shape, data_format) -> None:
    image = draw_image(1, shape, fractions=False)
    size = {"height": 32, "width": 40}
    ours = SuperPointImageProcessor().resize(image, size, data_format)
    np.testing.assert_array_equal(ours, TheirProcessor().resize(image, size, data_format))


@pytest.mark.parametrize("do_grayscale", [True, False])
@pytest.mark.parametrize("shape", [(97, 131, 3), (200, 300, 3)])
def test_fast_processor_is_close_to_the_exact_one(do_grayscale, shape) -> None:
    """Both resize with the same filter, in another order and with other rounding."""
    image = cv2.GaussianBlur(draw_image(3, shape, fractions=False), (0, 0), 3)
    fast = SuperPointImageProcessorFast(do_grayscale=do_grayscale).preprocess(image, "np")["pixel_values"]
    exact = TheirProcessor(do_grayscale=do_grayscale).preprocess(image, return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(fast, exact, atol=3 / 255)


@pytest.mark.parametrize("do_grayscale", [True, False])
def test_fast_processor_agrees(do_grayscale) -> None:
    pytest.importorskip("torchvision")
    from transformers.models.superpoint.image_processing_superpoint_fast import (
        SuperPointImageProcessorFast as TheirFastProcessor,
    )

    image = draw_image(3, (97, 131, 3), fractions=False)
    ours = SuperPointImageProcessorFast(do_grayscale=do_grayscale).preprocess(image, "pt")["pixel_values"]
    theirs = TheirFastProcessor(do_grayscale=do_grayscale).preprocess(image, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", [(100, 140, 3), (333, 217, 3)])
def test_extractor_reproduces_the_whole_chain(tmp_path, shape) -> None:
    checkpoint = random_checkpoint(SuperPointConfig((8, 8, 8, 8), 16, descriptor_decoder_dim=16, max_keypoints=40))
    save_pretrained(tmp_path, checkpoint)
    image = draw_image(1, shape, fractions=False)
    processor = TheirProcessor.from_pretrained(tmp_path)
    model = transformers.SuperPointForKeypointDetection.from_pretrained(tmp_path)
    with torch.no_grad():
        outputs = model(**processor(image, return_tensors="pt"))
    expected = processor.post_process_keypoint_detection(outputs, [shape[:2]])[0]

    extractor = SuperPointExtractor.from_pretrained(tmp_path, device="cpu", compatibility="transformers")
    features = extractor(image)

    np.testing.assert_array_equal(features.keypoints, expected["keypoints"].numpy())
    np.testing.assert_allclose(features.scores, expected["scores"].numpy(), atol=1e-5)
    np.testing.assert_allclose(features.descriptors, expected["descriptors"].numpy(), atol=1e-4)


@pytest.mark.parametrize("weights", BUNDLED_WEIGHTS)
def test_bundled_weights_give_the_same_keypoints_in_both_libraries(weights) -> None:
    """Their configuration has fields that transformers does not know."""
    image = cv2.GaussianBlur(draw_image(5, (240, 320, 3), fractions=False), (0, 0), 2)
    processor = TheirProcessor.from_pretrained(BUNDLED_WEIGHTS[weights])
    model = transformers.SuperPointForKeypointDetection.from_pretrained(BUNDLED_WEIGHTS[weights])
    with torch.no_grad():
        outputs = model(**processor(image, return_tensors="pt"))
    expected = processor.post_process_keypoint_detection(outputs, [image.shape[:2]])[0]
    features = SuperPointExtractor.from_pretrained(weights, device="cpu", compatibility="transformers")(image)
    assert len(features) > 50
    np.testing.assert_array_equal(features.keypoints, expected["keypoints"].numpy())
    np.testing.assert_allclose(features.scores, expected["scores"].numpy(), atol=1e-5)
    np.testing.assert_allclose(features.descriptors, expected["descriptors"].numpy(), atol=1e-4)


def test_saved_folder_loads_in_transformers_without_a_missing_key(tmp_path) -> None:
    checkpoint = random_checkpoint(SuperPointConfig((4, 8, 4, 8), 16, descriptor_decoder_dim=16, nms_radius=3))
    save_pretrained(tmp_path, checkpoint)
    model, info = transformers.SuperPointForKeypointDetection.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert model.config.nms_radius == 3
    assert TheirProcessor.from_pretrained(tmp_path).size == {"height": 480, "width": 640}


def test_folder_saved_by_transformers_loads_here(tmp_path) -> None:
    config = transformers.SuperPointConfig(encoder_hidden_sizes=[4, 8, 4, 8], decoder_hidden_size=16, nms_radius=2)
    transformers.SuperPointForKeypointDetection(config).save_pretrained(tmp_path)
    TheirProcessor(do_grayscale=True, size={"height": 240, "width": 320}).save_pretrained(tmp_path)
    model = SuperPointForKeypointDetection.from_pretrained(tmp_path)
    assert model.config.nms_radius == 2
    assert model.config.descriptor_grid == "magicleap"
    processor = SuperPointImageProcessor.from_pretrained(tmp_path)
    assert processor.config == PreprocessorConfig(do_grayscale=True, size=(240, 320))

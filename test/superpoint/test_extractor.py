"""The extractor takes any image and says what it does not take."""

import time
import warnings
from typing import Any
from unittest import mock

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from superpoint_ros.superpoint import (
    DetectionOptions,
    DeviceError,
    Features,
    SuperPointConfig,
    SuperPointExtractor,
    SuperPointForKeypointDetection,
    openvino_backend,
)
from superpoint_ros.superpoint.checkpoints import Checkpoint, load_checkpoint, random_checkpoint

SMALL = SuperPointConfig((4, 4, 8, 8), 16, descriptor_decoder_dim=16, descriptor_grid="cell_centers")


@pytest.fixture(scope="module")
def extractor() -> SuperPointExtractor:
    options = DetectionOptions(threshold=0.016, max_keypoints=200)
    return SuperPointExtractor(random_checkpoint(SMALL), device="cpu", backend="torch", options=options)


def picture(height: int = 67, width: int = 93, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def assert_same(left: Features, right: Features, tolerance: float = 1e-5) -> None:
    assert left.image_size == right.image_size
    np.testing.assert_allclose(left.keypoints, right.keypoints, atol=tolerance)
    np.testing.assert_allclose(left.scores, right.scores, atol=tolerance)
    np.testing.assert_allclose(left.descriptors, right.descriptors, atol=10 * tolerance)


def assert_most_in_common(left: Features, right: Features) -> None:
    common = {tuple(point) for point in left.keypoints} & {tuple(point) for point in right.keypoints}
    assert len(common) > 0.8 * max(len(left), len(right))


def extractor_or_skip(checkpoint: Checkpoint, backend: str, precision: str, **arguments: Any) -> SuperPointExtractor:
    """Skip where OpenVINO is not installed, or the CPU has no arithmetic of that precision."""
    pytest.importorskip(backend)
    try:
        return SuperPointExtractor(checkpoint, "cpu", backend, precision, **arguments)
    except ValueError as error:
        if precision == "bf16" and "not to be had" in str(error):
            pytest.skip(str(error))
        raise


GRAY = picture()
RGB = np.repeat(GRAY[:, :, None], 3, axis=2)


@pytest.mark.parametrize(
    "image",
    [
        GRAY[:, :, None],
        GRAY[None],
        RGB,
        RGB.transpose(2, 0, 1),
        RGB[::-1].copy()[::-1],
        GRAY.astype(np.float32) / 255,
        GRAY.astype(np.float64) / 255,
        torch.from_numpy(GRAY),
        torch.from_numpy(RGB),
        torch.from_numpy(GRAY)[None].double() / 255,
        torch.from_numpy(RGB).permute(2, 0, 1).float() / 255,
        *(PIL.Image.fromarray(GRAY).convert(mode) for mode in ("L", "RGB", "RGBA", "P")),
    ],
    ids=lambda image: f"{type(image).__name__} {getattr(image, 'mode', '') or f'{image.dtype} {tuple(image.shape)}'}",
)
def test_every_form_of_an_image_gives_the_same_features(extractor, image) -> None:
    assert_same(extractor(image), extractor(GRAY))


def test_read_only_images_cause_no_warning(extractor) -> None:
    """As bags and Pillow give them; PyTorch warns once a process unless told otherwise."""
    image = GRAY.copy()
    image.flags.writeable = False
    torch.set_warn_always(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert_same(extractor(image), extractor(GRAY))
    finally:
        torch.set_warn_always(False)


def test_features_are_as_documented(extractor) -> None:
    features = extractor(GRAY)
    assert 10 < len(features) <= 200
    assert features.image_size == (93, 67)
    assert repr(features) == f"Features({len(features)} keypoints, 16 numbers per descriptor, image 93 x 67)"
    for values, shape in (
        (features.keypoints, (len(features), 2)),
        (features.scores, (len(features),)),
        (features.descriptors, (len(features), 16)),
    ):
        assert values.dtype == np.float32
        assert values.shape == shape
    assert (np.diff(features.scores) <= 0).all()
    np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1, atol=1e-5)
    assert features.keypoints.min() >= 4
    assert (features.keypoints <= [93 - 5, 67 - 5]).all()


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.sampled_from([(40, 56), (67, 93), (8, 8), (33, 64)]), max_size=6), gray=st.booleans())
def test_many_images_of_different_sizes_come_back_in_order(extractor, sizes, gray) -> None:
    images = [picture(*size, seed=index) for index, size in enumerate(sizes)]
    together = extractor(images if gray else [np.stack([image] * 3, axis=2) for image in images])
    assert len(together) == len(images)
    for features, image in zip(together, images):
        assert_same(features, extractor(image))


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (8, 8), (9, 15), (65, 64)])
def test_small_and_odd_sizes_work(extractor, size) -> None:
    assert extractor(picture(*size)).image_size == size[::-1]


@pytest.mark.parametrize("resize", [0, 40, 300])
@pytest.mark.parametrize("subpixel", ["none", "quadratic", "soft_argmax"])
def test_keypoints_never_leave_the_image(extractor, resize, subpixel) -> None:
    before = extractor.options
    try:
        extractor.options = DetectionOptions(
            0.0, nms_radius=1, max_keypoints=-1, border=0, resize=resize, subpixel=subpixel
        )
        keypoints = extractor(GRAY).keypoints
    finally:
        extractor.options = before
    assert len(keypoints) > 100
    assert keypoints.min() >= 0
    assert (keypoints <= [93 - 1, 67 - 1]).all()


def test_options_change_between_two_calls(extractor) -> None:
    before = extractor.options
    try:
        extractor.options = DetectionOptions(threshold=0.016, max_keypoints=7, border=20)
        features = extractor(GRAY)
    finally:
        extractor.options = before
    assert len(features) == 7
    assert features.keypoints.min() >= 20


@pytest.mark.parametrize("longer_side", [48, 186])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_resize_keeps_keypoints_in_pixels_of_the_given_image(extractor, longer_side, as_tensor) -> None:
    """A single dark dot is found where it is, whatever the size it is looked for at."""
    image = np.full((64, 96), 255, np.uint8)
    image[28:36, 44:52] = 0
    before = extractor.options
    try:
        extractor.options = DetectionOptions(threshold=0.0, max_keypoints=-1, resize=longer_side)
        features = extractor(torch.from_numpy(image) if as_tensor else image)
    finally:
        extractor.options = before
    scale = longer_side / 96
    size = np.array([96, 64])
    assert features.image_size == (96, 64)
    assert (features.keypoints >= -0.5).all()
    assert (features.keypoints <= size - 0.5).all()
    on_grid = (features.keypoints + 0.5) * scale - 0.5
    np.testing.assert_allclose(on_grid, on_grid.round(), atol=1e-3)


@pytest.mark.parametrize(
    ("backend", "max_batch_size", "expected_batches"),
    [
        ("torch", 0, [3, 1]),
        ("torch", 2, [2, 1, 1]),
        ("openvino", 0, [1, 1, 1, 1]),
        ("openvino", 2, [2, 1, 1]),
        ("openvino", 8, [3, 1]),
    ],
)
def test_images_of_equal_size_run_in_batches(backend, max_batch_size, expected_batches, monkeypatch) -> None:
    pytest.importorskip(backend)
    options = DetectionOptions(threshold=0.016)
    extractor = SuperPointExtractor(
        random_checkpoint(SMALL), "cpu", backend, "fp32", options, max_batch_size=max_batch_size
    )
    images = [GRAY, picture(40, 56), picture(seed=1), RGB]
    alone = [extractor(image) for image in images]
    network, batches = extractor._network, []
    monkeypatch.setattr(extractor, "_network", lambda batch: batches.append(len(batch)) or network(batch))
    for features, expected in zip(extractor(images), alone):
        assert_same(features, expected)
    assert batches == expected_batches


@pytest.mark.parametrize(("backend", "precision"), [("torch", "bf16"), ("openvino", "bf16"), ("openvino", "int8")])
def test_batches_find_the_same_keypoints_in_any_precision(backend, precision) -> None:
    extractor = extractor_or_skip(load_checkpoint("small"), backend, precision, max_batch_size=4)
    images = [picture(15, 20, seed).repeat(8, axis=0).repeat(8, axis=1) for seed in range(3)]  # squares with corners
    for features, image in zip(extractor(images), images):
        alone = extractor(image)
        assert len(alone) > 50
        assert_most_in_common(features, alone)


@pytest.fixture
def compiled(request, monkeypatch) -> tuple[SuperPointExtractor, list[str]]:
    """An extractor on OpenVINO, with batches of as many images as the parameter says, and the shapes it compiles."""
    pytest.importorskip("openvino")
    size = getattr(request, "param", 0)
    extractor = SuperPointExtractor(random_checkpoint(SMALL), "cpu", "openvino", "fp32", max_batch_size=size)
    core, shapes = extractor._network._core, []

    def compile_model(model, *rest):
        shapes.append(str(model.input().shape))
        return core.compile_model(model, *rest)

    monkeypatch.setattr(extractor._network, "_core", mock.Mock(compile_model=compile_model))
    return extractor, shapes


def test_openvino_compiles_once_for_each_of_the_last_eight_sizes_however_many_images(compiled) -> None:
    extractor, shapes = compiled
    heights = range(40, 104, 8)
    for count in (1, 4, 3):
        for height in heights:
            extractor([picture(height, 56)] * count)
    assert shapes == [f"[1,1,{height},56]" for height in heights]
    extractor([picture(104, 56), picture(64, 56), picture(40, 56)])
    assert shapes[8:] == ["[1,1,104,56]", "[1,1,40,56]"]


def test_openvino_keeps_no_more_pixels_compiled_than_it_may_unless_one_image_has_more(compiled, monkeypatch) -> None:
    monkeypatch.setattr(openvino_backend, "_KEPT_PIXELS", 3 * 48 * 56)
    extractor, shapes = compiled
    for heights, newly_compiled in (
        ((40, 48, 56, 40, 48, 56), [40, 48, 56]),
        ((64, 56, 64, 40), [64, 40]),  # 64 takes the place of 40 and 48, then 40 that of 56
        ((200, 200, 40, 200), [200, 40, 200]),  # none beside 200
    ):
        del shapes[:]
        for height in heights:
            extractor(picture(height, 56))
        assert shapes == [f"[1,1,{height},56]" for height in newly_compiled]


@pytest.mark.parametrize("compiled", [4], indirect=True)
def test_openvino_compiles_each_number_of_images_and_keeps_no_more_pixels_than_it_may(compiled, monkeypatch) -> None:
    monkeypatch.setattr(openvino_backend, "_KEPT_PIXELS", 6 * 40 * 56)
    extractor, shapes = compiled
    for counts, newly_compiled in (
        ((1, 2, 3, 1, 2, 3), [1, 2, 3]),
        ((4, 2), [4, 2]),  # 4 takes the place of all three, and leaves room for 2
        ((5, 2), [1, 2]),  # 5 is 4 and 1, which takes the place of 2, and 2 that of 4
        ((1, 2, 4), [4]),
    ):
        del shapes[:]
        for count in counts:
            extractor([picture(40, 56)] * count)
        assert shapes == [f"[{count},1,40,56]" for count in newly_compiled]


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    resize=st.sampled_from([0, 48, 200]),
    subpixel=st.sampled_from(["none", "quadratic", "soft_argmax"]),
    limit=st.sampled_from([-1, 30]),
)
def test_a_mask_keeps_the_best_of_the_keypoints_that_it_allows(extractor, seed, resize, subpixel, limit) -> None:
    mask = np.zeros(GRAY.shape, np.uint8)
    random = np.random.default_rng(seed)
    for _ in range(3):
        top, left = random.integers(0, 60), random.integers(0, 80)
        mask[top : top + random.integers(1, 30), left : left + random.integers(1, 30)] = random.integers(1, 256)
    before = extractor.options
    try:
        extractor.options = DetectionOptions(0.016, 2, -1, 4, resize, subpixel)
        everywhere = extractor(GRAY)
        extractor.options = DetectionOptions(0.016, 2, limit, 4, resize, subpixel)
        found = extractor(GRAY, mask)
    finally:
        extractor.options = before
    column, row = everywhere.keypoints.round().astype(int).T
    allowed = np.flatnonzero(mask[row, column])[: limit if limit >= 0 else None]
    np.testing.assert_array_equal(found.keypoints, everywhere.keypoints[allowed])
    np.testing.assert_allclose(found.descriptors, everywhere.descriptors[allowed], atol=1e-6)


def test_each_image_of_a_batch_has_its_own_mask_or_none(extractor) -> None:
    left, nothing = np.zeros(GRAY.shape, bool), np.zeros((40, 56), np.uint8)
    left[:, :40] = True
    images = [GRAY, picture(40, 56), GRAY, GRAY[:, :, None]]
    found = extractor(images, [left, nothing, None, torch.from_numpy(left)])
    assert_same(found[0], extractor(GRAY, left))
    assert 0 < len(found[0]) < len(found[2])
    assert found[0].keypoints[:, 0].max() < 39.5
    assert len(found[1]) == 0
    assert_same(found[2], extractor(GRAY))
    assert_same(found[3], found[0])


@pytest.mark.parametrize(
    ("images", "masks", "error", "message"),
    [
        (GRAY, "mask.png", TypeError, "NumPy array, a torch tensor or None, got str"),
        (GRAY, np.ones(GRAY.shape), ValueError, "uint8 or bool, got float64"),
        (GRAY, np.ones((67, 92), bool), ValueError, r"\(67, 93\), got \(67, 92\)"),
        (GRAY, np.ones((67, 93, 3), np.uint8), ValueError, r"\(67, 93, 3\)"),
        ([GRAY, GRAY], np.ones((67, 93), bool), TypeError, "sequence too, got ndarray"),
        ([GRAY, GRAY], [None], ValueError, "got 1 for 2 images"),
    ],
)
def test_a_bad_mask_is_named(extractor, images, masks, error, message) -> None:
    with pytest.raises(error, match=message):
        extractor(images, masks)


def test_transformers_knows_no_masks() -> None:
    extractor = SuperPointExtractor(random_checkpoint(SMALL), "cpu", compatibility="transformers")
    with pytest.raises(ValueError, match="masks"):
        extractor(GRAY, np.ones(GRAY.shape, bool))


def test_like_transformers_a_full_gpu_is_told_from_a_lost_one(monkeypatch) -> None:
    extractor = SuperPointExtractor(random_checkpoint(SMALL), "cpu", compatibility="transformers")
    errors = [torch.cuda.OutOfMemoryError("Tried to allocate 20.00 MiB."), RuntimeError("CUDA error: launch failure")]

    def fail(self: SuperPointForKeypointDetection, pixel_values: torch.Tensor) -> None:
        raise errors.pop(0)

    monkeypatch.setattr(SuperPointForKeypointDetection, "forward", fail)
    with pytest.raises(MemoryError, match="too little free memory"):
        extractor(GRAY)
    with pytest.raises(DeviceError, match="launch failure"):
        extractor(GRAY)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (3, TypeError, "got int"),
        ("picture.png", TypeError, "NumPy array or a torch tensor, got str"),
        (np.zeros((5, 5, 4), np.uint8), ValueError, r"\(5, 5, 4\)"),
        (np.zeros((0, 5), np.uint8), ValueError, "at least one pixel"),
        (np.zeros(5, np.uint8), ValueError, r"\(5,\)"),
        (np.zeros((5, 5), np.uint16), ValueError, "uint8 or float, got uint16"),
        (np.full((9, 9), 128.0), ValueError, r"\[0, 1\], got \[128, 128\]"),
        (np.full((9, 9), np.nan, np.float32), ValueError, "nan"),
        (torch.zeros(2, 3, 5, 5), ValueError, r"\(2, 3, 5, 5\)"),
    ],
)
def test_a_bad_image_is_named(extractor, image, error, message) -> None:
    with pytest.raises(error, match=message):
        extractor([GRAY, image])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.0}, "threshold"),
        ({"threshold": -0.1}, "threshold"),
        ({"nms_radius": -1}, "nms_radius"),
        ({"nms_radius": 2.5}, "nms_radius"),
        ({"nms_radius": 2**31}, "nms_radius"),
        ({"resize": 2**31}, "resize"),
        ({"border": 10**21}, "border"),
        ({"max_keypoints": 2**63}, "max_keypoints"),
        ({"max_keypoints": -2}, "max_keypoints"),
        ({"border": "4"}, "border"),
        ({"resize": 7}, "resize"),
        ({"subpixel": "cubic"}, "subpixel"),
        ({"device": "gpu"}, "device"),
        ({"device": "cuda:99"}, "cuda:99"),
        ({"precision": "fp8"}, "precision"),
        ({"precision": "fp16", "device": "cpu"}, "fp16"),
        ({"backend": "caffe"}, "backend"),
        ({"compatibility": "keras"}, "compatibility"),
        ({"threads": -1}, "threads"),
        ({"threads": 1.5}, "threads"),
        ({"max_batch_size": -1}, "max_batch_size"),
    ],
)
def test_a_bad_option_is_named(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        SuperPointExtractor.from_pretrained("random", **options)


@pytest.mark.parametrize("backend", ["torch", "openvino"])
def test_threads_change_nothing_but_the_threads(backend) -> None:
    pytest.importorskip(backend)
    default = SuperPointExtractor.from_pretrained("random", device="cpu", backend=backend, precision="fp32")
    before = torch.get_num_threads()
    single = SuperPointExtractor.from_pretrained("random", device="cpu", backend=backend, precision="fp32", threads=1)
    assert (default.threads, single.threads) == (before, 1)
    assert_same(single(GRAY), default(GRAY))
    assert torch.get_num_threads() == before


def test_stages_of_the_last_call_are_timed(extractor) -> None:
    started = time.perf_counter()
    extractor([GRAY, picture(40, 56)])
    elapsed = time.perf_counter() - started
    assert set(extractor.last_timings) == {"preprocessing", "network", "decoding"}
    assert all(seconds > 0 for seconds in extractor.last_timings.values())
    assert sum(extractor.last_timings.values()) <= elapsed


@pytest.mark.parametrize(("backend", "precision"), [("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16")])
def test_backends_agree_with_torch_in_fp32(backend, precision) -> None:
    pytest.importorskip(backend)
    checkpoint = random_checkpoint(SMALL)
    options = DetectionOptions(threshold=0.016, max_keypoints=200)
    images = [GRAY, picture(seed=1), picture(40, 56)]
    exact = SuperPointExtractor(checkpoint, "cpu", "torch", "fp32", options)(images)
    extractor = extractor_or_skip(checkpoint, backend, precision, options=options)
    assert (extractor.backend, extractor.precision) == (backend, precision)
    for ours, theirs in zip(extractor(images), exact):
        if precision == "fp32":
            assert_same(ours, theirs)
        else:
            assert_most_in_common(ours, theirs)

"""Relative pose on a real stereo pair, and the pair list's format."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpoint_ros.evaluation import rendered_pairs
from superpoint_ros.evaluation.datasets import DatasetError
from superpoint_ros.evaluation.detectors import OpenCVDetector, classical_detector, installed_detectors
from superpoint_ros.evaluation.pose_benchmark import (
    PoseProtocol,
    PoseResult,
    measure_pair,
    read_pairs,
    run_pose_benchmark,
    summarize,
    turn_back,
)
from superpoint_ros.evaluation.rendered_pairs import write_rendered_pairs
from superpoint_ros.geometry import rotation_error

skimage = pytest.importorskip("skimage", reason="scikit-image brings the stereo pair")

# "Motorcycle" of Middlebury 2014, a quarter of its size: calibration as published, divided by four.
LEFT = "994.978 0 311.193 0 994.978 254.877 0 0 1"
RIGHT = "994.978 0 342.279 0 994.978 254.877 0 0 1"
BASELINE = "1 0 0 -0.193 0 1 0 0 0 0 1 0 0 0 0 1"
LINE = f"left.png right.png 0 0 {LEFT} {RIGHT} {BASELINE}"
EVERY = [classical_detector(key) for key in installed_detectors()]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """The stereo pair as stored, and the right image as a camera lying on its side stores it."""
    for side in ("left", "right"):
        image = cv2.imread(str(Path(skimage.__file__).parent / "data" / f"motorcycle_{side}.png"))
        cv2.imwrite(str(tmp_path / f"{side}.png"), image)
        if side == "right":
            cv2.imwrite(str(tmp_path / "turned.png"), cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE))
    return tmp_path


def pair_list(folder: Path, *lines: str) -> Path:
    path = folder / "pairs.txt"
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("detector", EVERY, ids=lambda detector: detector.name)
@pytest.mark.parametrize("resize", [0, 640])
def test_a_real_stereo_pair(images: Path, detector: OpenCVDetector, resize: int) -> None:
    (pair,) = read_pairs(pair_list(images, LINE), images)
    result = measure_pair(detector, pair, PoseProtocol(resize=resize))
    assert result.rotation_error < 1
    assert result.translation_error < 3
    assert result.inliers > 100


def test_a_turned_image_is_detected_upright(images: Path) -> None:
    # Clockwise, (x, y) of the 741 x 497 image becomes (496 - y, x): so do the intrinsics and the camera's axes.
    turned_intrinsics = f"994.978 0 {496 - 254.877} 0 994.978 342.279 0 0 1"
    turned_pose = "0 -1 0 0 1 0 0 -0.193 0 0 1 0 0 0 0 1"
    upright, turned = read_pairs(
        pair_list(images, LINE, f"left.png turned.png 0 1 {LEFT} {turned_intrinsics} {turned_pose}"), images
    )
    sift = classical_detector("sift")
    expected, result = measure_pair(sift, upright, PoseProtocol()), measure_pair(sift, turned, PoseProtocol())
    assert (result.matches, result.keypoints) == (expected.matches, expected.keypoints)
    assert result.rotation_error < 1
    assert result.translation_error < 3


def test_translation_may_have_either_sign(images: Path) -> None:
    flipped = LINE.replace("-0.193", "0.193")
    (pair,) = read_pairs(pair_list(images, flipped), images)
    assert measure_pair(classical_detector("sift"), pair, PoseProtocol()).translation_error < 3


@given(turns=st.integers(0, 3), height=st.integers(1, 20), width=st.integers(1, 20), data=st.data())
def test_turning_back_finds_the_pixel(turns: int, height: int, width: int, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    image = np.zeros((height, width))
    image[y, x] = 1
    row, column = np.argwhere(np.rot90(image, turns))[0]
    assert turn_back(np.array([[column, row]], np.float32), turns, (height, width)).tolist() == [[x, y]]


def test_an_image_without_keypoints_has_no_pose(images: Path) -> None:
    cv2.imwrite(str(images / "right.png"), np.zeros((497, 741), np.uint8))
    results = run_pose_benchmark(read_pairs(pair_list(images, LINE), images), EVERY, PoseProtocol())
    assert all(np.isinf(result.error) and result.matches == result.inliers == 0 for result in results)
    assert all(summary.failures == 1 and summary.auc == (0, 0, 0) for summary in summarize(results))


def test_summary_by_hand() -> None:
    errors = [(1.0, 5.0), (2.0, 1.0), (np.inf, np.inf)]
    results = [PoseResult("D", "p", 10, 6, 3, rotation, translation) for rotation, translation in errors]
    (summary,) = summarize(results)
    assert (summary.pairs, summary.failures, summary.median_error) == (3, 1, 5.0)
    # Errors 2 and 5 of three: to 10 degrees a triangle 1/3, a trapezium 1.5, a rectangle 10/3.
    assert summary.auc[1] == pytest.approx((1 / 3 + 1.5 + 10 / 3) / 10)


def test_comments_empty_lines_and_overlap_scores_are_allowed(images: Path) -> None:
    assert len(read_pairs(pair_list(images, "# pairs", "", LINE, f"{LINE} 0.5"), images)) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE.rsplit(maxsplit=1)[0], r"pairs\.txt:2: expected 38 fields .* got 37"),
        (LINE.replace("254.877", "abc"), r"pairs\.txt:2: .*abc"),
        (LINE.replace("png 0 0", "png 0 4"), r"pairs\.txt:2: rotations must be 0, 1, 2 or 3"),
        (LINE.replace("994.978", "nan"), r"pairs\.txt:2: intrinsics and pose must be finite"),
        (LINE.replace("0 994.978 254.877", "0 0 254.877", 1), r"pairs\.txt:2: the first intrinsics .*positive focal"),
        (LINE.replace(RIGHT, RIGHT[:-1] + "0"), r"pairs\.txt:2: the second intrinsics .*end in 0 0 1"),
        (LINE.replace("1 0 0 -0.193", "-1 0 0 -0.193"), r"pairs\.txt:2: .*no rotation matrix"),
        (LINE.replace("1 0 0 -0.193", "2 0 0 -0.193"), r"pairs\.txt:2: .*no rotation matrix"),
        (LINE.replace("left", "absent"), r"pairs\.txt:2: image .*absent\.png does not exist"),
    ],
)
def test_a_faulty_line_is_named(images: Path, line: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_pairs(pair_list(images, LINE, line), images)


def test_a_missing_or_empty_list_is_named(images: Path) -> None:
    with pytest.raises(DatasetError, match=r"absent\.txt"):
        read_pairs(images / "absent.txt", images)
    with pytest.raises(DatasetError, match="no pairs"):
        read_pairs(pair_list(images, "# nothing"), images)


def test_rendered_pairs_are_exact_and_repeatable(tmp_path: Path) -> None:
    lists = [write_rendered_pairs(tmp_path / name, 3, seed=1) for name in ("first", "second")]
    assert lists[0].read_text() == lists[1].read_text()
    pairs = read_pairs(lists[0], tmp_path / "first")
    for pair in pairs:
        result = measure_pair(classical_detector("sift"), pair, PoseProtocol())
        assert (pair.image0.read_bytes(), pair.turns0) == ((tmp_path / "second" / pair.image0.name).read_bytes(), 0)
        assert 3 <= rotation_error(pair.pose[:3, :3], np.eye(3)) <= 30
        assert 0.25 <= np.linalg.norm(pair.pose[:3, 3]) <= 1.2
        assert result.rotation_error < 1
        assert result.translation_error < 5


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_interrupted_rendering_keeps_the_earlier_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rendered_pairs(tmp_path / "pairs", 2, seed=0)
    before = contents(tmp_path)
    render, calls = rendered_pairs.render, iter(range(4))

    def interrupted(*arguments: object) -> np.ndarray:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return render(*arguments)

    monkeypatch.setattr(rendered_pairs, "render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_rendered_pairs(tmp_path / "pairs", 2, seed=7)
    assert contents(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]


def test_fewer_rendered_pairs_replace_all_earlier_ones(tmp_path: Path) -> None:
    for count in (2, 1):
        write_rendered_pairs(tmp_path / "pairs", count, seed=count)
    assert sorted(contents(tmp_path)) == ["pairs/000a.png", "pairs/000b.png", "pairs/pairs.txt"]

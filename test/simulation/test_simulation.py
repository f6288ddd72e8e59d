"""The rendered room: perspective, hiding, averaging, and what depends on what."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from superpoint_ros.geometry.pose import Pose, rotation_matrix
from superpoint_ros.simulation.camera import SimulatedCamera, exposure_gain
from superpoint_ros.simulation.flights import FLIGHTS, FREE_SPACE, Disturbances, Flight, Path
from superpoint_ros.simulation.rendering import PinholeCamera, clip_depth, render
from superpoint_ros.simulation.scene import ROOM_SIZE, Face, build_room

CAMERA = PinholeCamera(64, 48, 40.0)


def ramp_face(corner, across, down, vertical: bool) -> Face:
    """A face whose grey level tells the place: 0 to 255 along `across`, or along `down`."""
    ramp = np.tile(np.linspace(0, 255, 256).astype(np.uint8), (256, 1))
    texture = np.ascontiguousarray(ramp.T if vertical else ramp)
    levels = (texture, cv2.resize(texture, (128, 128), interpolation=cv2.INTER_AREA))
    return Face(np.array(corner, float), np.array(across, float), np.array(down, float), levels)


def expected_ramp(face: Face, pose: Pose, vertical: bool) -> np.ndarray:
    """The grey level that the ray through each pixel's centre meets, nan where it meets nothing."""
    x, y = np.meshgrid(np.arange(CAMERA.width), np.arange(CAMERA.height))
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(CAMERA.matrix).T @ pose.rotation.T
    # position + depth * ray = corner + s * across + t * down
    system = np.stack(
        [np.broadcast_to(face.across, rays.shape), np.broadcast_to(face.down, rays.shape), -rays], axis=-1
    )
    s, t, depth = np.moveaxis(np.linalg.solve(system, (pose.position - face.corner)[..., None])[..., 0], -1, 0)
    hit = (depth > 0.05) & (s >= 0) & (s <= 1) & (t >= 0) & (t <= 1)
    return np.where(hit, (t if vertical else s) * 256 - 0.5, np.nan)


@pytest.mark.parametrize("vertical", [False, True])
@pytest.mark.parametrize(
    ("corner", "across", "down"),
    [
        ((-1, -0.8, 2), (2, 0, 0), (0, 1.6, 0)),  # straight ahead
        ((-1, -0.8, 1.5), (2, 0, 1.5), (0.2, 1.6, 0)),  # slanting
        ((-2, 0.6, 5), (4, 0, 0), (0, 0, -7)),  # the floor, from far ahead to behind the camera
    ],
)
def test_every_pixel_is_where_its_ray_ends(corner, across, down, vertical):
    face = ramp_face(corner, across, down, vertical)
    pose = Pose(rotation_matrix([0.05, -0.1, 0.2]), np.array([0.1, -0.05, 0.1]))
    image, expected = render([face], CAMERA, pose), expected_ramp(face, pose, vertical)
    inner = cv2.erode(np.isfinite(expected).astype(np.uint8), np.ones((3, 3))) > 0
    inner &= np.abs(np.gradient(expected)).max(axis=0) < 20  # the mean over a pixel's area is no point sample
    assert inner.sum() > 300
    assert np.abs(image[inner] - np.clip(expected[inner], 0, 255)).max() < 3
    outside = cv2.dilate(np.isfinite(expected).astype(np.uint8), np.ones((3, 3))) == 0
    assert not image[outside].any()


def plain_face(depth: float, grey: int) -> Face:
    return Face(
        np.array([-1.0, -1, depth]),
        np.array([2.0, 0, 0]),
        np.array([0.0, 2, 0]),
        (np.full((32, 32), grey, np.uint8),),
    )


def test_the_nearer_face_hides_the_other_in_any_order():
    near, far = plain_face(1.0, 200), plain_face(2.0, 90)
    for faces in ([near, far], [far, near]):
        image = render(faces, CAMERA, Pose.identity())
        assert image[24, 32] == 200
    turned = Pose(rotation_matrix([0, np.pi, 0]), np.array([0, 0, 4.0]))
    assert not render([near], CAMERA, turned).any()  # seen from behind
    assert not render([near], CAMERA, Pose(np.eye(3), np.array([0, 0, 1.01]))).any()  # passed


def test_detail_finer_than_a_pixel_becomes_its_mean():
    checks = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    levels = [checks]
    while len(levels[-1]) > 16:
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    face = Face(np.array([-1.0, -1, 3]), np.array([2.0, 0, 0]), np.array([0.0, 2, 0]), tuple(levels))
    image = render([face], CAMERA, Pose.identity())[16:32, 24:40]
    assert np.abs(image.astype(float) - 127.5).max() < 2


@given(
    corners=st.lists(st.tuples(*[st.floats(-5, 5)] * 3), min_size=3, max_size=4),
    begin=st.floats(0.01, 2),
    length=st.floats(0.1, 5),
)
def test_clipping_leaves_what_lies_between(corners, begin, length):
    clipped = clip_depth(np.array(corners), begin, begin + length)
    assert clipped.shape[1] == 3
    assert np.all((clipped[:, 2] > begin - 1e-9) & (clipped[:, 2] < begin + length + 1e-9))


@given(
    vector=st.tuples(*[st.floats(-1.8, 1.8)] * 3),
    position=st.tuples(*[st.floats(-10, 10)] * 3),
)
@example(vector=(0.0, 0.0, 9e-6), position=(0.0, 0.0, 0.0))  # OpenCV takes it for no rotation
def test_poses_convert_and_chain(vector, position):
    pose = Pose(rotation_matrix(vector), np.array(position))
    again = Pose.from_quaternion(pose.position, pose.quaternion)
    np.testing.assert_allclose(again.matrix, pose.matrix, atol=1e-6)
    np.testing.assert_allclose((pose @ pose.inverse()).matrix, np.eye(4), atol=1e-9)
    points = np.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(pose.to_body(pose.to_reference(points)), points, atol=1e-9)


def test_the_room_is_closed():
    """Whatever the direction, every pixel shows a photograph; only few of their texels are black."""
    room = build_room(0, colour=False)
    for yaw in np.linspace(0, 6, 5):
        pose = Pose(rotation_matrix([0, 0, yaw]) @ FLIGHTS["slow"].path.pose(0).rotation, np.array([0.5, 0.3, 1.5]))
        assert (render([replace(face, levels=(np.full_like(face.levels[0], 9),)) for face in room], CAMERA, pose)).all()


@pytest.mark.parametrize("name", FLIGHTS)
def test_flights_stay_in_the_free_space_and_keep_their_speed(name):
    path = FLIGHTS[name].path
    poses = [path.pose(time) for time in np.arange(0, 60, 0.05)]
    positions = np.array([pose.position for pose in poses])
    assert (positions >= np.array(FREE_SPACE[0]) - 1e-9).all()
    assert (positions <= np.array(FREE_SPACE[1]) + 1e-9).all()
    assert np.abs(np.diff(positions, axis=0)).max() <= path.speed * 0.05 + 1e-9
    assert np.abs(FREE_SPACE).max() < min(ROOM_SIZE) / 2 + 0.5
    forward = np.array([pose.rotation[:, 2] for pose in poses])
    assert np.abs(forward[:, 2]).max() < 0.5  # roughly level


def test_disturbances_do_what_they_say():
    still = Path(1, speed=1e-9, turn_rate=1e-9)

    def frame(**disturbances) -> np.ndarray:
        flight = Flight(still, Disturbances(**disturbances))
        return SimulatedCamera(flight, CAMERA, 10.0, colour=False).frame(0).images[0].astype(float)

    clean = frame()
    grey = (clean > 60) & (clean < 195)
    assert np.std((frame(noise=10.0) - clean)[grey]) == pytest.approx(10, rel=0.1)
    gain = exposure_gain(0.0, 1.0)
    assert abs(gain - 1) > 0.2
    unclipped = clean * max(gain, 1) < 250
    np.testing.assert_allclose(frame(exposure=1.0)[unclipped], (clean * gain)[unclipped], atol=1)

    moving = Path(1, speed=1.0, turn_rate=1.0)
    blurred = SimulatedCamera(Flight(moving, Disturbances(shutter=0.15)), CAMERA, 10.0, colour=False).frame(3)
    sharp = SimulatedCamera(Flight(moving, Disturbances()), CAMERA, 200.0, colour=False)
    moments = [sharp.frame(index).images[0].astype(float) for index in range(45, 76)]  # 0.3 s and 0.075 s around it
    to_mean, to_middle = (np.abs(blurred.images[0] - image).mean() for image in (np.mean(moments, axis=0), moments[15]))
    assert to_mean < 0.5 * to_middle
    assert to_middle > 5

    empty, crowded = (
        SimulatedCamera(Flight(still, Disturbances(moving_objects=count)), CAMERA, 10.0, colour=False)
        for count in (0, 6)
    )
    changed = [np.mean(empty.frame(i).images[0] != crowded.frame(i).images[0]) for i in (0, 40, 80)]
    assert max(changed) > 0.05


def test_frames_depend_on_index_and_seed_alone_and_the_right_eye_sees_from_the_right():
    camera = SimulatedCamera(FLIGHTS["everything"], CAMERA, 10.0, baseline=0.1)
    first, again = camera.frame(3), camera.frame(3)
    assert len(first.images) == 2
    assert first.images[0].shape == (48, 64, 3)
    np.testing.assert_array_equal(first.images, again.images)
    assert (first.images[0] != replace(camera, room_seed=1).frame(3).images[0]).any()
    for flight in (camera, replace(camera, flight=FLIGHTS["noisy"])):  # with and without moving objects
        variants = flight.variants(3, (0, 1))
        for seed, variant in enumerate(variants):
            np.testing.assert_array_equal(variant.images, flight.frame(3, seed).images)
        assert (variants[0].images[0] != variants[1].images[0]).mean() > 0.2
    clean = SimulatedCamera(Flight(camera.flight.path), CAMERA, 10.0, baseline=0.1, colour=False)
    pose = clean.frame(3).pose
    right = Pose(pose.rotation, pose.to_reference([[0.1, 0, 0]])[0])
    noiseless = replace(clean, flight=Flight(clean.flight.path, Disturbances()))
    np.testing.assert_allclose(noiseless.frame(3).images[1], render(build_room(0, colour=False), CAMERA, right), atol=1)

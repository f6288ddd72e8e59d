"""The demo launch file, started by launch itself: images in, keypoints out, a clean end. Needs launch_testing."""

import os
import time
import unittest
from pathlib import Path

import pytest

REASON = "launch_testing comes with a ROS 2 distribution, not with wheels"
pytest.importorskip("launch_testing", reason=REASON)
pytest.importorskip("launch_testing_ros", reason=REASON)
pytest.importorskip("superpoint_ros.msg", reason="the messages are not built")

import launch_testing.actions  # noqa: E402
import launch_testing.asserts  # noqa: E402
import rclpy  # noqa: E402
from ament_index_python.packages import get_package_share_directory  # noqa: E402
from launch import LaunchDescription  # noqa: E402
from launch.actions import IncludeLaunchDescription  # noqa: E402
from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402
from superpoint_ros.msg import KeypointArray  # noqa: E402

TIMEOUT = 60.0  # seconds, reached only when something is wrong
ARGUMENTS = {
    "weights": "random",
    "device": "cpu",
    "rate": "5.0",
    "namespace": "robot",
    "cameras": "front",
    "image_topic": "/driver/image",
}


@pytest.mark.launch_test
def generate_test_description() -> LaunchDescription:
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))  # away from robots and other tests
    demo = Path(get_package_share_directory("superpoint_ros"), "launch", "demo.launch.py")
    return LaunchDescription(
        [
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(demo)), launch_arguments=ARGUMENTS.items()),
            launch_testing.actions.ReadyToTest(),
        ]
    )


class TestDemo(unittest.TestCase):
    def test_keypoints_of_the_played_images_arrive(self) -> None:
        rclpy.init()
        self.addCleanup(rclpy.try_shutdown)
        node = rclpy.create_node("probe")
        received: list[KeypointArray] = []
        node.create_subscription(KeypointArray, "/robot/front/keypoints", received.append, 10)
        deadline = time.monotonic() + TIMEOUT
        while not received:
            self.assertLess(time.monotonic(), deadline, "no keypoints")
            rclpy.spin_once(node, timeout_sec=0.1)
        topics = dict(node.get_topic_names_and_types())
        node.destroy_node()

        self.assertGreater(len(received[0].x), 0)
        self.assertIn("random", received[0].model)
        self.assertIn("/driver/image", topics)
        self.assertNotIn("/robot/front/image_raw", topics)


@launch_testing.post_shutdown_test()
class TestEnd(unittest.TestCase):
    def test_all_processes_end_well(self, proc_info: object) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)

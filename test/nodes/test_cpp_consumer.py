"""C++ consumers: a package downstream of the installed one finds, compiles and runs what the documents promise."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "cpp"
PREFIXES = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
IS_BUILT = any((prefix / "include" / "superpoint_ros").is_dir() for prefix in PREFIXES)
NO_OPENCV = "CMake finds no OpenCV for C++ (libopencv-dev), with which conversions.hpp is compiled and run"

pytestmark = [
    pytest.mark.skipif(not IS_BUILT, reason="needs the built package: make build, scripts/ros_env python -m pytest"),
    pytest.mark.skipif(
        shutil.which("cmake") is None or shutil.which("c++") is None, reason="needs cmake and a C++ compiler"
    ),
]

# The first example of docs/consuming.md that includes the message, and what it should do.
PLAIN_MAIN = """
int main()
{
  KeypointArray a, b;
  a.model = b.model = "one";
  a.descriptor_size = b.descriptor_size = 2;
  a.x = {1.0F, 2.0F};
  b.x = {5.0F, 6.0F, 7.0F};
  a.descriptors = {1.0F, 0.0F, 0.0F, 1.0F};
  b.descriptors = {-1.0F, 0.0F, 0.6F, 0.8F, 0.8F, 0.6F};
  using Pairs = std::vector<std::pair<std::size_t, std::size_t>>;
  const bool matched = match(a, b) == Pairs{{0, 2}, {1, 1}};
  b.model = "another";
  return matched && match(a, b).empty() ? 0 : 1;
}
"""


def run(*command: object) -> subprocess.CompletedProcess[str]:
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def consumer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build test/cpp against the installed package."""
    folder = tmp_path_factory.mktemp("consumer")
    document = (ROOT / "docs" / "consuming.md").read_text()
    examples = re.findall(r"^```cpp\n(.*?)^```", document, re.DOTALL | re.MULTILINE)
    (plain,) = [example for example in examples if "<superpoint_ros/msg/keypoint_array.hpp>" in example]
    (folder / "plain.cpp").write_text(plain + PLAIN_MAIN)
    build = folder / "build"
    configured = run("cmake", "-S", ROOT / "test" / "cpp", "-B", build, f"-DPLAIN_SOURCE={folder / 'plain.cpp'}")
    assert "Found superpoint_ros" in configured.stdout
    run("cmake", "--build", build)
    return build


def test_the_example_without_opencv_matches(consumer: Path) -> None:
    run(consumer / "plain")


def test_conversions_do_not_copy_and_check(consumer: Path) -> None:
    if not (consumer / "conversions").exists():
        pytest.skip(NO_OPENCV)
    run(consumer / "conversions")


def test_the_document_links_as_the_example_does() -> None:
    (document,) = re.findall(
        r"^```cmake\n(.*?)^```", (ROOT / "docs/consuming.md").read_text(), re.DOTALL | re.MULTILINE
    )
    example = (EXAMPLE / "CMakeLists.txt").read_text()
    assert [line for line in document.splitlines() if line not in example] == []


def test_the_example_node_reports_motion(consumer: Path, tmp_path: Path, ros_domain: int) -> None:
    rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    if not any((prefix / "share" / "rclcpp").is_dir() for prefix in PREFIXES):
        pytest.skip("rclcpp is not installed; it has no wheels")
    if not (consumer / "conversions").exists():
        pytest.skip(NO_OPENCV)
    from superpoint_ros.msg import KeypointArray

    run("cmake", "-S", EXAMPLE, "-B", tmp_path / "build")
    run("cmake", "--build", tmp_path / "build")
    log = tmp_path / "log"
    rclpy.init(domain_id=ros_domain)
    node = rclpy.create_node("keypoint_source")
    publisher = node.create_publisher(KeypointArray, "camera/keypoints", 5)
    with log.open("w") as output:
        process = subprocess.Popen([tmp_path / "build" / "motion"], stdout=output, stderr=output)
        try:
            for shift in range(600):
                message = KeypointArray(x=[10.0 + 7 * shift], y=[20.0], scores=[0.5], model="one")
                message.descriptor_size, message.descriptors = 2, [1.0, 0.0]
                publisher.publish(message)
                time.sleep(0.1)
                if "1 matches, median motion 7.0 px" in log.read_text():
                    return
            pytest.fail(log.read_text())
        finally:
            process.kill()
            process.wait()
            node.destroy_node()
            rclpy.try_shutdown()

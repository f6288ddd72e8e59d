// conversions.hpp and the matching of the example, with real messages and real OpenCV.
#include <cmath>
#include <functional>
#include <iostream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "matching.hpp"

using superpoint_ros::msg::KeypointArray;
using superpoint_ros::to_descriptors;
using superpoint_ros::to_keypoints;

namespace
{

int failures = 0;

void check(bool condition, const std::string & what)
{
  if (!condition) {
    std::cerr << "failed: " << what << std::endl;
    ++failures;
  }
}

bool throws(const std::function<void()> & call)
{
  try {
    call();
  } catch (const std::invalid_argument & error) {
    return std::string(error.what()).find("KeypointArray is inconsistent") == 0;
  }
  return false;
}

// `count` keypoints on a line, moved by `shift` pixels along x, with orthogonal descriptors.
KeypointArray message_of(std::size_t count, float shift, bool quantised)
{
  KeypointArray message;
  message.width = 640;
  message.height = 480;
  message.descriptor_size = 8;
  message.model = "test";
  for (std::size_t i = 0; i < count; ++i) {
    message.x.push_back(10.5F * i + shift);
    message.y.push_back(20.0F);
    message.scores.push_back(1.0F / (1 + i));
    for (std::size_t j = 0; j < 8; ++j) {
      if (quantised) {
        message.descriptors_int8.push_back(i == j ? 127 : -1);
      } else {
        message.descriptors.push_back(i == j ? 1.0F : 0.0F);
      }
    }
  }
  return message;
}

}  // namespace

int main()
{
  const KeypointArray floats = message_of(5, 0.0F, false);
  const auto keypoints = to_keypoints(floats, 3.0F);
  check(keypoints.size() == 5, "number of keypoints");
  check(keypoints[2].pt.x == 21.0F && keypoints[2].pt.y == 20.0F, "position");
  check(keypoints[2].response == floats.scores[2], "response");
  check(keypoints[2].size == 3.0F && keypoints[2].angle == -1.0F, "size and angle");

  const cv::Mat descriptors = to_descriptors(floats);
  check(descriptors.rows == 5 && descriptors.cols == 8 && descriptors.type() == CV_32FC1, "float matrix");
  check(descriptors.ptr<float>() == floats.descriptors.data(), "floats are not copied");
  check(descriptors.at<float>(3, 3) == 1.0F && descriptors.at<float>(3, 4) == 0.0F, "row-major floats");

  const KeypointArray bytes = message_of(5, 4.0F, true);
  const cv::Mat quantised = to_descriptors(bytes);
  check(quantised.rows == 5 && quantised.cols == 8 && quantised.type() == CV_8SC1, "int8 matrix");
  check(quantised.ptr<std::int8_t>() == bytes.descriptors_int8.data(), "int8 are not copied");
  check(quantised.at<std::int8_t>(3, 3) == 127 && quantised.at<std::int8_t>(3, 4) == -1, "row-major int8");

  const KeypointArray none;
  check(to_keypoints(none).empty() && to_descriptors(none).empty(), "empty message");
  KeypointArray bare = message_of(5, 0.0F, false);
  bare.descriptors.clear();
  bare.descriptor_size = 0;
  check(to_keypoints(bare).size() == 5 && to_descriptors(bare).empty(), "message without descriptors");

  KeypointArray broken = message_of(5, 0.0F, false);
  broken.descriptors.pop_back();
  check(throws([&] {to_descriptors(broken);}), "missing descriptor element");
  broken = message_of(5, 0.0F, false);
  broken.descriptors_int8 = bytes.descriptors_int8;
  check(throws([&] {to_descriptors(broken);}), "two kinds of descriptors");
  broken.scores.pop_back();
  check(throws([&] {to_keypoints(broken);}), "missing score");

  const Motion motion = motion_between(floats, message_of(5, 7.0F, false));
  check(motion.matches == 5 && std::abs(motion.median - 7.0F) < 1e-4F, "matching of floats");
  check(motion_between(bytes, message_of(5, 7.0F, true)).matches == 5, "matching of int8");
  KeypointArray other = message_of(5, 0.0F, false);
  other.model = "another";
  check(motion_between(floats, other).matches == 0, "models are not mixed");
  return failures;
}

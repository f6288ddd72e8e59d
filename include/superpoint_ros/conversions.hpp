// From superpoint_ros/msg/KeypointArray to what OpenCV works with. Header only: needs OpenCV's core module.
#ifndef SUPERPOINT_ROS__CONVERSIONS_HPP_
#define SUPERPOINT_ROS__CONVERSIONS_HPP_

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include <opencv2/core/mat.hpp>
#include <opencv2/core/types.hpp>

#include "superpoint_ros/msg/keypoint_array.hpp"

namespace superpoint_ros
{

/// Return the keypoints of a message.
///
/// Positions are pixels of the received image, (0, 0) being the centre of its top-left pixel, which is OpenCV's
/// convention, too. `response` is the score; the best keypoint comes first.
///
/// @param message As received.
/// @param size Diameter in pixels to give to all keypoints: SuperPoint estimates none, nor an angle (-1).
/// @throws std::invalid_argument If the lengths of the message's arrays contradict each other.
inline std::vector<cv::KeyPoint> to_keypoints(const msg::KeypointArray & message, float size = 8.0F)
{
  const std::size_t count = message.x.size();
  if (message.y.size() != count || message.scores.size() != count) {
    throw std::invalid_argument(
            "KeypointArray is inconsistent: " + std::to_string(count) + " x, " +
            std::to_string(message.y.size()) + " y and " + std::to_string(message.scores.size()) + " scores");
  }
  std::vector<cv::KeyPoint> keypoints;
  keypoints.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    keypoints.emplace_back(message.x[i], message.y[i], size, -1.0F, message.scores[i]);
  }
  return keypoints;
}

/// Return the descriptors of a message without copying them: row i belongs to keypoint i.
///
/// The matrix is N x `descriptor_size`, CV_32F with rows of unit length, or CV_8S with 127 times that where the message
/// carries int8, which most matchers of OpenCV want as `descriptors.convertTo(floats, CV_32F, 1.0 / 127)`. It has no
/// rows where the message carries no descriptors.
///
/// The matrix shares memory with the message: read it only, and only while the message lives; `clone()` it to keep it.
///
/// @throws std::invalid_argument If the lengths of the message's arrays contradict each other.
inline cv::Mat to_descriptors(const msg::KeypointArray & message)
{
  const std::size_t count = message.x.size();
  const std::size_t dimension = message.descriptor_size;
  const bool quantised = !message.descriptors_int8.empty();
  const std::size_t elements = quantised ? message.descriptors_int8.size() : message.descriptors.size();
  if (elements != count * dimension || (quantised && !message.descriptors.empty())) {
    throw std::invalid_argument(
            "KeypointArray is inconsistent: " + std::to_string(message.descriptors.size()) + " float and " +
            std::to_string(message.descriptors_int8.size()) + " int8 descriptor elements; expected " +
            std::to_string(count) + " x " + std::to_string(dimension) + " of one kind");
  }
  if (elements == 0) {
    return cv::Mat();
  }
  // cv::Mat has no view of constant data.
  void * data = quantised ?
    const_cast<void *>(static_cast<const void *>(message.descriptors_int8.data())) :
    const_cast<void *>(static_cast<const void *>(message.descriptors.data()));
  return cv::Mat(static_cast<int>(count), static_cast<int>(dimension), quantised ? CV_8SC1 : CV_32FC1, data);
}

/// A message that ends with the expression would leave the matrix without its memory.
cv::Mat to_descriptors(const msg::KeypointArray && message) = delete;

}  // namespace superpoint_ros

#endif  // SUPERPOINT_ROS__CONVERSIONS_HPP_

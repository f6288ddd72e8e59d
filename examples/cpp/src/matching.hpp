#ifndef MATCHING_HPP_
#define MATCHING_HPP_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include <opencv2/features2d.hpp>
#include <superpoint_ros/conversions.hpp>

struct Motion
{
  std::size_t matches;
  float median;  // in pixels; not a number without matches
};

// How far the keypoints that two messages share have moved from one to the other.
inline Motion motion_between(
  const superpoint_ros::msg::KeypointArray & before, const superpoint_ros::msg::KeypointArray & after)
{
  std::vector<float> distances;
  const cv::Mat descriptors_before = superpoint_ros::to_descriptors(before);
  const cv::Mat descriptors_after = superpoint_ros::to_descriptors(after);
  // Descriptors of different weights have nothing in common.
  if (before.model == after.model && !descriptors_before.empty() && !descriptors_after.empty()) {
    cv::Mat query, train;
    descriptors_before.convertTo(query, CV_32F);
    descriptors_after.convertTo(train, CV_32F);
    std::vector<cv::DMatch> matches;
    cv::BFMatcher(cv::NORM_L2, true).match(query, train, matches);
    const std::vector<cv::KeyPoint> keypoints_before = superpoint_ros::to_keypoints(before);
    const std::vector<cv::KeyPoint> keypoints_after = superpoint_ros::to_keypoints(after);
    for (const cv::DMatch & match : matches) {
      const cv::Point2f step = keypoints_after[match.trainIdx].pt - keypoints_before[match.queryIdx].pt;
      distances.push_back(std::hypot(step.x, step.y));
    }
  }
  if (distances.empty()) {
    return {0, std::numeric_limits<float>::quiet_NaN()};
  }
  const auto middle = distances.begin() + distances.size() / 2;
  std::nth_element(distances.begin(), middle, distances.end());
  return {distances.size(), *middle};
}

#endif  // MATCHING_HPP_

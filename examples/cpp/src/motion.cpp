#include <memory>

#include <rclcpp/rclcpp.hpp>

#include "matching.hpp"

using superpoint_ros::msg::KeypointArray;

int main(int argc, char ** argv)
{
  rclcpp::init(argc, argv);
  auto node = std::make_shared<rclcpp::Node>("motion");
  KeypointArray::ConstSharedPtr previous;
  auto subscription = node->create_subscription<KeypointArray>(
    "camera/keypoints", 5, [&](KeypointArray::ConstSharedPtr current) {
      if (previous) {
        const Motion motion = motion_between(*previous, *current);
        RCLCPP_INFO(node->get_logger(), "%zu matches, median motion %.1f px", motion.matches, motion.median);
      }
      previous = current;
    });
  rclcpp::spin(node);
  rclcpp::shutdown();
}

"""SuperPoint keypoints and descriptors for ROS 2 and for plain Python."""

"""A camera in a room that does not exist: images with exact poses, without ROS."""

"""ROS parameters, declared once."""

"""SuperPoint keypoints and descriptors for ROS 2 and for plain Python."""

from pkgutil import extend_path

# The message build installs superpoint_ros.msg elsewhere: this finds it also where the sources come first on the path.
__path__ = extend_path(__path__, __name__)

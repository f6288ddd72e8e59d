"""Visual odometry on keypoints with descriptors, monocular or stereo, without ROS: start reading at `odometry.py`."""

from .bundle_adjustment import check_installed
from .camera import OdometryCamera, Rectifier
from .frames import KeypointFrame, monocular_frame, stereo_frame
from .odometry import Odometry, State, Update
from .settings import OdometrySettings

__all__ = [
    "KeypointFrame",
    "Odometry",
    "OdometryCamera",
    "OdometrySettings",
    "Rectifier",
    "State",
    "Update",
    "check_installed",
    "monocular_frame",
    "stereo_frame",
]

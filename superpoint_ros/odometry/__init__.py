"""Visual odometry on keypoints with descriptors, monocular or stereo, without ROS: start reading at `odometry.py`."""

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
    "monocular_frame",
    "stereo_frame",
]

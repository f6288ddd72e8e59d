"""The odometry node: keypoints in, poses out."""

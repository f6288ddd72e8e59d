"""The matcher node: keypoints in, matches and tracks out."""

"""The detector node: images in, keypoints out."""

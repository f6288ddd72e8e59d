"""The camera_player node: any source of images as a camera."""

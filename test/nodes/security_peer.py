"""A participant that tries to read keypoints and to inject images; prints what it got as JSON. Run by test_security.py.

python security_peer.py NODE_NAME FRAME_ID SECONDS [ros arguments]: an empty FRAME_ID injects nothing.
"""

from __future__ import annotations

import json
import sys
import time

import rclpy
from node_testing import image_message, textured_image
from sensor_msgs.msg import Image
from superpoint_ros.msg import KeypointArray

name, frame_id, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
report: dict[str, object] = {"reader": "", "writer": "", "frames": []}
frames: set[str] = set()
rclpy.init(args=sys.argv[4:])
node = rclpy.create_node(name)
publisher = None
try:
    node.create_subscription(KeypointArray, "camera/keypoints", lambda found: frames.add(found.header.frame_id), 10)
except Exception as error:  # access denied
    report["reader"] = str(error)
if frame_id:
    try:
        publisher = node.create_publisher(Image, "camera/image_raw", 10)
    except Exception as error:
        report["writer"] = str(error)
image = image_message(textured_image(96, 128), "rgb8")
image.header.frame_id = frame_id
print("ready", flush=True)
end = time.monotonic() + seconds
while time.monotonic() < end:
    if publisher is not None:
        image.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(image)
    rclpy.spin_once(node, timeout_sec=0.1)
report["frames"] = sorted(frames)
print(json.dumps(report))

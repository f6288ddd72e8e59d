"""The environment that make builds has everything: nothing in it may skip a test for want of a library."""

import importlib
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MADE_BY_MAKE = Path(os.environ.get("VIRTUAL_ENV", "/")).parent == ROOT / ".venv"


@pytest.mark.skipif(not MADE_BY_MAKE, reason="another environment than that of scripts/ros_env")
@pytest.mark.parametrize(
    "module",
    [
        "superpoint_ros.msg",
        "rclpy",
        "torch",
        "openvino",
        "transformers",
        "huggingface_hub",
        "rosbags",
        "mcap",
        "onnx",
        "onnxscript",
        "onnxruntime",
        "skimage",
        "matplotlib",
    ],
)
def test_module_is_there(module: str) -> None:
    importlib.import_module(module)

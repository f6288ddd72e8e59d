"""The environment that make builds has everything: nothing in it may skip a test for want of a library."""

import importlib
import os
import subprocess
import sys
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
        "pycolmap",
        "matplotlib",
    ],
)
def test_module_is_there(module: str) -> None:
    importlib.import_module(module)


def test_without_pytorch_its_tests_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "pytest", "-rs", "test/superpoint/test_decoding.py", "test/geometry"]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert "PyTorch is not installed" in result.stdout
    assert " error" not in result.stdout

"""Writes the files config/<node>.yaml and docs/parameters.md from the declarations.

Run it from the repository's root after a change: ``python -m superpoint_ros.nodes.parameter_docs``.
"""

from __future__ import annotations

from pathlib import Path

from .camera_player.parameters import CameraPlayerParameters
from .detector.parameters import DetectorParameters
from .matcher.parameters import MatcherParameters
from .odometry.parameters import OdometryParameters
from .parameters.declaration import markdown_table, yaml_file

_YAML_INTRODUCTION = """\
All parameters of the detector with their defaults. Copy the file, keep the lines you change, and pass it on:
  ros2 launch superpoint_ros detector.launch.py params_file:=/path/to/detector.yaml
Live parameters also change while the node runs: ros2 param set /detector threshold 0.01
Made from superpoint_ros/nodes/detector/parameters.py by python -m superpoint_ros.nodes.parameter_docs."""

_MATCHER_YAML_INTRODUCTION = """\
All parameters of the matcher with their defaults. Copy the file, keep the lines you change, and pass it on:
  ros2 launch superpoint_ros matcher.launch.py params_file:=/path/to/matcher.yaml
Live parameters also change while the node runs: ros2 param set /matcher max_ratio 0.9
Made from superpoint_ros/nodes/matcher/parameters.py by python -m superpoint_ros.nodes.parameter_docs."""

_ODOMETRY_YAML_INTRODUCTION = """\
All parameters of the odometry with their defaults. Copy the file, keep the lines you change, and pass it on:
  ros2 launch superpoint_ros odometry.launch.py params_file:=/path/to/odometry.yaml
Made from superpoint_ros/nodes/odometry/parameters.py by python -m superpoint_ros.nodes.parameter_docs."""

_DOCUMENT = """\
# Parameters

<!-- Made by python -m superpoint_ros.nodes.parameter_docs from the declarations in superpoint_ros/nodes. -->

## detector

`config/detector.yaml` holds the same values as a parameter file. Live parameters take effect on the next image, without
reloading the model; the others take effect at the lifecycle transition `configure`, and while the node is configured a
change is refused with that reason. A value that is not allowed is refused and changes nothing; of several values set
atomically either all are taken or none.

{detector}
## matcher

`config/matcher.yaml` holds the same values. What is said of the detector's parameters holds here too.

{matcher}
## odometry

`config/odometry.yaml` holds the same values. What is said of the detector's parameters holds here too.

{odometry}
## camera_player

Read once, at the start of the node.

{player}"""


def documents() -> dict[str, str]:
    """Return the generated files: text by path in the repository."""
    tables = {
        "detector": markdown_table(DetectorParameters),
        "matcher": markdown_table(MatcherParameters),
        "odometry": markdown_table(OdometryParameters),
        "player": markdown_table(CameraPlayerParameters, read_only=True),
    }
    return {
        "config/detector.yaml": yaml_file(DetectorParameters, _YAML_INTRODUCTION),
        "config/matcher.yaml": yaml_file(MatcherParameters, _MATCHER_YAML_INTRODUCTION),
        "config/odometry.yaml": yaml_file(OdometryParameters, _ODOMETRY_YAML_INTRODUCTION),
        "docs/parameters.md": _DOCUMENT.format(**tables),
    }


def main() -> None:
    """Write the files below the working directory."""
    for path, text in documents().items():
        Path(path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

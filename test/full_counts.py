"""How often fuzz and fault tests repeat: a few times in `make test`, many times in `make fuzz` and `make faults`."""

from __future__ import annotations

import os

FULL = os.environ.get("SUPERPOINT_ROS_FULL_COUNTS", "") not in ("", "0")


def repetitions(full: int, short: int) -> int:
    return full if FULL else short

"""What Fast DDS leaves behind; no ROS needed."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from superpoint_ros.nodes.processes.fast_dds import remove_abandoned_segments


def make_segment(folder: Path, name: str, age: float = 60.0) -> tuple[Path, Path]:
    segment, lock = folder / name, folder / f"{name}_el"
    segment.write_bytes(bytes(1000))
    lock.touch()
    os.utime(lock, (time.time() - age,) * 2)
    return segment, lock


def test_removes_only_segments_whose_process_is_gone(tmp_path: Path) -> None:
    abandoned = make_segment(tmp_path, "fastdds_0123456789abcdef")
    of_jazzy = make_segment(tmp_path, "fastrtps_0123456789abcdef")
    starting = make_segment(tmp_path, "fastdds_00000000000000aa", age=0.0)
    port = make_segment(tmp_path, "fastdds_port17911")
    alive = make_segment(tmp_path, "fastdds_fedcba9876543210")
    (tmp_path / "fastdds_1111111111111111_el").touch()  # without a segment
    with alive[1].open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert remove_abandoned_segments(tmp_path) == 2000
    assert not any(path.exists() for path in (*abandoned, *of_jazzy))
    assert all(path.exists() for path in (*starting, *port, *alive))
    assert remove_abandoned_segments(tmp_path / "missing") == 0

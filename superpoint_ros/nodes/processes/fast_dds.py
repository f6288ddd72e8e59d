"""Fast DDS: the transport profile, without which colour images are lost, and what killed processes leave behind.

config/fastdds.xml says why the profile is needed.
"""

from __future__ import annotations

import fcntl
import re
import time
from collections.abc import Mapping
from pathlib import Path

_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")  # the second up to Jazzy
_DISTRIBUTIONS_WITH_OLD_VARIABLE = ("humble", "iron", "jazzy")


def profile_environment(environment: Mapping[str, str], profile: str | Path) -> dict[str, str]:
    """Return the environment variable that gives a process `profile`; none where the user has chosen a transport.

    Parameters
    ----------
    environment : Mapping[str, str]
        Environment of the user, such as `os.environ`.
    profile : str or Path
        The file config/fastdds.xml, where it is installed.
    """
    if any(environment.get(name) for name in (*_VARIABLES, "FASTDDS_BUILTIN_TRANSPORTS")):
        return {}
    old = environment.get("ROS_DISTRO") in _DISTRIBUTIONS_WITH_OLD_VARIABLE
    return {_VARIABLES[old]: str(profile)}


_SEGMENT_LOCK = re.compile(r"(fastdds|fastrtps)_[0-9a-f]{16}_el")
_YOUNGEST = 10.0  # seconds: a process that starts at this moment may not hold its lock yet


def remove_abandoned_segments(folder: Path = Path("/dev/shm")) -> int:
    """Remove the shared memory segments of processes that ended without a chance to do so; returns their bytes.

    A segment is the memory in which Fast DDS keeps what a process sends: 64 MiB with config/fastdds.xml. SIGKILL leaves
    it behind, so that a node that is killed and started again and again would fill the memory. Fast DDS locks a file
    beside each segment for as long as its process lives, and expects that others remove what is not locked any more,
    as ``fastdds shm clean`` does.
    """
    removed = 0
    for lock in folder.glob("fast*_el"):
        segment = lock.with_name(lock.name.removesuffix("_el"))
        try:
            if _SEGMENT_LOCK.fullmatch(lock.name) and time.time() - lock.stat().st_mtime > _YOUNGEST:
                with lock.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    size = segment.stat().st_size
                    segment.unlink()
                    lock.unlink()
                    removed += size
        except OSError:  # locked, another user's, or just removed by somebody else
            continue
    return removed

"""The Fast DDS transport profile, without which colour images are lost (config/fastdds.xml says why)."""

from __future__ import annotations

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

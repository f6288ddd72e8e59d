"""Parameters that several nodes have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .declaration import TOPIC_PREFIX, check, parameter


@dataclass(frozen=True)
class NodeParameters:
    """What every lifecycle node has.

    Raises
    ------
    ValueError
        If the value of a parameter is not allowed; the message names it.
    """

    autostart: bool = parameter(
        True, "Whether the node configures and activates itself at start, instead of waiting for a lifecycle manager."
    )

    def __post_init__(self) -> None:
        check(self)


def cameras_parameter(
    description: str, constraint: str = "a list of different names that can start a topic name", at_most: int = 1000
) -> Any:
    """Declare the parameter ``cameras``; `constraint` continues "must be ..."."""

    def accepts(names: tuple[str, ...]) -> bool:
        are_names = all(TOPIC_PREFIX.fullmatch(name) for name in names)
        return 0 < len(names) <= at_most and len(set(names)) == len(names) and are_names

    return parameter(("camera",), description, accepts=accepts, constraint=constraint)


def stale_after_parameter(what: str) -> Any:
    """Declare the parameter ``stale_after``."""
    description = f"Seconds without {what} after which /diagnostics calls a camera stale."
    return parameter(2.0, description, minimum=0.1, maximum=3600.0, live=True)

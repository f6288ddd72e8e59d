"""Fixtures for tests that talk to real node processes over DDS."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # fixtures import it: tests that need no ROS run without
    from node_testing import NodeProcess, Probe


@pytest.fixture(scope="session")
def ros_domain() -> Iterator[int]:
    """Let this process and those it starts talk among themselves only."""
    from node_testing import free_domain

    domain, marker = free_domain()
    previous = os.environ.get("ROS_DOMAIN_ID")
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    yield domain
    marker.close()
    os.environ.pop("ROS_DOMAIN_ID")
    if previous is not None:
        os.environ["ROS_DOMAIN_ID"] = previous


@pytest.fixture(scope="module")
def start_node(ros_domain: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., NodeProcess]]:
    """Return a function that starts an executable; everything started ends with the module's tests."""
    from node_testing import NodeProcess

    started: list[NodeProcess] = []

    def start(executable: str, parameters: dict[str, Any], *arguments: str) -> NodeProcess:
        log = tmp_path_factory.mktemp("node") / f"{executable}.log"
        started.append(NodeProcess(executable, parameters, log, *arguments))
        return started[-1]

    yield start
    for node in started:
        node.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def probe(ros_domain: int) -> Iterator[Probe]:
    """Return the node of the test process."""
    import rclpy
    from node_testing import Probe

    rclpy.init(domain_id=ros_domain)
    node = Probe()
    yield node
    node.destroy_node()
    rclpy.try_shutdown()

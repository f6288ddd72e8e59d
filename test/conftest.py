"""Settings for all tests."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A busy machine must not fail a test: no time limits.
settings.register_profile("superpoint_ros", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("superpoint_ros")


class _Module(pytest.Module):
    """Test modules that cannot be imported for want of PyTorch, which ROS does not install, are skipped."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        try:
            return super().collect()
        except self.CollectError as error:
            if "No module named 'torch'" in str(error):
                pytest.skip("PyTorch is not installed", allow_module_level=True)
            raise


@pytest.hookimpl(hookwrapper=True)
def pytest_pycollect_makemodule() -> Generator[None, Any, None]:
    """Let pytest use the class above, but not for the modules that launch_testing collects in its own way."""
    outcome = yield
    module = outcome.get_result()
    if type(module) is pytest.Module:
        outcome.force_result(_Module.from_parent(module.parent, path=module.path))

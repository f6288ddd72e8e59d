"""Settings for all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A busy machine must not fail a test: no time limits.
settings.register_profile("superpoint_ros", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("superpoint_ros")

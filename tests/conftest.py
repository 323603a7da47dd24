"""Hypothesis profiles: HYPOTHESIS_PROFILE=ci is repeatable, deep takes its time."""

import os

from hypothesis import HealthCheck, settings

# The strategies build whole streams, which the health check takes for slowness.
settings.register_profile(
    "quick",
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("ci", settings.get_profile("quick"), derandomize=True)
settings.register_profile("deep", settings.get_profile("quick"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

"""Settings of all tests: Hypothesis measures no time, because a busy machine is no bug, and tries 40 examples."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "wsinuc", max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("wsinuc")

collect_ignore = ["benchmarks", "helpers"]  # scripts, and what holds no tests: they need not be imported for doctests
pytest_plugins = ["helpers.runs"]  # fixtures `slide` and `reference`, for all tests of whole runs

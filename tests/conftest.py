"""Settings of all tests, so that a check of the same code gives the same result twice.

Hypothesis measures no time, because a busy machine is no bug. Its examples follow from the test alone; the profile
``search`` draws new ones each time (see CONTRIBUTING.md). What a test draws from PyTorch's own generator depends
neither on the tests before it nor on the process it runs in.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

SEED = 0

settings.register_profile(
    "wsinuc",
    max_examples=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile(
    "search",
    settings.get_profile("wsinuc"),
    derandomize=False,
    # Failures are tried first the next time; a profile that searches nothing has no place for them.
    database=DirectoryBasedExampleDatabase(".hypothesis/examples"),
)
settings.load_profile("wsinuc")

collect_ignore = ["benchmarks", "helpers", "typing"]  # scripts, and what holds no tests: not imported for doctests
collect_ignore_glob = ["*conftest.py"]  # of fixtures there are several, and doctests would import all as one module
pytest_plugins = ["helpers.runs", "helpers.plots"]  # fixtures `slide`, `reference` and `unpainted`


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What importing leaves in memory stays there: let no garbage collection look through it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed PyTorch, before fixtures of any scope draw from it; what has not imported it draws nothing."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(SEED)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup() -> None:
    _forget_current_test()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call() -> None:
    _forget_current_test()


def _forget_current_test() -> None:
    """Reader processes of slides serve in the environment they began in; pytest changes it from test to test."""
    os.environ.pop("PYTEST_CURRENT_TEST", None)

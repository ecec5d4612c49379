"""A viewer in a real browser: Chromium, driven by Playwright (``make test-browser``)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from helpers.browser import WAIT_MS, ready, watch
from wsinuc.workflows.view.library import find_sources
from wsinuc.workflows.view.server import start_server

# Only ``make test-browser`` installs it; without it nothing here is collected.
if find_spec("playwright") is None:
    collect_ignore_glob = ["test_*.py"]

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
"""None takes the one that Playwright has fetched."""


@dataclass
class Seen:
    """A page, and what the browser complained of."""

    page: Any
    url: str
    errors: list[str]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def result(reference: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "plane.wsinuc"
    shutil.copytree(reference, folder)
    return folder


@pytest.fixture
def seen(browser: Any, result: Path) -> Iterator[Seen]:
    """The page of a result, ready."""
    server = start_server(find_sources(result))
    server.run_in_background()
    context = browser.new_context(viewport={"width": 1280, "height": 720}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    errors = watch(page)
    page.goto(server.url)
    ready(page)
    yield Seen(page, server.url, errors)
    assert errors == []
    context.close()
    server.stop()


@pytest.fixture
def screenshots() -> Path:
    """Where pictures of the page go, to be looked at."""
    folder = Path(os.environ.get("SCREENSHOTS", "tests/browser/screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder

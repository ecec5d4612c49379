"""A small slide and its result, which no test changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.oracle import write_slide
from helpers.runs import run


@pytest.fixture(scope="session")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "small.tiff", (200, 300), levels=1)


@pytest.fixture(scope="session")
def reference(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reference") / "out"
    run(slide, out)
    return out

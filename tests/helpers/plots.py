"""Plots without paint, for tests that are about something else; `tests/exports/test_plots.py` looks at real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wsinuc.own_files import create


@pytest.fixture
def unpainted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are composed, and written as empty files: to paint one takes most of a second."""

    def save(figure: Any, path: Path) -> None:
        create(path).close()

    monkeypatch.setattr("wsinuc.exports.pictures.plots._save", save)

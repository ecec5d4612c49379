"""One version everywhere: the package, its changelog and its citation."""

from __future__ import annotations

import re
from pathlib import Path

import wsinuc

ROOT = Path(__file__).parents[2]


def test_changelog_and_citation_are_of_this_version() -> None:
    log = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = re.findall(r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?$", log, re.MULTILINE)
    assert sections[0] == ("Unreleased", "")
    version, day = sections[1]
    assert version == wsinuc.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {version}\n" in citation
    assert f"\ndate-released: {day}\n" in citation

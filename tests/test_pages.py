"""The pages: links lead somewhere, and what the site says of the library is there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

import wsinuc

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


def pages() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return [ROOT / name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchor_of(heading: str) -> str:
    """What GitHub and MyST make of a heading."""
    text = re.sub(r"[^\w\- ]", "", heading.strip().lower().replace("`", ""))
    return text.replace(" ", "-")


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_links_lead_somewhere(page: Path):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    broken = []
    for target in LINK.findall(text):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = Path(os.path.normpath(page.parent / path)) if path else page
        if not file.exists():
            broken.append(target)
        elif anchor and file.suffix == ".md":
            headings = HEADING.findall(file.read_text(encoding="utf-8"))
            if anchor not in {anchor_of(heading) for heading in headings}:
                broken.append(target)
    assert not broken


def test_the_python_reference_has_every_public_name():
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    assert set(re.findall(r"auto\w+:: wsinuc\.(\w+)", page)) == set(wsinuc.__all__)


def test_every_page_of_the_site_is_in_its_contents():
    contents = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    found = [path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts and path.stem != "index"]
    names = [path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in found]
    assert not [name for name in names if name not in contents]

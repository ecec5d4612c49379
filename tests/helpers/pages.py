"""Which pages there are: everything in Markdown, and what is written for readers of the documentation."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def pages() -> tuple[Path, ...]:
    """Every page in Markdown that git knows; in a checkout without git those of the top and of ``docs``."""
    listing = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        return (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    return tuple(ROOT / name for name in listing.stdout.splitlines() if (ROOT / name).is_file())


def pages_for_readers() -> list[Path]:
    """The pages that say what is true now; experiments and the changelog tell history."""
    site = [page for page in pages() if page.is_relative_to(ROOT / "docs")]
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    return top + [page for page in site if "experiments" not in page.parts]


def name_of(page: Path) -> str:
    """Path of a page within the repository, by which a test is named."""
    return page.relative_to(ROOT).as_posix()

"""``--threshold`` and ``--min-area`` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.oracle import write_slide


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "plane.tiff", (200, 250), levels=1)


def test_dry_run_says_what_is_taken_for_a_nucleus(wsinuc_in, slide: Path) -> None:
    own = wsinuc_in("segment", slide, "--dry-run", "--tissue", "none")
    assert "  threshold  0.5\n  least area 5 um2\n" in own.stdout
    other = wsinuc_in("segment", slide, "--dry-run", "--tissue", "none", "--threshold", 0.7, "--min-area", 9)
    assert "  threshold  0.7 (the model's own is 0.5)\n" in other.stdout
    assert "  least area 9 um2 (the model's own is 5 um2)\n" in other.stdout
    wrong = wsinuc_in("segment", slide, "--dry-run", "--threshold", 7)
    assert wrong.exit_code == 1
    assert "at most 1, got 7" in f"{wrong.stderr} {wrong.exception}"

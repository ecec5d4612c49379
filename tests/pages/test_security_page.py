"""SECURITY.md: every test and script that it names is there, and every limit that it states is the one in the code."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.planted import PLANTS
from wsinuc import limits
from wsinuc.annotations.events import MAX_DEPTH
from wsinuc.annotations.features import MAX_VALUES
from wsinuc.annotations.files import MAX_ENTRIES
from wsinuc.datasets import files, label_files
from wsinuc.datasets.layouts import aperio
from wsinuc.exports.qupath import check as qupath_check
from wsinuc.grid import MAX_BLOCKS
from wsinuc.models.checkpoints.file_header import MAX_HEADER
from wsinuc.slides import image
from wsinuc.slides.isolation.isolated import ReaderLimits
from wsinuc.slides.tiff import directories
from wsinuc.store import owned
from wsinuc.synthesis.layout_files import MAX_POINTS
from wsinuc.tissue.mask import CELL_UM, MAX_CELLS
from wsinuc.workflows.cohort import slide_list
from wsinuc_cli.stopping import GRACE_S

ROOT = next(folder for folder in Path(__file__).parents if (folder / "SECURITY.md").is_file())
PAGE = " ".join((ROOT / "SECURITY.md").read_text(encoding="utf-8").split())
MIB = 2**20
GIB = 2**30


def statements() -> Iterator[str]:
    """What the page says, with the figures that the code has."""
    reader = ReaderLimits()
    yield f"{reader.cpu_s} s of CPU for opening, or for one read"
    yield f"took more than {reader.cpu_s} s of CPU while"
    yield f"| {reader.wall_s:.0f} s | `the reader did not answer for {reader.wall_s:g} s`"
    yield f"{reader.memory_bytes // GIB} GiB of address space (Linux)"
    yield f"needs more than the {reader.memory_bytes // GIB} GiB it may take"
    yield f"| {directories.MAX_SIDE:,} pixels; {directories.MAX_TILE_SIDE:,} pixels |"
    yield f"| {directories.MAX_DIRECTORIES:,}; {directories.MAX_SAMPLES} |"
    yield f"a strip or tile after unpacking | {directories.MAX_SEGMENT // MIB} MiB |"
    yield f"| {image.MAX_PIXELS:,} pixels; {image.MAX_BYTES / 1e9:.1f} GB of samples;"
    yield f"blocks of a slide | {MAX_BLOCKS:,} |"
    yield f"| {MAX_CELLS * CELL_UM**2 / 1e8:.0f} cm² (the largest"
    yield f"a label picture in TIFF | {label_files.MAX_PIXELS:,} samples |"
    yield f"at most {MAX_HEADER // MIB} MiB. Every field"
    yield f"any of them, after unpacking | {limits.MAX_TEXT // MIB} MiB |"
    yield f"larger than {limits.MAX_TEXT // MIB} MiB, or hardly anything but brackets"
    yield f"{limits.MAX_RATIO} times its compressed size"
    yield f"entries of a zip | {MAX_ENTRIES:,} |"
    yield f"a table of slides | {slide_list.MAX_BYTES // MIB} MiB, {slide_list.MAX_SLIDES:,} lines |"
    yield f"a table of a data set | {files.MAX_CELLS:,} cells |"
    yield f"points of a layout | {MAX_POINTS:,} |"
    yield f"in GeoJSON | {MAX_DEPTH} deep |"
    yield f"beside its coordinates | {MAX_VALUES:,} |"
    yield f"an outline there | {aperio.MAX_DEPTH} deep; {aperio.MAX_CORNERS:,} |"
    yield f"| {qupath_check.MAX_BYTES // GIB} GiB a document, {qupath_check.MAX_ARCHIVE // GIB} GiB a zip |"
    yield f"four times its size (and {limits._FREE // MIB} MiB) as objects"
    yield f"have mode {owned._MODE:o} whatever the umask says"
    yield f"plants {len(PLANTS)} such things"
    yield f"in order within {GRACE_S:.0f} s"
    yield f"exit codes are {128 + signal.SIGTERM} and {128 + signal.SIGHUP}"


@pytest.mark.parametrize("statement", list(statements()))
def test_the_page_states_the_limits_of_the_code(statement: str) -> None:
    assert statement in PAGE


def test_every_limit_of_the_tables_is_checked_here() -> None:
    """A figure of more than two digits or with a unit that no statement has would go out of date in silence."""
    told = " ".join(statements())
    figures = re.findall(r"\d{1,3}(?:,\d{3})+|\d+ (?:[GM]iB|GB|cm²|deep)", PAGE)
    known_by_hand = {"10,000", "1,000"}  # faults that a benchmark has tried
    assert not {figure for figure in figures if figure not in told} - known_by_hand


def test_the_faults_that_were_tried_are_those_of_the_recorded_run() -> None:
    (page,) = (ROOT / "docs").rglob("integrity.md")
    assert "10,000 changed bytes and 1,000 other faults" in " ".join(page.read_text(encoding="utf-8").split())
    assert "10,000 changed bytes and 1,000 other faults, none silently wrong" in PAGE


def test_every_test_and_script_is_there() -> None:
    named = set(re.findall(r"`([\w/]+\.py)`", PAGE))
    there = {path.name for path in (ROOT / "tests").rglob("*.py")} | {
        path.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("*.py")
    }
    assert len(named) > 30
    assert not named - there


def test_sections_that_are_linked_exist() -> None:
    headings = re.findall(r"^#+ (.+)$", (ROOT / "SECURITY.md").read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= anchors

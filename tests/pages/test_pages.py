"""The pages: links lead somewhere, and what the site says of the library is there."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

import wsinuc
from helpers.pages import ROOT, name_of, pages, pages_for_readers
from wsinuc.segmenters.shipped import shipped_denoisers, shipped_models

LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,3} +(.*)$", re.MULTILINE)
"""Headings that can be linked: the site gives no anchor to those below the third level."""


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


def tells_history(page: Path) -> bool:
    return "experiments" in page.parts or page.stem == "CHANGELOG"


@pytest.mark.parametrize("page", [page for page in pages() if not tells_history(page)], ids=name_of)
def test_files_that_a_page_names_are_there(page: Path):
    named = re.findall(r"\b(?:tests|examples)/[\w/.-]*\w", page.read_text(encoding="utf-8"))
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_python_reference_has_every_public_name():
    page = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
    assert set(re.findall(r"auto\w+:: wsinuc\.(\w+)$", page, re.MULTILINE)) == set(wsinuc.__all__)


def test_every_page_of_the_site_is_in_its_contents():
    indexes = (ROOT / "docs").rglob("index.md")
    contents = "".join(path.read_text(encoding="utf-8") for path in indexes if "_build" not in path.parts)
    found = [path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts and path.stem != "index"]
    names = {path: path.relative_to(ROOT / "docs").with_suffix("").as_posix() for path in found}
    entries = set(contents.splitlines())
    assert not [path for path, name in names.items() if not {name, path.stem} & entries]


LONGEST = 100
"""Letters on a line of prose; tables, code and links of pictures may be longer."""
NOT_PROSE = ("|", "    ", "!", "<")


def prose(page: Path) -> list[str]:
    """Lines of a page outside code and tables."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [line for line in text.splitlines() if not line.lstrip().startswith("|") and not line.startswith(NOT_PROSE)]


@pytest.mark.parametrize("page", pages_for_readers(), ids=name_of)
def test_prose_wraps(page: Path):
    assert not [line for line in prose(page) if len(line) > LONGEST and " " in line.strip()]


@pytest.mark.parametrize("page", pages_for_readers(), ids=name_of)
def test_pages_tell_no_history(page: Path):
    told = re.compile(r"\b(former|formerly|no longer|hitherto|anew|nowadays|previously)\b", re.IGNORECASE)
    assert not [line for line in prose(page) if told.search(line)]


@pytest.mark.parametrize("page", pages_for_readers(), ids=name_of)
def test_pages_write_micrometres_as_people_do(page: Path):
    lines = [re.sub(r"`[^`]*`|\"[^\"]*\"", "", line) for line in page.read_text(encoding="utf-8").splitlines()]
    units = re.compile(r"\b(um2?|mm2) |\bum/px|\d um\b")
    assert not [line for line in lines if not line.startswith("    ") and units.search(line)]


def test_the_readme_fits_on_two_screens_and_shows_one_picture():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 95
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)
    assert (ROOT / picture).suffix == ".png"
    assert (ROOT / picture).stat().st_size < 400_000


def test_every_shipped_model_has_a_card():
    cards = {page.stem: page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "models").glob("*.md")}
    index = cards.pop("index")
    assert cards.keys() == {*shipped_models(), *shipped_denoisers()} - {"default"}
    for name, card in cards.items():
        assert f"({name}.md)" in index
        for heading in ("Intended use", "Data and licences", "Scores", "Cost", "Where it fails"):
            assert f"## {heading}" in card
        assert "![" in card, "a card shows failures"


LONGEST_PAGE = 220
"""Lines of a page that answers one question; a longer one answers several, or holds reference and explanation."""


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "how-to").glob("*.md")), ids=name_of)
def test_how_to_pages_answer_one_question(page: Path):
    lines = page.read_text(encoding="utf-8").splitlines()
    assert page.stem == "other-tools" or len(lines) <= LONGEST_PAGE


def scores_of(row: str) -> list[str]:
    """Scores of a row of a table: numbers between 0 and 1 with three digits."""
    return re.findall(r"\b0\.\d{3}\b", row)


def rows_of(page: str, first: str) -> list[list[str]]:
    """Scores of each row of a page whose first cell begins so."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    return [scores_of(line) for line in lines if line.startswith(f"| {first}")]


@pytest.mark.parametrize("model", ["fast", "accurate", "diffusion", "student"])
def test_pages_give_a_model_the_scores_of_its_card(model: str):
    card = f"docs/models/{model}.md"
    sets = ("MoNuSeg 2018", "TNBC, patients 09 to 11", "NuInsSeg, seven tissues")
    scores = [score for name in sets for score in rows_of(card, name)[0][:2]]
    (overview,) = [
        row
        for row in rows_of("docs/models/index.md", f"[`{model}`]") + rows_of("docs/models/index.md", f"`{model}`")
        if row
    ]
    assert overview == scores
    for row in rows_of("README.md", f"`{model}`"):
        assert row == scores[:4]


def test_the_page_for_papers_names_the_model_that_ships():
    stated = (ROOT / "docs" / "how-to" / "paper.md").read_text(encoding="utf-8")
    weights = (ROOT / "wsinuc" / "weights" / "fast.safetensors").read_bytes()
    assert f"SHA-256 {hashlib.sha256(weights).hexdigest()[:8]}…" in stated
    assert f"wsinuc {wsinuc.__version__} (" in stated

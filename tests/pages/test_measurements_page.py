"""The page docs/reference/measurements.md has every column that can be measured, its group and its name in QuPath."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wsinuc.config import STAINS
from wsinuc.nuclei.densities import RIM_UM, RING_UM
from wsinuc.nuclei.measured_names import FIXED, Measurement
from wsinuc.nuclei.neighbours import GAP_UM
from wsinuc.nuclei.stains import FIXED as VECTORS
from wsinuc.nuclei.texture import DARKEST_OD, LEVELS

ROOT = next(folder for folder in Path(__file__).parents if (folder / "docs").is_dir())
TEXT = (ROOT / "docs/reference/measurements.md").read_text(encoding="utf-8")


def section(group: str) -> str:
    return re.split(r"^## ", TEXT.partition(f"\n## {group.capitalize()}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def names_in(text: str) -> set[str]:
    """Names in backticks; "`a_1` to `a_6`" names all between, "and the same of `eosin_rim`" those of eosin."""
    names = set(re.findall(r"`([^`]+)`", text))
    for stem, first, last, rest in re.findall(r"`(\w+?_)(\d)(?:_\w+)?` to `\1(\d)(_\w+)`", text):
        names |= {f"{stem}{k}{rest}" for k in range(int(first), int(last) + 1)}
    for other in re.findall(r"and the same of `(eosin_\w+)`", text):
        part = other.removeprefix("eosin_")
        names |= {name.replace("haematoxylin", "eosin") for name in names if name.startswith(f"haematoxylin_{part}")}
    return names


@pytest.mark.parametrize("each", FIXED.values(), ids=lambda each: each.name)
def test_every_column_is_on_the_page(each: Measurement) -> None:
    names = names_in(section(each.group))
    assert each.name in names
    # Of a row for several columns the first name is enough.
    if each.qupath and not re.search(r"neighbour [2-5]|50 µm|100 µm|\(F12\)", each.qupath):
        assert each.qupath in names


def test_numbers_on_the_page_are_those_of_the_code() -> None:
    text = " ".join(TEXT.split())
    assert f"within {RIM_UM:g} µm of its border" in text
    assert f"within {RING_UM:g} µm around the nucleus" in text
    assert f"{LEVELS} steps of {DARKEST_OD / LEVELS:g} from 0 to {DARKEST_OD:g}" in text
    assert f"a radius of more than {GAP_UM:g} µm" in text
    for name in STAINS:
        assert f"| `{name}`" in text
    for vectors in VECTORS.values():
        for vector in (vectors.haematoxylin, vectors.eosin):
            assert all(f"{value:g}" in text for value in vector)

"""Two results of one slide: which nuclei are the same, which are in one alone, and what class each has."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wsinuc.errors import ConfigError
from wsinuc.workflows.view.compared import compare
from wsinuc.workflows.view.library import Library, find_sources
from wsinuc.workflows.view.table import NucleiTable, load_table
from wsinuc.workflows.view.tiles.style import Style


@pytest.fixture(scope="module")
def table(reference: Path) -> NucleiTable:
    return load_table(reference)


@pytest.fixture
def library(reference: Path, tmp_path: Path) -> Library:
    """Two results of one slide and one of another, all called the same."""
    for folder in ("fast", "accurate", "other"):
        shutil.copytree(reference, tmp_path / folder / "plane.wsinuc")
    summary = tmp_path / "other/plane.wsinuc/summary.json"
    content = {**json.loads(summary.read_text()), "slide_stamp": "another", "slide": "another.svs"}
    for sign in ("seal", "files"):
        del content[sign]
    summary.write_text(json.dumps(content))
    return find_sources(*(tmp_path / folder / "plane.wsinuc" for folder in ("fast", "accurate", "other")))


def test_other_classes_are_counted_by_pair(table: NucleiTable) -> None:
    classes = table.classes.copy()
    changed = np.flatnonzero(classes == 0)[:7]
    classes[changed] = 1
    compared = compare(table, replace(table, classes=classes))
    assert compared.differs.nonzero()[0].tolist() == changed.tolist()
    here, there = table.class_names
    assert compared.report(table.class_names) == {
        "both": len(table),
        "onlyHere": 0,
        "onlyThere": 0,
        "changed": 7,
        "changes": [{"from": here, "to": there, "nuclei": 7}],
    }


def test_nuclei_of_one_result_alone_are_counted_and_differ(table: NucleiTable) -> None:
    rest = replace(table, y=table.y[3:], x=table.x[3:] + 0.2 * table.diameter, classes=table.classes[3:])
    compared = compare(table, rest)
    assert (compared.only_here, compared.only_there) == (3, 0)
    assert compared.differs.nonzero()[0].tolist() == [0, 1, 2]
    # The same seen from the other side.
    back = compare(rest, table)
    assert (back.only_here, back.only_there) == (0, 3)
    assert not back.differs.any()


def test_a_class_is_the_same_by_its_name_and_not_by_its_place(table: NucleiTable) -> None:
    turned = replace(table, classes=1 - table.classes, class_names=table.class_names[::-1])
    assert not compare(table, turned).differs.any()


def test_results_of_one_slide_are_found_and_told_apart(library: Library) -> None:
    keys = {source.name: key for key, source in library.sources.items()}
    assert set(keys) == {"fast/plane", "accurate/plane", "other/plane"}
    others = library.others(library.sources[keys["fast/plane"]])
    assert {key: each.name for key, each in others.items()} == {keys["accurate/plane"]: "accurate/plane"}
    assert library.others(library.sources[keys["other/plane"]]) == {}


def test_what_apply_has_written_is_found_from_both_sides(reference: Path, tmp_path: Path) -> None:
    shutil.copytree(reference, tmp_path / "plane.wsinuc")
    shutil.copytree(reference, tmp_path / "classified/plane.wsinuc")
    library = find_sources(tmp_path / "plane.wsinuc")
    (source,) = library.sources.values()
    (other,) = library.others(source).values()
    assert other.name == "classified/plane"
    (back,) = library.others(other).values()
    assert back.place == source.place


def test_only_nuclei_that_differ_are_shown(library: Library) -> None:
    keys = {source.name: key for key, source in library.sources.items()}
    opened = library.open(keys["fast/plane"])
    style = Style(other=keys["accurate/plane"])
    with pytest.raises(ConfigError, match="not been compared"):
        opened.paint(style)
    library.compare(opened, style.other)
    rows = np.arange(len(opened.paint(Style()).classes))
    assert len(opened.paint(style).shown(rows)) == 0
    with pytest.raises(ConfigError, match="no such result"):
        library.compare(opened, "unknown")

"""The table behind a viewer: every nucleus at its place, found by a point, an id or a line around it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from wsinuc.errors import DamageError
from wsinuc.store import iter_nuclei
from wsinuc.workflows.view import facts
from wsinuc.workflows.view.opened import Opened, Source
from wsinuc.workflows.view.table import load_table
from wsinuc.workflows.view.tiles.style import Style


@pytest.fixture(scope="module")
def opened(reference: Path) -> Opened:
    return Opened(Source(reference))


def test_all_nuclei_are_held_with_their_values(reference: Path) -> None:
    table = load_table(reference)
    parts = list(iter_nuclei(reference))
    assert table.ids.tolist() == np.concatenate([part.ids for part in parts]).tolist()
    assert table.classes.tolist() == np.concatenate([part.classes for part in parts]).tolist()
    assert np.allclose(table.y, np.concatenate([part.level0_centroids()[:, 0] for part in parts]), atol=0.01)
    areas = np.concatenate([part.measurements["area_um2"] for part in parts])
    assert table.column("area_um2").tolist() == areas.tolist()
    one = parts[1].select(np.array([2]))
    row = table.row_of(int(one.ids[0]))
    assert row is not None
    assert (table.outline(row) == one.outlines * np.asarray(one.frame.downsample)).all()


def test_the_nucleus_at_a_point_is_that_of_the_label_image(reference: Path, opened: Opened) -> None:
    table = opened.table
    labels = zarr.open_array(str(reference / "labels.ome.zarr/labels/nuclei/0"), mode="r")[:]
    rng = np.random.default_rng(0)
    inside = 0
    for y, x in rng.uniform((0, 0), labels.shape, (300, 2)) * table.frame.downsample:
        row = facts.nucleus_at(table, float(y), float(x))
        found = 0 if row is None else table.ids[row]
        down_y, down_x = table.frame.downsample
        assert found == labels[int(y / down_y), int(x / down_x)]
        inside += found > 0
    assert inside > 30


def test_rows_in_a_box_are_those_with_a_centroid_in_it(opened: Opened) -> None:
    table = opened.table
    inside = (table.y >= 100) & (table.y < 400) & (table.x >= 50) & (table.x < 300)
    assert sorted(table.rows_in(100, 50, 400, 300).tolist()) == np.flatnonzero(inside).tolist()
    triangle = np.array([[100.0, 50.0], [400.0, 50.0], [100.0, 300.0]])
    rows = facts.nuclei_within(table, triangle)
    assert 0 < len(rows) < inside.sum()
    assert ((table.y[rows] - 100) / 300 + (table.x[rows] - 50) / 250 <= 1).all()


def test_a_nucleus_is_described_as_the_table_has_it(opened: Opened) -> None:
    table = opened.table
    about = facts.nucleus_facts(opened, table, 5)
    assert about["id"] == table.ids[5]
    assert about["class"] == table.class_names[table.classes[5]]
    assert {each["name"] for each in about["probabilities"]} == {"round", "long"}
    area = next(each for each in about["measurements"] if each["name"] == "area_um2")
    assert area == {
        "name": "area_um2",
        "label": "Area",
        "unit": "µm²",
        "value": pytest.approx(table.column("area_um2")[5]),
    }


def test_the_histogram_counts_what_is_shown_in_sight(opened: Opened) -> None:
    box = (0.0, 0.0, 500.0, 500.0)
    whole = facts.histogram(opened, Style(), "area_um2", box)
    rows = opened.table.rows_in(*box)
    assert whole["nuclei"] == sum(whole["counts"]) == len(rows)
    one_class = facts.histogram(opened, Style(hidden=frozenset({1})), "area_um2", box)
    assert one_class["nuclei"] == (opened.table.classes[rows] == 0).sum()


def test_a_damaged_part_is_a_sentence_and_the_slide_is_shown(reference: Path, tmp_path: Path) -> None:
    result = tmp_path / "plane.wsinuc"
    shutil.copytree(reference, result)
    part = sorted((result / "nuclei").iterdir())[0]
    content = bytearray(part.read_bytes())
    # Past the numbers, among the outlines, which are read when they are looked at.
    content[len(content) * 3 // 4] ^= 0xFF
    part.write_bytes(content)
    opened = Opened(Source(result))
    assert opened.slide is not None
    assert opened.table is not None
    with pytest.raises(DamageError, match="not the file that was written"):
        opened.nuclei_tile(opened.pyramid.finest, 0, 0, Style())
    part.unlink()
    opened = Opened(Source(result))
    assert opened.table is None
    assert any("is damaged" in problem for problem in opened.problems)
    assert opened.slide_tile(0, 0, 0)[0]


def test_a_missing_slide_is_a_sentence_and_nuclei_are_shown(reference: Path, tmp_path: Path) -> None:
    opened = Opened(Source(reference, tmp_path / "moved.svs"))
    assert opened.slide is None
    assert opened.table is not None
    assert any("cannot be shown" in problem for problem in opened.problems)
    assert opened.pyramid.shape == Opened(Source(reference)).pyramid.shape

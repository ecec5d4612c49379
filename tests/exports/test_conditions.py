"""Exports of some of the nuclei: those for which conditions hold, as they are in an export of all."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import wsinuc
from wsinuc.errors import ConfigError
from wsinuc.exports.formats.registry import FORMATS
from wsinuc.exports.scverse.whole import read_whole
from wsinuc.nuclei import concatenate, read_nuclei
from wsinuc.nuclei.columns import flat_table
from wsinuc.store import iter_nuclei, iter_tables
from wsinuc.store.conditions import Conditions
from wsinuc_cli.main import main


@pytest.fixture(scope="module")
def table(reference: Path) -> pa.Table:
    return pa.concat_tables(iter_tables(reference)).unify_dictionaries()


def lines(text: str) -> list[str]:
    return [row["uuid"] for row in csv.DictReader(text.splitlines())]


UUIDS: dict[str, Callable[[Path], list[str]]] = {
    "csv": lambda path: lines(path.read_text("utf-8")),
    "csv.gz": lambda path: lines(gzip.decompress(path.read_bytes()).decode()),
    "geoparquet": lambda path: pq.read_table(path)["uuid"].to_pylist(),
    "geojson": lambda path: [feature["id"] for feature in json.loads(path.read_text("utf-8"))["features"]],
}
"""Which nuclei a file holds."""


@pytest.mark.parametrize("name", UUIDS)
def test_a_file_holds_the_nuclei_for_which_all_conditions_hold(
    name: str, reference: Path, table: pa.Table, tmp_path: Path
) -> None:
    path = wsinuc.export(reference, name, tmp_path, where=["area_um2>=40", "area_um2 < 60", "class=long"])
    areas = table["area_um2"].to_numpy()
    kept = (areas >= 40) & (areas < 60) & (np.array(table["class"].to_pylist()) == "long")
    assert 0 < kept.sum() < len(kept)
    assert UUIDS[name](path) == table.filter(pa.array(kept))["uuid"].to_pylist()


def test_no_condition_is_no_change(reference: Path, tmp_path: Path) -> None:
    some = wsinuc.export(reference, "geoparquet", tmp_path / "a.parquet", where="probability>0")
    assert pq.read_table(some).equals(pq.read_table(wsinuc.export(reference, "geoparquet", tmp_path / "b.parquet")))
    assert len(read_nuclei(some)) == wsinuc.read(reference).counts["long"] + wsinuc.read(reference).counts["round"]


def test_that_none_is_kept_is_an_empty_file(reference: Path, tmp_path: Path) -> None:
    for name, uuids in UUIDS.items():
        assert uuids(wsinuc.export(reference, name, tmp_path, where="area_um2>1e6")) == []


def test_nuclei_and_tables_are_judged_alike(reference: Path, table: pa.Table) -> None:
    nuclei = concatenate(list(iter_nuclei(reference)))
    for text in ("class!=long", "probability_long >= 0.5", "area_px>150", "id=1,3,5", "x_um<=100", "y != 7"):
        conditions = Conditions.parse(text)
        kept = conditions.holds(table)
        assert 0 < kept.sum() <= len(table)
        assert np.array_equal(conditions.of_nuclei(nuclei).ids, table["id"].to_numpy()[kept])
    assert flat_table(nuclei).column_names == [
        name for name in table.column_names if name not in ("uuid", "bbox", "geometry")
    ]
    assert len(read_whole(reference, where="id=1,3,5").nuclei) == 3


def test_numbers_are_compared_as_the_table_holds_them() -> None:
    table = pa.table({"probability": pa.array([0.6, 0.7, None], pa.float32()), "count": [1, 2, 3]})
    for text, kept in (
        ("probability=0.6", [True, False, False]),
        ("probability<=0.6", [True, False, False]),
        ("probability>0.6", [False, True, False]),
        ("count>=1.5", [False, True, True]),
        ("count=1,3.0", [True, False, True]),
        ("count!=2", [True, False, True]),
    ):
        assert Conditions.parse(text).holds(table).tolist() == kept, text


def test_a_column_that_is_named_twice_may_have_either_value(table: pa.Table) -> None:
    both = Conditions.parse(["class=long", "class=round"])
    assert both == Conditions.parse("class = long , round")
    assert both.holds(table).all()
    assert not Conditions.parse(["class!=long", "class!=round"]).holds(table).any()


def test_quotes_that_reach_the_command_keep_a_value_together() -> None:
    plain = Conditions.parse("class=long")
    assert Conditions.parse('class="long"') == Conditions.parse("class = 'long' ") == plain
    assert Conditions.parse("probability>='0.6'") == Conditions.parse("probability>=0.6")
    odd = Conditions.parse("class='Tumor, NOS',\"O'Brien\",Stroma")
    assert odd.conditions[0].values == ("Tumor, NOS", "O'Brien", "Stroma")
    assert Conditions.parse(odd.texts) == odd


def test_files_that_hold_some_nuclei_say_which(reference: Path, tmp_path: Path) -> None:
    where = ["area_um2 >= 40", "class=long"]
    some = pq.read_metadata(wsinuc.export(reference, "geoparquet", tmp_path / "a.parquet", where=where)).metadata
    assert some[b"wsinuc_where"] == b"area_um2>=40 and class=long"
    assert b"wsinuc_where" not in pq.read_metadata(wsinuc.export(reference, "geoparquet", tmp_path)).metadata
    assert read_whole(reference, where=where).where == ("area_um2>=40", "class=long")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("probability", "a condition on nuclei looks like probability>=0.6"),
        (">=0.6", "a condition on nuclei looks like"),
        ("probability>=", "a condition on nuclei looks like"),
        ("area>=5", "no column 'area': it has id, uuid, y, x"),
        ("probability>=high", "compared with a number with a decimal point, got 'high'"),
        ("probability>=nan", "got 'nan'"),
        ("class>=long", "class is text, which is compared by = or !=, got >="),
        ("class=Long", "no class 'Long': it has round, long"),
        ("class==long", "a condition on nuclei looks like"),
        ("class=long and area_um2<40", "no class 'long and area_um2<40': it has round, long"),
        ("probability>0.5 and area_um2<40", "got '0.5 and area_um2<40'; of several conditions each is a --where"),
        ("geometry=1", "no column 'geometry'"),
    ],
)
def test_what_the_table_cannot_say_is_refused(text: str, says: str, reference: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        wsinuc.export(reference, "csv", tmp_path, where=text)
    assert not list(tmp_path.iterdir())


def test_the_command_keeps_some_and_refuses_formats_that_hold_all(reference: Path, tmp_path: Path) -> None:
    def export(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["export", str(reference), "-o", str(tmp_path), *words])
        return done.exit_code, done.output

    assert export("--to", "csv", "--where", "area_um2>=40", "--where", "class=long")[0] == 0
    assert 0 < len(UUIDS["csv"](tmp_path / "plane.nuclei.csv")) < len(wsinuc.read(reference))
    code, text = export("--to", "csv,ome-zarr", "--where", "area_um2>=40", "--overwrite")
    assert code == 1
    assert "ome-zarr hold all nuclei of a result: export them apart" in text
    assert {name for name, kind in FORMATS.items() if "where" not in kind.options()} == {"ome-zarr", "spatialdata"}

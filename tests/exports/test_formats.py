"""``wsinuc.export``: every format holds the table of the result, whole or not at all."""

from __future__ import annotations

import csv
import errno
import gzip
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from PIL import Image

import wsinuc
from helpers.oracle import OracleSegmenter
from helpers.runs import config, run
from wsinuc.errors import ConfigError, DamageError, DataError, OutputError
from wsinuc.exports.formats import geoparquet
from wsinuc.exports.formats.csv import _class_names, _plain_tables
from wsinuc.exports.formats.registry import FORMATS, Format, parse_formats
from wsinuc.exports.qupath import geojson
from wsinuc.store import iter_nuclei, iter_tables, provenance
from wsinuc.store.conditions import Conditions
from wsinuc.workflows.segment.run import segment_slide

OLD = Path(__file__).parents[1] / "results" / "result-0.2.0.zip"
STREAMED = ("geoparquet", "csv", "csv.gz", "geojson")


@pytest.fixture
def result(reference: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(reference, tmp_path / "plane.wsinuc"))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A result of wsinuc 0.2.0 whose slide is gone."""
    folder = tmp_path / "old"
    with zipfile.ZipFile(OLD) as archive:
        archive.extractall(folder)
    (folder / "plane.tiff").rename(folder / "moved.tiff")
    return folder / "plane.wsinuc"


def whole(result: Path) -> pa.Table:
    return pa.concat_tables(iter_tables(result))


def test_geoparquet_is_the_table_in_one_file(result: Path) -> None:
    path = wsinuc.export(result, to="geoparquet")
    assert path == result.parent / "plane.nuclei.parquet"
    assert pq.read_table(path).equals(whole(result).combine_chunks(), check_metadata=True)
    polygons = shapely.from_wkb(pq.read_table(path)["geometry"].to_pylist())
    areas = np.concatenate([part.areas_px for part in iter_nuclei(result)])
    assert np.allclose(shapely.area(polygons), areas, rtol=1e-6)


def test_row_groups_do_not_depend_on_the_parts(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geoparquet, "ROW_GROUP", 100)
    table = whole(result)
    first = pq.ParquetFile(wsinuc.export(result, to="geoparquet"))
    sizes = [first.metadata.row_group(i).num_rows for i in range(first.num_row_groups)]
    assert set(sizes[:-1]) == {100}
    assert sum(sizes) == table.num_rows
    cut = geoparquet.row_groups((table.slice(i, 7) for i in range(0, table.num_rows, 7)), 100)
    assert [group.num_rows for group in cut] == sizes


def test_csv_has_every_number(result: Path) -> None:
    path = wsinuc.export(result, to="csv")
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    table = whole(result).drop_columns(["bbox", "geometry"])
    assert list(rows[0]) == table.column_names
    for name in ("id", "x_um", "area_um2", "probability", "area_px"):
        values = np.array([row[name] for row in rows]).astype(table[name].type.to_pandas_dtype())
        assert np.array_equal(values, table[name].to_numpy())
    assert [row["class"] for row in rows] == table["class"].to_pylist()
    assert [row["uuid"] for row in rows] == table["uuid"].to_pylist()
    packed = wsinuc.export(result, to="csv.gz")
    assert gzip.decompress(packed.read_bytes()) == path.read_bytes()
    assert packed.read_bytes()[4:8] == bytes(4)


def test_a_class_that_looks_like_a_formula_stays_text() -> None:
    column = pa.chunked_array([pa.array(["=1+1", "a", "=1+1"]).dictionary_encode()])
    assert _class_names(column).to_pylist() == ["'=1+1", "a", "'=1+1"]
    nothing = pa.chunked_array([pa.nulls(2, pa.dictionary(pa.int32(), pa.string()))])
    assert _class_names(nothing).to_pylist() == [None, None]


def test_so_does_the_one_that_a_nucleus_had_before_it_was_classified(monkeypatch: pytest.MonkeyPatch) -> None:
    classes = pa.array(["=1+1", "a"]).dictionary_encode()
    table = pa.table({"id": [1, 2], "class": classes, "original_class": classes})
    monkeypatch.setattr("wsinuc.exports.formats.csv.iter_tables", lambda result: iter([table]))
    (plain,) = _plain_tables(Path(), Conditions())
    assert plain.to_pydict() == {"id": [1, 2], "class": ["'=1+1", "a"], "original_class": ["'=1+1", "a"]}


def test_a_name_that_is_too_long(result: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="its name has 304 bytes"):
        wsinuc.export(result, to="csv", out=tmp_path / ("a" * 300 + ".csv"))


def test_geojson_is_the_one_of_the_result(result: Path) -> None:
    path = wsinuc.export(result, to="geojson")
    assert path.read_bytes() == (result / "nuclei.geojson").read_bytes()
    ids = [feature["id"] for feature in json.loads(path.read_text())["features"]]
    assert ids == whole(result)["uuid"].to_pylist()


@pytest.fixture(scope="module")
def again(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same slide with other workers."""
    folder = tmp_path_factory.mktemp("again") / "again.wsinuc"
    run(slide, folder, workers=3)
    return folder


@pytest.mark.parametrize("name", STREAMED)
def test_the_same_bytes_whatever_the_blocks_and_workers(again: Path, result: Path, name: str) -> None:
    assert wsinuc.export(again, to=name).read_bytes() == wsinuc.export(result, to=name).read_bytes()


@pytest.fixture(scope="module")
def without_nuclei(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a white slide."""
    folder = tmp_path_factory.mktemp("white")
    Image.new("RGB", (300, 200), (255, 255, 255)).save(folder / "white.png")
    segment_slide(folder / "white.png", folder / "white.wsinuc", config(mpp=0.5), segmenter=OracleSegmenter())
    return folder / "white.wsinuc"


@pytest.mark.parametrize("name", STREAMED)
def test_a_slide_without_nuclei(without_nuclei: Path, name: str) -> None:
    path = wsinuc.export(without_nuclei, to=name)
    if name == "geoparquet":
        assert pq.read_table(path).num_rows == 0
    elif name == "geojson":
        assert json.loads(path.read_text())["features"] == []
    else:
        content = path.read_bytes()
        assert (gzip.decompress(content) if name == "csv.gz" else content).count(b"\n") == 1


@pytest.mark.parametrize("name", ["geoparquet", "csv"])
def test_a_result_of_0_2_0_is_exported(old: Path, name: str) -> None:
    path = wsinuc.export(old, to=name)
    features = json.loads((old / "nuclei.geojson").read_text())["features"]
    if name == "csv":
        uuids = [row["uuid"] for row in csv.DictReader(path.read_text().splitlines())]
    else:
        table = pq.read_table(path)
        uuids = table["uuid"].to_pylist()
        areas = shapely.area(shapely.from_wkb(table["geometry"].to_pylist()))
        assert np.array_equal(areas, [shapely.from_geojson(json.dumps(f["geometry"])).area for f in features])
    assert uuids == [feature["id"] for feature in features]


def test_geojson_of_a_result_of_0_2_0_needs_its_slide(old: Path) -> None:
    with pytest.raises(DataError, match=r"0\.2\.0 and does not say .*--slide"):
        wsinuc.export(old, to="geojson")
    assert not list(old.parent.glob("*.geojson*"))
    path = wsinuc.export(old, to="geojson", slide=old.parent / "moved.tiff", outlines="exact")
    assert path.read_bytes() == (old / "nuclei.geojson").read_bytes()


def test_a_result_without_manifest_and_settings_has_no_uuids(old: Path) -> None:
    summary = json.loads((old / "summary.json").read_text())
    for name in ("files", "seal", "settings"):
        del summary[name]
    (old / "summary.json").write_text(json.dumps(summary))
    header = wsinuc.export(old, to="csv").read_text().partition("\n")[0]
    assert "x_um" in header
    assert "uuid" not in header
    with pytest.raises(DataError, match=r"did not note its run, .*segment the slide again with --overwrite"):
        wsinuc.export(old, to="geojson")


def test_a_result_says_its_run(result: Path, old: Path) -> None:
    assert provenance(result).origin_yx == (0, 0)
    assert provenance(old).origin_yx is None


def test_what_is_there_is_kept_unless_told(result: Path) -> None:
    path = wsinuc.export(result, to="csv")
    path.write_text("mine")
    with pytest.raises(OutputError, match=r"plane\.nuclei\.csv is there already: add --overwrite"):
        wsinuc.export(result, to="csv")
    assert path.read_text() == "mine"
    wsinuc.export(result, to="csv", overwrite=True)
    assert path.read_text().startswith('"id","uuid",')


def test_where_it_goes(result: Path, tmp_path: Path) -> None:
    for folder in (tmp_path / "tables", tmp_path / "tables.csv"):
        folder.mkdir()
        assert wsinuc.export(result, to="csv", out=folder) == folder / "plane.nuclei.csv"
    assert wsinuc.export(result, to="csv", out=tmp_path / "a.CSV") == tmp_path / "a.CSV"
    with pytest.raises(OutputError, match=r"a\.txt has another ending than csv \(.*\.csv\)"):
        wsinuc.export(result, to="csv", out=tmp_path / "a.txt")
    with pytest.raises(OutputError, match="there is no folder"):
        wsinuc.export(result, to="csv", out=tmp_path / "nowhere" / "a.csv")


def test_nothing_is_written_into_a_result(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for out in (result, result / "nuclei.geojson", result / "nuclei"):
        with pytest.raises(OutputError, match="lies in the result itself, whose files are sealed"):
            wsinuc.export(result, to="geojson", out=out, overwrite=True)
    monkeypatch.chdir(result)
    assert wsinuc.export(".", to="csv") == result.parent / "plane.nuclei.csv"
    assert wsinuc.verify(result).state == "whole"


@pytest.mark.parametrize("name", STREAMED)
def test_a_damaged_result_leaves_nothing(result: Path, name: str) -> None:
    part = sorted((result / "nuclei").iterdir())[-1]
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    with pytest.raises(DamageError, match=part.name):
        wsinuc.export(result, to=name)
    assert [path.name for path in result.parent.iterdir()] == ["plane.wsinuc"]
    part.unlink()
    with pytest.raises(DamageError, match="is missing; wsinuc verify"):
        wsinuc.export(result, to=name)


@pytest.mark.parametrize("name", STREAMED)
def test_a_full_disk_keeps_the_old_file_and_leaves_no_scraps(
    result: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = wsinuc.export(result, to=name)
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=rf"cannot write .*{path.name}: No space left"):
        wsinuc.export(result, to=name, overwrite=True)
    assert path.read_text() == "old"
    assert sorted(item.name for item in result.parent.iterdir()) == sorted([path.name, "plane.wsinuc"])


def test_what_is_no_result(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="expected the folder of a finished result"):
        wsinuc.export(tmp_path, to="csv")
    with pytest.raises(OutputError, match="is a URL"):
        wsinuc.export("memory://bucket/plane.wsinuc", to="csv")


def test_formats_and_options_that_are_none(result: Path) -> None:
    with pytest.raises(ConfigError, match=r"no format 'xlsx': choose from geoparquet, csv, "):
        wsinuc.export(result, to="xlsx")
    with pytest.raises(ConfigError, match="the format csv has no option slide: it has where"):
        wsinuc.export(result, to="csv", slide="a.tiff")
    with pytest.raises(ConfigError, match="one format"):
        wsinuc.export(result, to="csv,geojson")


def test_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Format(name="odd", about="", writer="", endings=(".odd",), packages=("no_such_package",), extra="odd")
    monkeypatch.setitem(FORMATS, "odd", kind)
    with pytest.raises(ConfigError, match=r"needs no_such_package, .*pip install 'wsinuc\[odd\]'"):
        parse_formats("csv, odd")


def _store(result: Path, out: Path, *, fail: bool = False) -> None:
    out.mkdir()
    (out / "zarr.json").write_text(f"{len(list(result.iterdir()))}")
    if fail:
        raise OutputError("the disk is full")


def test_a_folder_makes_room_only_when_the_new_one_is_whole(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Format(name="odd", about="", writer=f"{__name__}:_store", endings=(".zarr",))
    monkeypatch.setitem(FORMATS, "odd", kind)
    monkeypatch.setattr(Format, "load", lambda self: _store)
    path = wsinuc.export(result, to="odd")
    (path / "old").touch()
    with pytest.raises(OutputError, match="the disk is full"):
        wsinuc.export(result, to="odd", overwrite=True, fail=True)
    assert (path / "old").exists()
    wsinuc.export(result, to="odd", overwrite=True)
    assert [item.name for item in path.iterdir()] == ["zarr.json"]
    assert sorted(item.name for item in result.parent.iterdir()) == ["plane.wsinuc", "plane.zarr"]
    (path / "zarr.json").rename(path / "notes.txt")
    with pytest.raises(OutputError, match="no Zarr store, so it is not replaced"):
        wsinuc.export(result, to="odd", overwrite=True)


def test_many_nuclei_go_into_a_zip_for_qupath(result: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geojson, "ONE_FILE_LIMIT", 10)
    assert wsinuc.export(result, to="geojson").name == "plane.nuclei.geojson.zip"
    assert wsinuc.export(result, to="csv").name == "plane.nuclei.csv"


@pytest.mark.parametrize("kind", FORMATS.values(), ids=FORMATS)
def test_every_format_is_a_function_of_result_and_out(kind: Format) -> None:
    kind.check_options([])
    assert kind.about

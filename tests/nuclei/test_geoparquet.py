"""The table as GeoParquet: polygons in WKB, their metadata, and tables of the version before."""

from __future__ import annotations

import json
import uuid
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from helpers.entries import some_nuclei
from wsinuc.errors import DataError
from wsinuc.nuclei import Frame, Nuclei, read_nuclei, write_nuclei
from wsinuc.nuclei import wkb as wkb_module
from wsinuc.nuclei.columns import Provenance
from wsinuc.nuclei.parquet import read_provenance, read_table
from wsinuc.nuclei.table import empty
from wsinuc.nuclei.wkb import bounds, from_wkb, to_wkb

RUN = Provenance(run_id="r", origin_yx=(8.0, 4.0))
SQUARE = np.array([[5, 20], [5, 35], [15, 35], [15, 20]], np.int32)
TRIANGLE = np.array([[0, 0], [0, 3], [4, 3]], np.int32)
RINGS = np.concatenate([SQUARE, TRIANGLE, SQUARE + 2**20])
OFFSETS = np.array([0, 4, 7, 11])


@pytest.mark.parametrize("downsample", [(1.0, 1.0), (2.0, 4.0), (1.9787, 1.9791), (1 / 3, 7.1)])
def test_polygons_are_those_that_shapely_builds_and_come_back_exactly(downsample) -> None:
    column = to_wkb(RINGS, OFFSETS, downsample)
    xy = (RINGS * np.array(downsample))[:, ::-1]
    expected = [shapely.Polygon(xy[a:b]) for a, b in pairwise(OFFSETS)]
    assert column.to_pylist() == [shapely.to_wkb(polygon, byte_order=1) for polygon in expected]
    outlines, offsets = from_wkb(column, downsample)
    assert np.array_equal(outlines, RINGS)
    assert np.array_equal(offsets, OFFSETS)
    assert outlines.dtype == np.int32
    assert offsets.dtype == np.int64
    boxes = np.column_stack(list(bounds(RINGS, OFFSETS, downsample).values()))
    assert np.array_equal(boxes, shapely.bounds(expected))


def test_rings_run_as_the_metadata_says() -> None:
    (polygon,) = shapely.from_wkb(to_wkb(SQUARE, np.array([0, 4]), (1.0, 1.0)).to_pylist())
    assert shapely.is_ccw(polygon.exterior)


def test_many_polygons_take_several_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = to_wkb(RINGS, OFFSETS, (2.0, 2.0))
    monkeypatch.setattr(wkb_module, "MAX_ROWS", 2)
    column = to_wkb(RINGS, OFFSETS, (2.0, 2.0))
    assert column.num_chunks == 2
    assert column.to_pylist() == whole.to_pylist()
    assert np.array_equal(from_wkb(column.slice(1), (2.0, 2.0))[0], RINGS[4:])
    assert np.array_equal(from_wkb(whole.slice(1), (2.0, 2.0))[1], OFFSETS[1:] - 4)


def test_no_polygons() -> None:
    column = to_wkb(np.zeros((0, 2), np.int32), np.zeros(1, np.int64), (1.0, 1.0))
    assert column.type == pa.binary()
    assert from_wkb(column, (1.0, 1.0))[1].tolist() == [0]


HOLED = shapely.Polygon([(0, 0), (9, 0), (9, 9)], [[(4, 1), (5, 1), (5, 2)]])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        None,
        shapely.to_wkb(HOLED),
        shapely.to_wkb(shapely.Point(1, 2)),
        shapely.to_wkb(shapely.Polygon([(0, 0), (1.5, 0), (1, 1)])),
        shapely.to_wkb(shapely.Polygon([(0, 0), (2.0**40, 0), (1, 1)])),
        shapely.to_wkb(shapely.Polygon([(0, 0), (3, 0), (1, 1)]), byte_order=0),
        shapely.to_wkb(shapely.Polygon([(0, 0), (3, 0), (1, 1)]))[:-16] + bytes([255] * 16),
    ],
)
def test_other_polygons_are_refused(content) -> None:
    with pytest.raises(ValueError, match=r"geometry|ring|corner"):
        from_wkb(pa.chunked_array([pa.array([content], pa.binary())]), (1.0, 1.0))


def test_a_file_says_what_geoparquet_asks_for(tmp_path) -> None:
    nuclei = some_nuclei()
    write_nuclei(nuclei, tmp_path / "part.parquet", RUN)
    table = pq.read_table(tmp_path / "part.parquet")
    geo = json.loads(table.schema.metadata[b"geo"])
    (column,) = geo["columns"].values()
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    assert (column["encoding"], column["geometry_types"], column["crs"]) == ("WKB", ["Polygon"], None)
    polygons = shapely.from_wkb(table["geometry"].to_pylist())
    assert shapely.is_valid(polygons).all()
    assert shapely.area(polygons).tolist() == nuclei.areas_px.tolist()
    boxes = [list(box.values()) for box in table["bbox"].to_pylist()]
    assert boxes == shapely.bounds(polygons).tolist()
    namespace = uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, "wsinuc:nucleus"), "r")
    assert table["uuid"].to_pylist() == [str(uuid.uuid5(namespace, str(number))) for number in nuclei.ids]
    assert read_provenance(tmp_path / "part.parquet") == RUN


def test_nuclei_without_final_ids_have_no_uuid(tmp_path) -> None:
    write_nuclei(some_nuclei(), tmp_path / "block.parquet")
    assert "uuid" not in read_table(tmp_path / "block.parquet").column_names
    assert read_provenance(tmp_path / "block.parquet") is None


@pytest.mark.parametrize("nuclei", [some_nuclei(), empty(Frame(mpp=0.25, downsample=(1.0, 1.0)), ("a",), ((1, 2, 3),))])
def test_a_table_of_version_1_is_read_and_brought_to_today(tmp_path, nuclei: Nuclei) -> None:
    write_nuclei(nuclei, tmp_path / "new.parquet", RUN)
    _write_version_1(nuclei, tmp_path / "old.parquet")
    old = read_nuclei(tmp_path / "old.parquet")
    assert np.array_equal(old.outlines, nuclei.outlines)
    assert np.array_equal(old.offsets, nuclei.offsets)
    table = read_table(tmp_path / "old.parquet", provenance=RUN)
    assert table.equals(read_table(tmp_path / "new.parquet"), check_metadata=True)
    assert "uuid" not in read_table(tmp_path / "old.parquet").column_names


def _write_version_1(nuclei: Nuclei, path) -> None:
    """As wsinuc 0.2.0 wrote it, as far as readers look."""
    write_nuclei(nuclei, path)
    table = pq.read_table(path).drop_columns(["bbox", "geometry", "y_um", "x_um"])
    lists = [nuclei.outlines[a:b].reshape(-1) for a, b in pairwise(nuclei.offsets)]
    table = table.append_column("outline", pa.array(lists, pa.list_(pa.int32())))
    header = {**json.loads(table.schema.metadata[b"wsinuc"]), "version": 1}
    del header["seal"]
    pq.write_table(table.replace_schema_metadata({b"wsinuc": json.dumps(header)}), path)


def test_a_table_of_a_later_version_is_refused_with_what_to_do(tmp_path) -> None:
    write_nuclei(some_nuclei(), tmp_path / "part.parquet")
    table = pq.read_table(tmp_path / "part.parquet")
    header = {**json.loads(table.schema.metadata[b"wsinuc"]), "version": 3}
    pq.write_table(table.replace_schema_metadata({b"wsinuc": json.dumps(header)}), tmp_path / "part.parquet")
    with pytest.raises(DataError, match=r"version 3, this wsinuc reads up to 2: use the wsinuc that wrote it"):
        read_nuclei(tmp_path / "part.parquet")


def test_damaged_polygons_are_a_data_error(tmp_path) -> None:
    write_nuclei(some_nuclei(), tmp_path / "part.parquet")
    table = pq.read_table(tmp_path / "part.parquet")
    place = table.column_names.index("geometry")
    table = table.set_column(place, "geometry", pa.array([b"", b"", b""], pa.binary()))
    pq.write_table(table, tmp_path / "part.parquet")
    with pytest.raises(DataError, match=r"part.parquet is damaged: .*no polygon of one ring"):
        read_nuclei(tmp_path / "part.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns(["bbox", "x_um"]), "without bbox, x_um"),
        (lambda table: table.drop_columns(["id"]), "without id"),
        (lambda table: table.set_column(8, "class", pa.array(["a", "b", "c"])), "class is string"),
    ],
)
def test_columns_that_are_others_are_a_data_error(tmp_path, change, message) -> None:
    write_nuclei(some_nuclei(), tmp_path / "part.parquet", RUN)
    pq.write_table(change(pq.read_table(tmp_path / "part.parquet")), tmp_path / "part.parquet")
    with pytest.raises(DataError, match=rf"part.parquet is damaged: .*{message}"):
        read_table(tmp_path / "part.parquet")

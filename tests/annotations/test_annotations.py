"""GeoJSON from outside: what QuPath writes is read whole, what is odd gives one line, and large files cost little."""

from __future__ import annotations

import json
import sys
import tracemalloc
import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.files.annotations import ODD, circle, collection, outlines_of, polygon, square, star, write
from wsinuc.annotations import features, files, read_features
from wsinuc.annotations.coordinates import Coordinates
from wsinuc.annotations.events import json_events
from wsinuc.errors import DataError
from wsinuc.exports.qupath.check import check_geojson
from wsinuc.exports.qupath.geometry import crosses_itself
from wsinuc.tissue import load_region
from wsinuc.tissue.outlines import Outlines

CASES = Path(__file__).parents[1] / "qupath_cases"


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_read_or_refused_in_one_line(tmp_path: Path, name: str) -> None:
    content, said = ODD[name]
    path = tmp_path / "a.geojson"
    path.write_bytes(content)
    check_geojson(path)  # never raises
    if said is None:
        assert load_region(path).outlines.bounds == (0, 0, 9, 9)
        return
    with pytest.raises(DataError, match=said) as caught:
        load_region(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 500
    assert str(caught.value).isprintable()


def test_every_kind_of_feature(tmp_path: Path) -> None:
    points = {"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]}
    several = {
        "type": "GeometryCollection",
        "geometries": [polygon(square(0, 0, 2, 2))["geometry"], {"type": "Point", "coordinates": [5, 6]}],
    }
    ellipse = polygon(square(0, 0, 4, 4), classification={"names": ["Immune", "CD3"], "color": [1, 2, 3]})
    ellipse["geometry"]["isEllipse"] = True
    inner = polygon(square(1, 1, 2, 2), objectType="detection")
    content = collection(
        {"type": "Feature", "id": "a", "geometry": points, "properties": {"classification": "Tumor"}},
        {"type": "Feature", "geometry": several, "properties": {"name": "two", "objectType": "annotation"}},
        ellipse,
        polygon(square(0, 0, 9, 9), childObjects=[inner]),
        {"type": "Feature", "geometry": None, "properties": {}},
    )
    found = list(read_features(write(tmp_path / "a.geojson", content)))
    assert [(f.kind, f.class_name, f.name, f.object_type, f.id) for f in found] == [
        ("MultiPoint", "Tumor", None, None, "a"),
        ("Polygon", None, "two", "annotation", None),
        ("Point", None, "two", "annotation", None),
        ("Polygon", "Immune: CD3", None, None, None),
        ("Polygon", None, None, None, None),
        ("Polygon", None, None, "detection", None),
    ]
    assert [f.geometry.wkt for f in found[:3]] == [
        "MULTIPOINT ((1 2), (3 4))",
        "POLYGON ((0 0, 2 0, 2 2, 0 2, 0 0))",
        "POINT (5 6)",
    ]


NUMBERS = st.floats(-1e6, 1e6).map(lambda value: round(value, 2))
RINGS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=6).map(lambda ring: [*ring, ring[0]])
POLYGONS = st.lists(RINGS, min_size=1, max_size=3)


@given(st.lists(POLYGONS, min_size=1, max_size=3), st.sampled_from(["Polygon", "MultiPolygon", "MultiLineString"]))
def test_geometries_are_those_of_shapely(parts: list, kind: str) -> None:
    coordinates = parts if kind == "MultiPolygon" else parts[0]
    geometry = {"type": kind, "coordinates": coordinates}
    text = json.dumps({"type": "Feature", "geometry": geometry, "properties": {}}).encode()
    (item,) = features.raw_features(json_events(BytesIO(text)))
    found = item["geometry"]["coordinates"]
    assert isinstance(found, Coordinates)
    assert found.flaw_as(kind) is None
    assert found.to_shapely(kind).equals_exact(shapely.from_geojson(json.dumps(geometry)))


class TestZip:
    def test_a_zip_is_what_is_in_it(self, tmp_path: Path) -> None:
        content = collection(polygon(square(0, 0, 9, 9)), polygon(star(20)))
        plain = load_region(write(tmp_path / "a.geojson", content)).outlines
        packed = load_region(write(tmp_path / "a.zip", content)).outlines
        for name in ("xy", "ring_ends", "part_ends"):
            np.testing.assert_array_equal(getattr(plain, name), getattr(packed, name))

    def test_all_entries_count_and_those_of_macos_do_not(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("a.geojson", json.dumps(polygon(square(0, 0, 1, 1))))
            archive.writestr("__MACOSX/._a.geojson", b"\0\5\x16\7")
            archive.writestr("folder/b.json", json.dumps([polygon(square(5, 5, 9, 9))]))
            archive.writestr("readme.txt", "hello")
        assert load_region(tmp_path / "a.zip").outlines.bounds == (0, 0, 9, 9)
        assert [f.where for f in read_features(tmp_path / "a.zip")] == [
            f"{tmp_path / 'a.zip'}, a.geojson, feature 0",
            f"{tmp_path / 'a.zip'}, folder/b.json, feature 0",
        ]

    def test_what_is_wrong_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path / "a.zip", polygon(square(0, 0, 1, 1)))
        whole = path.read_bytes()
        for content, said in (
            (b"", "damaged"),
            (whole[:-30], "damaged"),
            (whole.replace(b"\x08\0", b"\x63\0"), "cannot read"),
        ):
            path.write_bytes(content)
            with pytest.raises(DataError, match=said):
                load_region(path)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "")
        with pytest.raises(DataError, match=r"without a .geojson file"):
            load_region(path)
        path.write_bytes(whole)
        monkeypatch.setattr(files, "MAX_ENTRIES", 0)
        with pytest.raises(DataError, match="1 entries"):
            load_region(path)
        with pytest.raises(DataError, match="is a directory"):
            load_region(tmp_path)

    def test_a_bomb_is_not_unpacked(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.geojson", bytes(4 << 20))
        with pytest.raises(DataError, match="more than 200 times"):
            load_region(tmp_path / "a.zip")


@given(st.integers(0, 2**32 - 1), st.integers(3, 9), st.sampled_from([3, 40]))
@settings(max_examples=60, deadline=None)
def test_points_lie_where_shapely_has_them(seed: int, corners: int, size: int) -> None:
    """Also in rings that cross themselves, and for points on corners and edges: whole numbers make these frequent."""
    rng = np.random.default_rng(seed)
    shapes = [shapely.Polygon(rng.integers(0, size, (corners, 2))) for _ in range(3)]
    points = rng.integers(0, 2 * size, (200, 2)) / 2
    expected = np.zeros(len(points), bool)
    for shape in shapes:
        # GEOS puts points beside a ring that goes there and back into it; such a ring has no inside.
        if shapely.make_valid(shape).area > 0:
            shapely.prepare(shape)
            expected |= shapely.contains_xy(shape, points)
    xy = np.concatenate([shapely.get_coordinates(shape) for shape in shapes])
    ring_ends = np.cumsum([len(shapely.get_coordinates(shape)) for shape in shapes])
    outlines = Outlines(xy, ring_ends, np.arange(1, 4))
    np.testing.assert_array_equal(outlines.contains(points), expected)


def test_overlapping_polygons_unite_and_holes_stay() -> None:
    shape = shapely.box(0, 0, 10, 10).difference(shapely.box(3, 3, 6, 6))
    xy = np.concatenate([outlines_of(shape).xy, shapely.get_coordinates(shapely.box(5, 5, 20, 20))])
    outlines = Outlines(xy, np.array([5, 10, 15]), np.array([2, 3]))
    points = np.array([[1.0, 1], [4, 4], [5.5, 5.5], [8, 8], [15, 15], [15, 1]])
    assert outlines.contains(points).tolist() == [True, False, True, True, True, False]
    mask = outlines.touched_cells((21, 21), (1.0, 1.0))
    assert not mask[4, 4]
    assert mask[5, 5]
    assert mask[8, 8]
    assert not mask[15, 1]
    assert mask.sum() == 11 * 11 + 16 * 16 - 6 * 6 - 3  # of the hole, which its edges touch all around


def test_far_corners_and_flat_polygons_cost_nothing() -> None:
    ring = np.array([[-1e9, 5.0], [1e9, 5.0], [1e9, 5.2], [-1e9, 5.2]])
    mask = Outlines(ring, np.array([4]), np.array([1])).touched_cells((9, 9), (1.0, 1.0))
    assert mask.sum(axis=1).tolist() == [0, 0, 0, 0, 0, 9, 0, 0, 0]


def test_a_crossing_is_found_where_there_is_one() -> None:
    def crosses(*rings: list) -> bool:
        return crosses_itself(np.concatenate(rings, dtype=np.float64), np.cumsum([len(ring) for ring in rings]))

    assert crosses(star(40))
    assert crosses([[0, 0], [9, 9], [9, 0], [0, 9], [0, 0]])
    assert crosses(square(0, 0, 9, 9), square(5, 5, 12, 8))
    assert not crosses(circle(500))
    assert not crosses(square(0, 0, 9, 9), square(2, 2, 5, 5))
    assert not crosses([[0, 0], [9, 0], [9, 9], [5, 9], [5, 12], [5, 9], [0, 9], [0, 0]])  # a spike
    assert not crosses([[0, 0], [4, 4], [8, 0], [8, 8], [4, 4], [0, 8], [0, 0]])  # touches itself


def test_a_ring_that_crosses_itself_is_not_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GEOS computes all crossings, whose number grows with the square of the corners: it must not be asked to."""
    path = write(tmp_path / "a.geojson", collection(polygon(star(3000))))
    for name in ("make_valid", "set_precision", "union_all", "intersection"):
        monkeypatch.setattr(shapely, name, None)
    region = load_region(path)
    assert len(region.outlines.xy) == 3001
    assert {finding.reason.partition(",")[0] for finding in check_geojson(path).problems} == {
        "a polygon crosses itself"
    }


READERS = {"region": load_region, "check": check_geojson}
FORMS = {
    "one polygon": lambda n: json.dumps(polygon(circle(n, 20_000))),
    "many polygons": lambda n: json.dumps(collection(*(polygon(square(k, k, k + 7, k + 9)) for k in range(n // 5)))),
    "brackets": lambda n: '{"type": "FeatureCollection", "features": [' + "[]," * (3 * n) + "[]]}",
    "values": lambda n: '{"type": "FeatureCollection", "features": [{"a": [' + "1," * (50 * n) + "1]}]}",
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("form", FORMS)
def test_memory_grows_by_at_most_four_times_the_file(tmp_path: Path, kind: str, form: str) -> None:
    """Two sizes, so that buffers, which do not grow, do not count."""
    peaks = []
    sizes = []
    for n in (5_000, 15_000):
        path = tmp_path / "a.geojson"
        path.write_text(FORMS[form](n))
        tracemalloc.start()
        with suppress(DataError):
            READERS[kind](path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        sizes.append(path.stat().st_size)
    assert peaks[1] - peaks[0] < 4 * (sizes[1] - sizes[0])


@pytest.mark.parametrize("form", FORMS)
def test_the_work_grows_with_the_file(tmp_path: Path, form: str) -> None:
    """Counted in steps of the interpreter, which no other load on the machine changes."""

    def steps(size: int) -> int:
        path = tmp_path / "a.geojson"
        path.write_text(FORMS[form](size))
        count = 0

        def step(*_: object) -> None:
            nonlocal count
            count += 1

        sys.setprofile(step)
        with suppress(DataError):
            load_region(path)
        sys.setprofile(None)
        return count

    assert steps(8000) < 4.5 * steps(2000)

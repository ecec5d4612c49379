"""The GeoJSON that we write: exact, valid, the same bytes every time, and nothing that QuPath refuses or misreads."""

from __future__ import annotations

import dataclasses
import gzip
import json
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import shapely
import shapely.geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wsinuc.errors import DataError, OutputError
from wsinuc.exports.qupath import geojson, polygons
from wsinuc.exports.qupath.check import check_geojson
from wsinuc.exports.qupath.class_names import check_class_names
from wsinuc.exports.qupath.geojson import default_geojson_name, write_geojson
from wsinuc.grid import Box
from wsinuc.labels import fill_enclosed, paint_outlines, relabel
from wsinuc.nuclei import Frame, Nuclei, empty
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.nuclei.measure import measure

CLASSES = (NucleusClass("Epithelial", (200, 0, 0)), NucleusClass("Immune", (0, 0, 200)))
LABELS = hnp.arrays(np.int32, (12, 14), elements=st.sampled_from([0, 0, 1, 2, 3]))
DOWNSAMPLES = st.sampled_from([(1.0, 1.0), (2.0, 2.0), (1.9987, 2.0013), (0.5, 0.5), (3.7, 3.7)])


def table(labels: np.ndarray, downsample: tuple[float, float] = (1.0, 1.0)) -> Nuclei:
    scores = np.random.default_rng(0).integers(0, 256, (4, *labels.shape), dtype=np.uint8)
    return measure(labels, scores, Box.of_shape(labels.shape), Frame(0.25, downsample), CLASSES).with_ids(1)


def squares(count: int, side: int = 4) -> Nuclei:
    labels = np.zeros((side, count * (side + 1)), np.int32)
    for i in range(count):
        labels[:, i * (side + 1) : i * (side + 1) + side] = i + 1
    return table(labels)


def with_ring(ring: list[tuple[int, int]]) -> Nuclei:
    """One nucleus with the given outline (y, x), whatever it encloses."""
    one = squares(1)
    return dataclasses.replace(one, outlines=np.array(ring, np.int32), offsets=np.array([0, len(ring)]))


def features(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["features"]


def rings_in_view(path: Path, downsample: tuple[float, float], origin: tuple[float, float]) -> list[np.ndarray]:
    """Outer rings (y, x) back in view pixels, as fractions."""
    rings = [np.array(f["geometry"]["coordinates"][0][:-1], float)[:, ::-1] for f in features(path)]
    return [(ring + origin) / downsample for ring in rings]


@settings(max_examples=60, deadline=None)
@given(labels=LABELS, downsample=DOWNSAMPLES, origin=st.sampled_from([(0, 0), (7, 1000), (12.5, 3.25)]))
def test_outlines_fill_back_to_the_same_pixels(
    tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray, downsample: tuple, origin: tuple
) -> None:
    labels = relabel(fill_enclosed(relabel(labels)))
    path = tmp_path_factory.mktemp("out") / "a.geojson"
    nuclei = table(labels, downsample)
    report = write_geojson([nuclei], path, origin_yx=origin, run_id="r", outlines="exact")
    assert report.count + report.dropped == len(nuclei)
    assert check_geojson(path).findings == () or not report.count
    rings = rings_in_view(path, downsample, origin)
    if report.dropped or not rings:
        return
    corners = np.rint(np.concatenate(rings)).astype(np.int32)
    assert np.abs(np.concatenate(rings) - corners).max() < 0.02
    offsets = np.concatenate([[0], np.cumsum([len(ring) for ring in rings])])
    painted = paint_outlines(corners, offsets, nuclei.ids.astype(np.int32), Box.of_shape(labels.shape), dtype=np.int32)
    assert np.array_equal(painted, labels)


def test_every_field_of_a_feature(tmp_path: Path) -> None:
    labels = np.zeros((8, 9), np.int32)
    labels[2:6, 3:8] = 1
    nuclei = table(labels, (2.0, 2.0))
    write_geojson([nuclei], tmp_path / "a.geojson", origin_yx=(1, 2), run_id="run", outlines="exact")
    (feature,) = features(tmp_path / "a.geojson")
    assert feature["type"] == "Feature"
    assert uuid.UUID(feature["id"]) == uuid.uuid5(
        uuid.uuid5(uuid.uuid5(uuid.NAMESPACE_URL, "wsinuc:nucleus"), "run"), "1"
    )
    assert feature["geometry"]["type"] == "Polygon"
    assert feature["geometry"]["coordinates"] == [[[4, 3], [14, 3], [14, 11], [4, 11], [4, 3]]]
    properties = feature["properties"]
    assert properties["objectType"] == "detection"
    assert properties["classification"] in [{"name": c.name, "color": list(c.color)} for c in CLASSES]
    measured = properties["measurements"]
    assert list(measured) == [
        *geojson.SHAPE_NAMES.values(),
        "Detection probability",
        "Uncertainty",
        "Probability: Epithelial",
        "Probability: Immune",
    ]
    assert measured["Nucleus: Area µm^2"] == 20 * 0.25**2
    assert measured["Detection probability"] == pytest.approx(nuclei.probabilities[0], abs=1e-4)


def test_measurements_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    nuclei = squares(2)
    nuclei.measurements["solidity"][0] = np.nan
    write_geojson([nuclei], tmp_path / "a.geojson", run_id="r")
    first, second = (f["properties"]["measurements"] for f in features(tmp_path / "a.geojson"))
    assert "Nucleus: Solidity" not in first
    assert "Nucleus: Solidity" in second


def test_one_class_needs_no_class_probabilities(tmp_path: Path) -> None:
    labels = np.ones((4, 4), np.int32)
    scores = np.full((3, 4, 4), 200, np.uint8)
    write_geojson(
        [measure(labels, scores, Box(0, 0, 4, 4), Frame(1.0, (1, 1)), CLASSES[:1])], tmp_path / "a.geojson", run_id="r"
    )
    assert not any(
        name.startswith("Probability") for name in features(tmp_path / "a.geojson")[0]["properties"]["measurements"]
    )


@pytest.mark.parametrize("name", ["a.geojson", "a.geojson.gz", "a.zip"])
def test_same_bytes_however_the_table_is_cut(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geojson, "SHARD", 7)
    monkeypatch.setattr(geojson, "_BATCH", 3)
    nuclei = squares(20)
    cut = [nuclei.select(np.arange(a, b)) for a, b in ((0, 1), (1, 1), (1, 12), (12, 20))]
    write_geojson([nuclei], tmp_path / name, run_id="r")
    first = (tmp_path / name).read_bytes()
    write_geojson(iter(cut), tmp_path / name, run_id="r")
    assert (tmp_path / name).read_bytes() == first
    assert check_geojson(tmp_path / name).findings == ()
    assert check_geojson(tmp_path / name).by_type == {"detection": 20}
    write_geojson([nuclei], tmp_path / name, run_id="another")
    assert (tmp_path / name).read_bytes() != first


def test_compressed_forms_hold_the_plain_one(tmp_path: Path) -> None:
    for name in ("a.geojson", "a.geojson.gz", "a.zip"):
        write_geojson([squares(5)], tmp_path / name, run_id="r")
    plain = (tmp_path / "a.geojson").read_bytes()
    assert gzip.decompress((tmp_path / "a.geojson.gz").read_bytes()) == plain
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["nuclei-00000.geojson"]
        assert archive.read("nuclei-00000.geojson") == plain
    assert len(plain.splitlines()) == 5 + 2


@pytest.mark.parametrize(("count", "shards"), [(0, [0]), (1, [1]), (7, [7]), (8, [7, 1]), (14, [7, 7])])
def test_shards_are_full_but_the_last(
    tmp_path: Path, count: int, shards: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geojson, "SHARD", 7)
    parts = [squares(count)] if count else []
    assert write_geojson(parts, tmp_path / "a.zip", run_id="r").count == count
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        found = [len(json.loads(archive.read(name))["features"]) for name in archive.namelist()]
    assert found == shards


def test_no_nuclei_is_a_valid_empty_file(tmp_path: Path) -> None:
    report = write_geojson([empty(Frame(0.5, (1.0, 1.0)), ("a",), ((1, 2, 3),))], tmp_path / "a.geojson", run_id="r")
    assert (report.count, features(tmp_path / "a.geojson")) == (0, [])
    assert check_geojson(tmp_path / "a.geojson").ok


def test_a_ring_that_touches_itself_keeps_its_pixels(tmp_path: Path) -> None:
    """A C whose ends meet at a corner encloses a background pixel; the polygon must not swallow it."""
    ring = [(0, 0), (0, 3), (2, 3), (2, 2), (1, 2), (1, 1), (2, 1), (2, 2), (3, 2), (3, 0)]
    report = write_geojson([with_ring(ring)], tmp_path / "a.geojson", run_id="r", outlines="exact")
    (feature,) = features(tmp_path / "a.geojson")
    polygon = shapely.geometry.shape(feature["geometry"])
    assert (report.count, report.repaired) == (1, 1)
    assert polygon.is_valid
    assert polygon.area == 7
    assert not polygon.contains(shapely.Point(1.5, 1.5))
    assert check_geojson(tmp_path / "a.geojson").ok


def test_a_crossing_ring_is_cut_to_its_largest_part(tmp_path: Path) -> None:
    report = write_geojson([with_ring([(0, 0), (10, 11), (10, 0), (0, 7)])], tmp_path / "a.geojson", run_id="r")
    polygon = shapely.geometry.shape(features(tmp_path / "a.geojson")[0]["geometry"])
    assert (report.count, report.repaired) == (1, 1)
    assert polygon.is_valid
    assert polygon.geom_type == "Polygon"
    assert check_geojson(tmp_path / "a.geojson").ok


@pytest.mark.parametrize("ring", [[], [(1, 1)], [(0, 0), (5, 5)], [(0, 0), (0, 5), (0, 9)], [(2, 2)] * 6])
def test_what_has_no_area_is_dropped_and_counted(tmp_path: Path, ring: list[tuple[int, int]]) -> None:
    kept = squares(3)
    bad = (
        with_ring([*ring])
        if ring
        else dataclasses.replace(squares(1), outlines=np.empty((0, 2), np.int32), offsets=np.array([0, 0]))
    )
    report = write_geojson([kept, bad], tmp_path / "a.geojson", run_id="r")
    assert (report.count, report.dropped) == (3, 1)
    assert check_geojson(tmp_path / "a.geojson").findings == ()


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=7))
def test_staircases_that_are_called_valid_are_valid(steps: list[tuple[int, int]]) -> None:
    """Random closed staircases, most of which cross themselves: the quick answer is never yes when GEOS says no."""
    corners = [(0, 0)]
    for dy, dx in steps:
        y, x = corners[-1]
        corners += [(y + dy, x), (y + dy, x + dx)]
    corners += [(0, corners[-1][1]), (0, 0)]
    ring = np.array(corners, float)
    if polygons._plainly_valid(ring, np.array([0, len(ring)]))[0]:
        assert shapely.Polygon(ring).is_valid


def test_outlines_of_pixels_are_seen_to_be_valid() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (60, 60), dtype=np.int32)
    nuclei = table(relabel(fill_enclosed(relabel(labels))), (1.9987, 2.0013))
    found = polygons.level0_polygons(nuclei, 0, len(nuclei), (0.0, 0.0))
    assert polygons._plainly_valid(found.xy, found.offsets).all()


@pytest.mark.parametrize("name", ["a.geojson", "a.geojson.gz", "a.zip"])
def test_threads_do_not_change_the_bytes(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geojson, "SHARD", 7)
    monkeypatch.setattr(geojson, "_BATCH", 3)
    for workers in (1, 4):
        write_geojson([squares(40)], tmp_path / f"{workers}{name}", run_id="r", workers=workers)
    assert (tmp_path / f"1{name}").read_bytes() == (tmp_path / f"4{name}").read_bytes()


def test_repeated_corners_are_written_once(tmp_path: Path) -> None:
    write_geojson(
        [with_ring([(0, 0), (0, 0), (0, 4), (4, 4), (4, 4), (4, 0), (0, 0)])],
        tmp_path / "a.geojson",
        run_id="r",
        outlines="exact",
    )
    assert features(tmp_path / "a.geojson")[0]["geometry"]["coordinates"] == [[[4, 0], [4, 4], [0, 4], [0, 0], [4, 0]]]


@pytest.mark.parametrize("name", ["", "  ", "Immune: CD3", "a\nb", " Tumor", "a\u2028b"])
def test_class_names_that_qupath_misreads_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="QuPath"):
        check_class_names(["fine", name])
    nuclei = dataclasses.replace(squares(1), class_names=("fine", name))
    with pytest.raises(DataError, match="QuPath"):
        write_geojson([nuclei], tmp_path / "a.geojson", run_id="r")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    write_geojson([squares(2)], path, run_id="r")
    before = path.read_bytes()

    def breaks() -> Iterator[Nuclei]:
        yield squares(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_geojson(breaks(), path, run_id="r")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "a.geojson", tmp_path / "none" / "a.geojson"):
        with pytest.raises(OutputError, match="cannot write"):
            write_geojson([squares(1)], path, run_id="r")
    with pytest.raises(OutputError, match="suffix"):
        write_geojson([squares(1)], tmp_path / "a.csv", run_id="r")


def test_default_name_shards_above_the_limit() -> None:
    assert default_geojson_name(0) == default_geojson_name(50_000) == "nuclei.geojson"
    assert default_geojson_name(50_001).endswith(".zip")

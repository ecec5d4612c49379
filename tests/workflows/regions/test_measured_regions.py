"""Figures by region: counted by hand, whatever the regions' form and however the table is cut."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.oracle import write_slide
from helpers.runs import run
from wsinuc.errors import ConfigError, DataError, OutputError
from wsinuc.nuclei import Nuclei, concatenate
from wsinuc.nuclei.measured_names import POSES
from wsinuc.store import iter_nuclei
from wsinuc.workflows.regions.bands import BorderBands, check_limits
from wsinuc.workflows.regions.drawn import SlideFrame, load_regions
from wsinuc.workflows.regions.figures import RegionFigures
from wsinuc.workflows.regions.run import measure_regions, slide_frame
from wsinuc.workflows.regions.tables import region_rows, to_csv, write_tables
from wsinuc_cli.main import main

SHAPE = (420, 500)
TUMOR = {"name": "Tumor", "color": [200, 0, 0]}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    slide = write_slide(tmp_path_factory.mktemp("slides") / "a.tiff", SHAPE, levels=1)
    out = tmp_path_factory.mktemp("made") / "a.wsinuc"
    run(slide, out, block=128)
    return out


@pytest.fixture(scope="module")
def nuclei(result: Path) -> Nuclei:
    return concatenate(list(iter_nuclei(result)))


def square(x0: float, y0: float, x1: float, y1: float) -> list[list[list[float]]]:
    return [[[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]]]


def feature(coordinates: Any, kind: str = "Polygon", **properties: Any) -> dict[str, Any]:
    about = {"objectType": "annotation", **properties}
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": about}


def write(path: Path, *features: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    return path


def mpp(nuclei: Nuclei) -> float:
    return nuclei.frame.mpp / nuclei.frame.downsample[0]


def test_counts_areas_and_medians_are_those_counted_by_hand(result: Path, nuclei: Nuclei, tmp_path: Path) -> None:
    """Of regions that nest and overlap, too: a nucleus counts in each that its centre lies in."""
    file = write(
        tmp_path / "a.geojson",
        feature(square(50, 40, 450, 380), name="All", classification=TUMOR),
        feature(square(100, 100, 300, 250), name="Inner"),
        feature(square(250, 150, 400, 350), name="Beside"),
    )
    y, x = nuclei.level0_centroids().T
    for each, (x0, y0, x1, y1) in zip(
        measure_regions(result, file),
        ((50, 40, 450, 380), (100, 100, 300, 250), (250, 150, 400, 350)),
        strict=True,
    ):
        inside = (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
        assert each.nuclei == inside.sum() > 5
        assert each.area_mm2 == pytest.approx((x1 - x0) * (y1 - y0) * mpp(nuclei) ** 2 / 1e6)
        for k, name in enumerate(nuclei.class_names):
            mine = inside & (nuclei.classes == k)
            assert each.counts[name] == mine.sum()
            expected = np.median(nuclei.measurements["area_um2"][mine])
            assert each.class_medians[name]["area_um2"] == pytest.approx(expected, rel=1e-6)
        assert each.medians["circularity"] == pytest.approx(np.median(nuclei.measurements["circularity"][inside]))
        # The place and the direction of a nucleus have no median.
        assert set(nuclei.measurements) - set(each.medians) == set(POSES)
    assert [each.region for each in measure_regions(result, file)] == ["All", "Inner", "Beside"]
    assert [each.class_name for each in measure_regions(result, file)] == ["Tumor", "", ""]


def test_polygons_by_name_count_as_those_of_a_file(result: Path, tmp_path: Path) -> None:
    corners = {"Inner": (100, 100, 300, 250), "Beyond the edge": (250, 150, 900, 900)}
    polygons = {name: shapely.box(*sides) for name, sides in corners.items()}
    file = write(tmp_path / "a.geojson", *(feature(square(*sides), name=name) for name, sides in corners.items()))
    named = measure_regions(result, polygons, bands_um=(5,))
    assert named == measure_regions(result, file, bands_um=(5,))
    assert [region.region for region in named] == list(corners)
    assert named[0].nuclei_per_mm2 == pytest.approx(named[0].nuclei / (200 * 150 * 0.5**2 / 1e6))


def test_conditions_leave_nuclei_out(result: Path, nuclei: Nuclei) -> None:
    whole = {"All": shapely.box(50, 40, 450, 380)}
    (all_of_them,) = measure_regions(result, whole)
    (large,) = measure_regions(result, whole, where="area_um2>=40")
    (small,) = measure_regions(result, whole, where=["area_um2<40"])
    assert 0 < small.nuclei < large.nuclei < all_of_them.nuclei == small.nuclei + large.nuclei
    assert small.area_mm2 == all_of_them.area_mm2
    assert small.medians["area_um2"] < 40 <= large.medians["area_um2"]
    assert (all_of_them.where, small.where) == ((), ("area_um2<40",))


def test_tables_say_which_nuclei_they_count(result: Path, tmp_path: Path) -> None:
    whole = {"All": shapely.box(50, 40, 450, 380)}
    some = measure_regions(result, whole, where=["area_um2 < 40", "probability>=0.1"], bands_um=(5,))
    written = write_tables(some, tmp_path / "some.csv")
    assert len(written) == 2
    for path in written:
        assert {line["where"] for line in rows(path)} == {"area_um2<40 and probability>=0.1"}
    # A line of all nuclei beside one of some says nothing, and all of them have no such column.
    both = list(csv.DictReader(io.StringIO(to_csv(region_rows([*some, *measure_regions(result, whole)])))))
    assert [line["where"] for line in both] == ["area_um2<40 and probability>=0.1", ""]
    assert "where" not in rows(write_tables(measure_regions(result, whole), tmp_path / "all.csv")[0])[0]


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ({}, "there is no region"),
        ({"a": shapely.Point(3, 4)}, "must be a Polygon or MultiPolygon of shapely"),
        ({"a": [(0, 0), (0, 1), (1, 1)]}, "must be a Polygon or MultiPolygon of shapely"),
        ({"": shapely.box(0, 0, 9, 9)}, "needs a name"),
        ({"a": shapely.Polygon()}, "the region 'a' has no area"),
        ({"a": shapely.box(9000, 9000, 9100, 9100)}, "the region 'a' spans x 9000 to 9100, .* outside the slide"),
    ],
)
def test_what_is_no_polygon_is_refused(result: Path, regions: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        measure_regions(result, regions)


def test_bands_by_distance(result: Path, nuclei: Nuclei, tmp_path: Path) -> None:
    """A star with a hole: nuclei by shapely's own distance from the border, areas by rings of a square's border."""
    angles = np.linspace(0, 2 * np.pi, 15)[:-1]
    radii = np.where(np.arange(14) % 2, 150, 70)
    star = np.stack([250 + radii * np.cos(angles), 210 + radii * np.sin(angles)], axis=1).tolist()
    rings = [[*star, star[0]], square(240, 200, 260, 220)[0]]
    limits = (5.0, 12.5)
    (each,) = measure_regions(result, write(tmp_path / "a.geojson", feature(rings, name="S")), bands_um=limits)
    um = mpp(nuclei)
    region = shapely.transform(shapely.Polygon(rings[0], rings[1:]), lambda xy: xy * um)
    points = shapely.points(nuclei.level0_centroids()[:, ::-1] * um)
    distances = shapely.distance(region.boundary, points)
    inside = shapely.intersects(region, points)
    names = [(item.band.side, item.band.from_um, item.band.to_um) for item in each.bands]
    assert names == [
        ("inside", 12.5, math.inf),
        ("inside", 5.0, 12.5),
        ("inside", 0.0, 5.0),
        ("outside", 0.0, 5.0),
        ("outside", 5.0, 12.5),
    ]
    for item, (side, low, high) in zip(each.bands, names, strict=True):
        mine = (inside == (side == "inside")) & (distances >= low) & (distances < high)
        assert sum(item.counts.values()) == mine.sum()
    assert sum(item.band.area_mm2 for item in each.bands[:3]) == pytest.approx(each.area_mm2)
    assert sum(sum(item.counts.values()) for item in each.bands[:3]) == each.nuclei


def test_areas_of_bands() -> None:
    """Of a square of 100 um beside the edge of a slide: frames within, and what lies on the slide without."""
    bands = BorderBands(shapely.box(0, 50, 100, 150), (10.0, 30.0), (0, 0, 1000, 1000)).bands
    areas = [band.area_mm2 * 1e6 for band in bands]
    assert areas[:3] == pytest.approx([40**2, 80**2 - 40**2, 100**2 - 80**2])
    near = 3 * 100 * 10 + np.pi * 10**2 / 2
    far = 3 * 100 * 30 + np.pi * 30**2 / 2
    assert areas[3:] == pytest.approx([near, far - near], rel=1e-3)


@settings(max_examples=30, deadline=None)
@given(
    corners=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), min_size=3, max_size=7, unique=True),
    limits=st.lists(st.floats(0.5, 40), min_size=1, max_size=4, unique=True).map(sorted),
)
def test_every_point_has_the_band_of_its_distance(corners: list[tuple[int, int]], limits: list[float]) -> None:
    area = shapely.make_valid(shapely.Polygon(corners), method="linework")
    if not area.area:
        return
    area = shapely.union_all([part for part in shapely.get_parts(area) if part.area])
    bands = BorderBands(area, limits, (-50, -50, 150, 150))
    xy = np.random.default_rng(len(corners)).uniform(-50, 150, (200, 2))
    inside = shapely.intersects_xy(area, *xy.T)
    distances = shapely.distance(area.boundary, shapely.points(xy))
    for number, is_inside, distance in zip(bands.which(xy, inside), inside, distances, strict=True):
        if number < 0:
            assert not is_inside
            assert distance >= limits[-1]
            continue
        band = bands.bands[number]
        assert band.side == ("inside" if is_inside else "outside")
        assert band.from_um <= distance < band.to_um


def test_names_are_those_of_qupath(tmp_path: Path) -> None:
    """A name, else the class; numbers where several are called the same; detections and points are no regions."""
    box = square(0, 0, 10, 10)
    file = write(
        tmp_path / "a.geojson",
        feature(box, name="Edge"),
        feature(box, classification=TUMOR),
        feature(box, classification={"names": ["Tumor"], "color": [1, 2, 3]}),
        feature(box, name="Tumor (2)"),
        feature([3, 4], "Point"),
        feature(box, objectType="detection"),
        feature([box, square(20, 20, 30, 40)], "MultiPolygon", name="Two"),
    )
    found = load_regions(file, SlideFrame((0.5, 0.5), (100, 100), (0, 0)))
    assert [each.name for each in found] == ["Edge", "Tumor", "Tumor (3)", "Tumor (2)", "Two"]
    assert [each.class_name for each in found] == ["", "Tumor", "Tumor", "", ""]
    assert found[-1].area.area == (10 * 10 + 10 * 20) * 0.25


def test_origin_and_edge_of_the_slide(tmp_path: Path) -> None:
    """Files count from the corner of the scanned part; what lies beyond the slide is cut off."""
    file = write(
        tmp_path / "a.geojson", feature(square(-10, 0, 10, 10), name="A"), feature(square(90, 0, 200, 10), name="B")
    )
    first, second = load_regions(file, SlideFrame((0.5, 1.0), (100, 110), (40, 10)))
    assert first.area.bounds == (0, 20, 20, 25)
    assert second.area.bounds == (100, 20, 110, 25)


def test_a_polygon_that_crosses_itself_counts_as_it_is_drawn(tmp_path: Path) -> None:
    bow_tie = [[[0, 0], [10, 10], [10, 0], [0, 10], [0, 0]]]
    (region,) = load_regions(
        write(tmp_path / "a.geojson", feature(bow_tie, name="B")), SlideFrame((1, 1), (20, 20), (0, 0))
    )
    assert region.area.area == 50
    assert not shapely.intersects_xy(region.area, 5, 1)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            [feature(square(0, 0, 9, 9), name="A"), feature(square(0, 0, 9, 9))],
            "feature 1: .*neither a name nor a class",
        ),
        ([feature(square(0, 0, 9, 9), name=" ")], "neither a name nor a class"),
        ([feature(square(600, 0, 900, 9), name="Far")], "'Far' spans x 600 to 900.*outside the slide.*x 0 to 500"),
        ([feature([[[0, 0], [9, 9], [0, 0], [0, 0]]], name="Line")], "'Line' has no area"),
        ([feature([3, 4], "Point", name="P")], "no region in it"),
        ([], "no region in it"),
    ],
)
def test_what_is_no_region_is_refused(result: Path, tmp_path: Path, features: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        measure_regions(result, write(tmp_path / "a.geojson", *features))


@pytest.mark.parametrize("limits", [(50.0, 20.0), (0.0, 10.0), (-1.0,), (10.0, 10.0), (math.nan,), (math.inf,)])
def test_bands_that_do_not_ascend_are_refused(limits: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="ascend"):
        check_limits(limits)


def test_a_result_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not a complete wsinuc result"):
        measure_regions(tmp_path, write(tmp_path / "a.geojson", feature(square(0, 0, 9, 9), name="A")))


def test_an_older_result_asks_its_slide(result: Path) -> None:
    summary = json.loads((result / "summary.json").read_text())
    (part, *_) = iter_nuclei(result)
    assert slide_frame(result, summary, part.frame).origin_px == (0, 0)
    assert slide_frame(result, {**summary, "origin": [7, 9]}, part.frame).origin_px == (7, 9)
    del summary["origin"]
    assert slide_frame(result, summary, part.frame).origin_px == (0, 0)
    with pytest.raises(DataError, match=r"did not record.*--overwrite"):
        slide_frame(result, {**summary, "slide": "/nowhere/a.tiff"}, part.frame)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_the_command(result: Path, nuclei: Nuclei, tmp_path: Path) -> None:
    file = write(tmp_path / "a.geojson", feature(square(100, 100, 300, 250), name="Inner"))
    out = tmp_path / "r.csv"
    arguments = ["regions", str(result), str(file), "--bands", "5,10", "-o", str(out)]
    shown = CliRunner().invoke(main, arguments)
    assert shown.exit_code == 0, shown.output
    (row,) = rows(out)
    (each,) = measure_regions(result, file)
    assert (row["slide"], row["region"], int(row["nuclei"])) == ("a", "Inner", each.nuclei)
    assert float(row["nuclei_per_mm2"]) == pytest.approx(each.nuclei / each.area_mm2, rel=1e-5)
    assert sum(int(row[f"nuclei_{name}"]) for name in nuclei.class_names) == each.nuclei
    assert [line["side"] for line in rows(tmp_path / "r.bands.csv")] == ["inside"] * 3 + ["outside"] * 2
    assert f"{each.nuclei:,}" in shown.output
    assert "5 to 10 µm inside" in shown.output
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1
    assert "--overwrite" in again.output
    assert CliRunner().invoke(main, [*arguments, "--overwrite"]).exit_code == 0


def test_several_slides_by_a_table(result: Path, tmp_path: Path) -> None:
    """Paths are relative to the table; nothing is written when one of them cannot be read."""
    shutil.copytree(result, tmp_path / "b.wsinuc")
    write(tmp_path / "b.geojson", feature(square(100, 100, 300, 250), classification=TUMOR))
    table = tmp_path / "jobs.csv"
    table.write_text("annotations;result\nb.geojson;b.wsinuc\nb.geojson;b.wsinuc\n")
    out = tmp_path / "r.csv"
    assert CliRunner().invoke(main, ["regions", str(table), "-o", str(out)]).exit_code == 0
    assert [(row["slide"], row["region"]) for row in rows(out)] == [("b", "Tumor")] * 2
    out.unlink()
    for text, message in (
        ("result,annotations\nb.wsinuc,b.geojson\nb.wsinuc,none.geojson\n", "none.geojson"),
        ("result\nb.wsinuc\n", "columns result and annotations"),
        ("result,annotations\nb.wsinuc\n", "line 2"),
        ("result,annotations\n", "lists no results"),
    ):
        table.write_text(text)
        shown = CliRunner().invoke(main, ["regions", str(table), "-o", str(out)])
        assert shown.exit_code == 1
        assert message in shown.output
        assert not out.exists()
    assert CliRunner().invoke(main, ["regions", str(tmp_path / "b.wsinuc")]).exit_code == 2
    assert CliRunner().invoke(main, ["regions", str(result), str(table), "--bands", "near"]).exit_code == 2


def test_slides_with_other_classes_share_a_table() -> None:
    """Columns that a slide lacks are empty, and a name is no formula."""

    def figures(slide: str, counts: dict[str, int]) -> RegionFigures:
        return RegionFigures(
            slide=slide,
            region="=1+1",
            class_name="",
            area_mm2=0.5,
            counts=counts,
            medians={"area_um2": math.nan},
            class_medians={},
            bands=(),
        )

    text = to_csv(region_rows([figures("a", {"Nucleus": 0}), figures("b", {"Immune": 3, "Other": 1})]))
    first, second = csv.DictReader(io.StringIO(text))
    assert (first["nuclei_Immune"], first["median_area_um2"], first["share_Nucleus"]) == ("", "", "")
    assert (second["nuclei_per_mm2_Immune"], second["share_Immune"], second["nuclei_Nucleus"]) == ("6", "0.75", "")
    assert first["region"] == "'=1+1"

"""Measurements of a whole run: the same bytes whatever the blocks, in the table and under QuPath's names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.spatial import cKDTree
from shapely.geometry import shape
from skimage.segmentation import expand_labels

from helpers.nuclei import by_centroid
from helpers.oracle import CLASSES, MPP
from helpers.runs import SHAPE, Stop, run, tree
from wsinuc.config import GROUPS
from wsinuc.errors import OutputError
from wsinuc.exports.qupath.check import check_geojson
from wsinuc.grid import Box
from wsinuc.labels import paint_outlines, ring_areas
from wsinuc.nuclei import MEASUREMENTS, Nuclei, concatenate
from wsinuc.nuclei.measured_names import CELLS, CYTOPLASM, columns_of, neighbour_columns
from wsinuc.nuclei.parquet import KEY
from wsinuc.store import iter_nuclei
from wsinuc.workflows.segment.events import BlockDone, Event

NAMES = tuple(each.name for each in CLASSES)
ALL = (*columns_of(GROUPS[:3]), *neighbour_columns(NAMES))


@pytest.fixture(scope="module")
def everything(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("all") / "plane.wsinuc"
    run(slide, out, measure="all")
    return out


def table(result: Path) -> Nuclei:
    return concatenate(list(iter_nuclei(result)))


def test_all_groups_are_in_the_table(everything: Path) -> None:
    assert tuple(table(everything).measurements) == ALL


def test_shape_and_stain_are_the_default(reference: Path) -> None:
    assert tuple(table(reference).measurements) == columns_of(["shape", "stain"])
    summary = json.loads((reference / "summary.json").read_text())
    assert summary["stain_vectors"]["name"] == "qupath"
    assert summary["settings"]["measure"] == ["shape", "stain"]


def test_none_leaves_what_every_table_has(slide: Path, reference: Path, tmp_path: Path) -> None:
    run(slide, tmp_path / "plane.wsinuc", measure="none")
    few = table(tmp_path / "plane.wsinuc")
    assert tuple(few.measurements) == MEASUREMENTS
    whole = table(reference)
    for name in MEASUREMENTS:
        assert few.measurements[name].tobytes() == whole.measurements[name].tobytes()
    assert json.loads((tmp_path / "plane.wsinuc" / "summary.json").read_text())["stain_vectors"] is None


@pytest.mark.parametrize("block", [448, 1024])
def test_blocks_change_no_byte(slide: Path, everything: Path, tmp_path: Path, block: int) -> None:
    run(slide, tmp_path / "plane.wsinuc", measure="all", block=block)
    assert by_centroid(table(tmp_path / "plane.wsinuc")) == by_centroid(table(everything))


def test_an_interrupted_run_measures_the_same(slide: Path, everything: Path, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, BlockDone) and event.done == 5:
            raise Stop

    with pytest.raises(Stop):
        run(slide, tmp_path / "plane.wsinuc", measure="all", on_event=stop)
    run(slide, tmp_path / "plane.wsinuc", measure="all")
    assert tree(tmp_path / "plane.wsinuc") == tree(everything)


def test_a_run_is_not_continued_with_other_groups(slide: Path, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, BlockDone):
            raise Stop

    with pytest.raises(Stop):
        run(slide, tmp_path / "plane.wsinuc", on_event=stop)
    with pytest.raises(OutputError, match=r"measure was \['shape', 'stain'\], now \['shape'\]"):
        run(slide, tmp_path / "plane.wsinuc", measure="shape")


def test_neighbours_reach_across_blocks(everything: Path) -> None:
    nuclei = table(everything)
    counts = cKDTree(nuclei.centroids).query_ball_point(nuclei.centroids, 100 / MPP, return_length=True) - 1
    np.testing.assert_array_equal(nuclei.measurements["count_100um"], counts)
    # More than any one block owns.
    assert counts.max() > max(len(part) for part in iter_nuclei(everything))


def test_names_in_geojson_are_those_of_qupath(everything: Path, reference: Path) -> None:
    feature = json.loads((everything / "nuclei.geojson").read_text())["features"][5]
    measured = feature["properties"]["measurements"]
    nuclei = table(everything)
    expected = {
        "Nucleus: Eccentricity": "eccentricity",
        "Hematoxylin: Nucleus: Mean": "haematoxylin_nucleus_mean_od",
        "Eosin: Nucleus: Median": "eosin_nucleus_p50_od",
        "Hematoxylin: Nucleus: Std.Dev.": "haematoxylin_nucleus_std_od",
        "Hematoxylin: Nucleus: Haralick Contrast (F1)": "haralick_contrast",
        "Delaunay: Num neighbors": "delaunay_degree",
        "Distance to detection long µm": "nearest_um_long",
        "Count within 50 µm: round": "count_50um_round",
    }
    for name, column in expected.items():
        assert measured[name] == pytest.approx(nuclei.measurements[column][5], abs=1e-4), name
    few = json.loads((reference / "nuclei.geojson").read_text())["features"][5]["properties"]["measurements"]
    assert "Delaunay: Num neighbors" not in few
    assert "Eosin: Nucleus: Mean" in few


def test_units_are_in_the_file(everything: Path) -> None:
    metadata = pq.read_metadata(everything / "nuclei" / "part-00000.parquet").metadata
    units = json.loads(metadata[KEY])["units"]
    assert units["major_axis_um"] == "um"
    assert units["haematoxylin_nucleus_mean_od"] == "optical density"
    assert units["density_25um_per_mm2_long"] == "1/mm^2"
    assert "eccentricity" not in units


def test_fitted_stain_vectors_are_written_down(slide: Path, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, BlockDone):
            raise Stop

    with pytest.raises(Stop):
        run(slide, tmp_path / "plane.wsinuc", measure="stain", stains="fitted", on_event=stop)
    # A run that is continued finds them in its working area.
    run(slide, tmp_path / "plane.wsinuc", measure="stain", stains="fitted")
    summary = json.loads((tmp_path / "plane.wsinuc" / "summary.json").read_text())
    vectors = summary["stain_vectors"]
    assert vectors["name"] == "fitted"
    assert np.linalg.norm(vectors["haematoxylin"]) == pytest.approx(1, abs=1e-4)
    assert summary["settings"]["stains"] == "fitted"


def test_a_slide_without_nuclei_has_all_columns(tmp_path: Path) -> None:
    Image.new("RGB", (300, 300), "white").save(tmp_path / "white.png")
    run(tmp_path / "white.png", tmp_path / "white.wsinuc", measure="all", mpp=MPP)
    assert tuple(table(tmp_path / "white.wsinuc").measurements) == ALL


@pytest.fixture(scope="module")
def with_cells(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cells") / "plane.wsinuc"
    run(slide, out, measure="stain", cells=5.0)
    return out


def cells_by_centroid(nuclei: Nuclei) -> dict[tuple[float, ...], tuple[bytes, bytes]]:
    """Outlines and measurements."""
    measured = by_centroid(nuclei)
    rings = np.split(nuclei.cell_outlines, nuclei.cell_offsets[1:-1])
    return {
        tuple(place): (ring.tobytes(), measured[tuple(place)])
        for place, ring in zip(nuclei.centroids.tolist(), rings, strict=True)
    }


def test_cells_are_the_same_whatever_the_blocks(slide: Path, with_cells: Path, tmp_path: Path) -> None:
    run(slide, tmp_path / "plane.wsinuc", measure="stain", cells=5.0, block=1024)
    expected = cells_by_centroid(table(tmp_path / "plane.wsinuc"))
    assert len(expected) > 400
    assert cells_by_centroid(table(with_cells)) == expected


def test_cells_of_all_blocks_do_not_overlap(with_cells: Path) -> None:
    nuclei = table(with_cells)
    cells = paint_outlines(nuclei.cell_outlines, nuclei.cell_offsets, nuclei.ids, Box.of_shape(SHAPE))
    areas = ring_areas(nuclei.cell_outlines, nuclei.cell_offsets)
    np.testing.assert_array_equal(np.bincount(cells.ravel())[1:], areas)
    # Only pixels that a closed ring would hold are not those of the nearest nucleus.
    nuclear = paint_outlines(nuclei.outlines, nuclei.offsets, nuclei.ids, Box.of_shape(SHAPE))
    expected = expand_labels(nuclear, 5.0 / MPP)
    assert (cells != expected).mean() < 0.01


def test_cells_are_cells_in_qupath(with_cells: Path) -> None:
    path = with_cells / "nuclei.geojson"
    assert check_geojson(path).findings == ()
    nuclei = table(with_cells)
    features = json.loads(path.read_text())["features"]
    assert len(features) == len(nuclei)
    for i in (0, 100, 300):
        feature = features[i]
        assert feature["properties"]["objectType"] == "cell"
        cell = shape(feature["geometry"])
        nucleus = shape(feature["nucleusGeometry"])
        # Both are smooth, each by itself.
        assert nucleus.difference(cell).area < 0.01 * nucleus.area
        assert nucleus.area == pytest.approx(nuclei.areas_px[i], rel=0.01)
        measured = feature["properties"]["measurements"]
        assert measured["Cell: Area µm^2"] == pytest.approx(cell.area * MPP**2, rel=0.01)
        assert measured["Nucleus/Cell area ratio"] == pytest.approx(nucleus.area / cell.area, rel=0.02)


def test_a_slide_without_nuclei_has_columns_of_cells(with_cells: Path, tmp_path: Path) -> None:
    Image.new("RGB", (300, 300), "white").save(tmp_path / "white.png")
    run(tmp_path / "white.png", tmp_path / "white.wsinuc", measure="stain", cells=5.0, mpp=MPP)
    nuclei = table(tmp_path / "white.wsinuc")
    assert tuple(nuclei.measurements) == tuple(table(with_cells).measurements)
    assert set(nuclei.measurements) >= {each.name for each in (*CELLS, *CYTOPLASM)}
    assert nuclei.cell_offsets.tolist() == [0]

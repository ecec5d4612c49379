"""Slides annotated in QuPath as a data set (`datasets.layouts.qupath`): which pixels are which nucleus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.files.annotations import collection, drawn, marked, square, write
from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Dataset
from wsinuc.datasets.layouts import qupath, qupath_objects, qupath_slide
from wsinuc.errors import DataError
from wsinuc.grid import Box
from wsinuc.slides import open_slide
from wsinuc.slides.array import ArraySlide
from wsinuc.workflows.data.info import describe_dataset
from wsinuc.workflows.data.sources import open_sources
from wsinuc.workflows.data.training_set import ImageSelection, gather_training_set

SLIDE = Path(__file__).parents[2] / "examples" / "data" / "CMU-1-Small-Region.svs"
PIXELS = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
REGION = drawn("Region*", square(10, 20, 30, 40))


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that opens features drawn over `PIXELS` at 0.5 um per pixel."""
    bounds: Box | None = None

    def array_slide(path: Path) -> ArraySlide:
        return ArraySlide(PIXELS, mpp=0.5, bounds=bounds)

    def open_features(*features: Any, scanned: Box | None = None, **options: Any) -> Dataset:
        nonlocal bounds
        bounds = scanned
        (tmp_path / "a.tif").touch()
        write(tmp_path / "a.geojson", collection(*features))
        return open_dataset(tmp_path / "a.tif", **options)

    monkeypatch.setattr(qupath_slide, "open_isolated", array_slide)
    return open_features


def test_a_region_of_a_real_slide_is_an_image_at_the_resolution_of_the_slide(tmp_path):
    drawing = collection(
        drawn("Region*", square(1100, 1000, 1164, 1032), name="first"),
        drawn("Tumor", square(1110, 1005, 1120, 1009)),
        drawn("immune", square(1130.5, 1010.5, 1133.5, 1012.5), objectType="detection"),
        drawn(None, square(1140, 1010, 1143, 1013)),
    )
    dataset = open_dataset(f"{SLIDE}={write(tmp_path / 'drawn.geojson', drawing)}")
    assert (dataset.layout.name, dataset.layout.kind) == ("qupath", "instances")
    assert [(c.name, c.color) for c in dataset.classes] == [("immune", (54, 10, 20)), ("Tumor", (45, 10, 20))]
    (image,) = dataset
    assert image.name == "CMU-1-Small-Region_1"
    assert image.attributes["slide"] == "CMU-1-Small-Region"
    assert image.attributes["region"] == "first"
    assert image.mpp == 0.499
    with open_slide(SLIDE) as slide:
        assert np.array_equal(image.image, slide.read(Box(1000, 1100, 1032, 1164)))
    expected = np.zeros((32, 64), np.int32)
    expected[5:9, 10:20] = 1
    # Centres at 1130.5 to 1132.5 and 1010.5 to 1011.5: an edge that runs through a centre is its left or upper one.
    expected[10:12, 30:33] = 2
    expected[10:13, 40:43] = 3
    assert np.array_equal(image.labels, expected)
    assert image.classes.tolist() == [0, 2, 1, 0]
    assert image.points is None
    assert image.ignore is None
    assert not dataset.layout.notes


def test_holes_and_parts_belong_to_one_nucleus_and_the_first_outline_keeps_a_pixel(opened):
    parts = drawn(None)
    parts["geometry"] = {"type": "MultiPolygon", "coordinates": [[square(12, 22, 14, 24)], [square(16, 22, 18, 24)]]}
    dataset = opened(
        REGION,
        drawn(None, square(20, 30, 26, 36), square(22, 32, 24, 34)),
        drawn(None, square(25, 30, 28, 32)),
        parts,
        drawn(None, square(21, 31, 22, 32)),
    )
    expected = np.zeros((20, 20), np.int32)
    expected[10:16, 10:16] = 1
    expected[12:14, 12:14] = 0
    expected[10:12, 16:18] = 2
    expected[2:4, 2:4] = expected[2:4, 6:8] = 3
    assert np.array_equal(dataset[0].labels, expected)
    assert dataset.layout.notes == (
        "outlines under earlier ones, left out: 1",
        "outlines that overlap earlier ones, which keep the shared pixels: 1",
    )


def test_what_crosses_the_edge_is_cut_and_what_lies_outside_is_left_out_and_counted(opened):
    dataset = opened(
        drawn(None, square(8, 18, 13, 22)),
        REGION,
        drawn(None, square(2, 2, 6, 6)),
        drawn(None, square(40, 22, 44, 26)),
        marked("Tumor", [50, 50]),
    )
    expected = np.zeros((20, 20), np.int32)
    expected[:2, :3] = 1
    assert np.array_equal(dataset[0].labels, expected)
    assert set(dataset.layout.notes) == {
        "outlines outside of every region, left out: 2",
        "points outside of every region, left out: 1",
        "outlines that cross the edge of what is annotated, cut there: 1",
    }
    assert not dataset.classes, "a class that no nucleus of a region has is none to learn"


def test_a_polygon_is_cut_to_its_box_and_the_rest_of_the_box_is_ignored(opened):
    triangle = [[10, 20], [30, 20], [10, 40], [10, 20]]
    nuclei = (drawn(None, square(11, 21, 15, 25)), drawn(None, square(25, 35, 29, 39)))
    dataset = opened(drawn("Region*", triangle), *nuclei)
    image = dataset[0]
    y, x = np.indices((20, 20)) + 0.5
    # Centres on the slanted edge itself are its right ones, and so outside.
    assert np.array_equal(image.ignore, x + y >= 20)
    assert image.labels.max() == 1, "a nucleus in the other half of the box lies in no region"
    assert np.array_equal(image.image, PIXELS[20:40, 10:30])


def test_ignored_areas_and_earlier_regions_do_not_count(opened):
    dataset = opened(
        REGION,
        drawn("Ignore*", square(12, 22, 18, 28)),
        drawn("Region*", square(25, 20, 35, 40)),
        drawn(None, square(13, 23, 16, 26)),
        drawn(None, square(17, 24, 21, 26)),
    )
    first, second = dataset
    expected = np.zeros((20, 20), bool)
    expected[2:8, 2:8] = True
    assert np.array_equal(first.ignore, expected)
    labels = np.zeros((20, 20), np.int32)
    labels[4:6, 7:11] = 1
    assert np.array_equal(first.labels, labels), "what crosses keeps its form, and what lies in it all is left out"
    assert second.ignore[:, :5].all()
    assert not second.ignore[:, 5:].any()


def test_coordinates_count_from_the_scanned_part(opened):
    image = opened(drawn("Region*", square(0, 0, 4, 4)), drawn(None, square(1, 1, 3, 3)), scanned=Box(7, 9, 50, 60))[0]
    assert np.array_equal(image.image, PIXELS[7:11, 9:13])
    assert image.labels.tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


def test_points_alone_are_a_set_of_points(opened):
    dataset = opened(REGION, marked("Tumor", [10.5, 20.5], [29.9, 39.9]), marked(None, [15, 25]))
    image = dataset[0]
    assert dataset.layout.kind == "points"
    assert image.points.tolist() == [[0.0, 0.0], [19.0, 19.0], [4.5, 4.5]], "centres of pixels are whole numbers"
    assert image.point_classes.tolist() == [1, 1, 0]
    assert not image.labels.any()
    assert image.classes is None
    assert image.ignore is None


def test_a_point_names_the_outline_that_it_lies_in_and_ignores_a_disc_where_it_lies_in_none(opened):
    dataset = opened(
        drawn("Region*", square(0, 0, 80, 60)),
        drawn(None, square(10, 10, 20, 20)),
        drawn("Stroma", square(60, 10, 70, 20)),
        marked("Tumor", [15, 15], [65, 15], [40.5, 40.5]),
    )
    image = dataset[0]
    assert dataset.layout.kind == "instances"
    assert image.classes.tolist() == [0, 2, 1], "Tumor by its point; an outline's own class stays"
    assert (image.points.tolist(), image.point_classes.tolist()) == ([[40.0, 40.0]], [2])
    y, x = np.indices(image.labels.shape)
    assert np.array_equal(image.ignore, (y - 40) ** 2 + (x - 40) ** 2 <= 16**2), "8 um at 0.5 um per pixel"
    assert describe_dataset_of(dataset) == {"Stroma": 1, "Tumor": 2}


def describe_dataset_of(dataset: Dataset) -> dict[str, int]:
    return dict(describe_dataset(dataset.path).classes)


def test_of_a_cell_the_nucleus_is_taken_and_tissue_is_no_nucleus(opened):
    cell = drawn("Tumor", square(11, 21, 29, 39), objectType="cell")
    cell["nucleusGeometry"] = {"type": "Polygon", "coordinates": [square(15, 25, 18, 28)]}
    dataset = opened(
        REGION,
        drawn("Stroma", square(-100, -100, 100, 100)),
        cell,
        drawn("Grid", square(11, 21, 13, 23), objectType="tile"),
    )
    assert (dataset[0].labels > 0).sum() == 9
    assert [c.name for c in dataset.classes] == ["Tumor"]
    assert dataset.layout.notes == ("outlines larger than 2,000 um2, which are no nuclei, left out: 1",)


@pytest.mark.parametrize(
    ("properties", "regions"),
    [
        ({"name": "Region*"}, None),
        ({"name": "region 7"}, None),
        ({"name": "Field"}, "field"),
        ({"name": None, "title": "Training area 2"}, "training*"),
        ({"name": "Region*: validation"}, "Region*"),
    ],
)
def test_regions_are_known_by_class_or_name_as_a_pattern(opened, properties, regions):
    area = drawn(properties["name"], square(10, 20, 30, 40), name=properties.get("title"))
    assert len(opened(area, drawn("Tumor", square(12, 22, 15, 25)), regions=regions)) == 1


def test_a_region_of_several_parts_is_several_images_cut_to_the_slide(opened):
    several = drawn("Region*")
    several["geometry"] = {"type": "MultiPolygon", "coordinates": [[square(-5, -5, 10, 10)], [square(70, 50, 99, 99)]]}
    dataset = opened(several, drawn(None, square(1, 1, 4, 4)))
    assert dataset.names == ("a_1", "a_2")
    assert [image.labels.shape for image in dataset] == [(10, 10), (10, 10)]
    assert dataset.layout.notes == ("regions without a nucleus, all of whose pixels are background: 1",)


def test_a_table_and_a_folder_name_slides_with_their_annotations(opened, tmp_path):
    opened(REGION, drawn("Tumor", square(12, 22, 15, 25)))
    (tmp_path / "b.svs").touch()
    (tmp_path / "notes.txt").touch()
    write(tmp_path / "b.svs.geojson", collection(REGION, drawn("Stroma", square(12, 22, 15, 25))))
    folder = open_dataset(tmp_path)
    assert (folder.layout.name, folder.names) == ("qupath", ("a_1", "b_1"))
    assert [c.name for c in folder.classes] == ["Stroma", "Tumor"]
    assert [image.classes.tolist() for image in folder] == [[0, 2], [0, 1]]
    (tmp_path / "sub").mkdir()
    table = tmp_path / "sub" / "mine.csv"
    table.write_text("slide,annotations,patient,mpp\n../b.svs,,P2,\n../a.tif,../b.svs.geojson,P1,0.25\n")
    dataset = open_dataset(table)
    assert [(row["name"], row["patient"]) for row in dataset.rows] == [("b_1", "P2"), ("a_1", "P1")]
    assert [image.mpp for image in dataset.where({"slide": frozenset(["a"])})] == [0.25]
    assert open_dataset(f"qupath={table}", mpp=0.3)[0].mpp == 0.3


def test_pretraining_takes_the_tissue_of_slides_and_regions_when_they_are_asked_for(opened, tmp_path, monkeypatch):
    opened(REGION, drawn("Tumor", square(12, 22, 15, 25)))
    (region,) = open_sources([f"{tmp_path / 'a.tif'}={tmp_path / 'a.geojson'}"], mpp=0.5, file_mpp=None)
    assert region.shape == (20, 20, 3)
    monkeypatch.setattr("wsinuc.workflows.data.sources.open_isolated", lambda path, **_: ArraySlide(PIXELS, mpp=0.5))
    monkeypatch.setattr("wsinuc.workflows.data.sources._open", lambda path, *_: ArraySlide(PIXELS, mpp=0.5))
    (slide,) = open_sources([tmp_path / "a.tif"], mpp=0.5, file_mpp=None)
    assert slide.shape == (60, 80, 3)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([], "no region in it, .* draw a rectangle .* class Region\\* .* Set selected, and export again"),
        ([drawn("Tumor", square(0, 0, 9, 9))], "--regions NAME which of its areas are regions: Tumor \\(1\\)"),
        ([marked("Tumor", [3, 3])], "no region in it"),
        ([drawn("Region*", square(90, 5, 95, 9))], "spans x 90 to 95, y 5 to 9, outside the slide a.tif, .* another"),
        ([REGION], "no nucleus in its regions .*found nothing else.* Export all objects"),
        (
            [REGION, drawn(None, square(60, 5, 65, 9))],
            "no nucleus in its regions .*outside of every region: 1",
        ),
        (
            [REGION, drawn(None, square(12, 22, 15, 25)), drawn("Ignore*", square(0, 0, 70, 50))],
            r"no nucleus in its regions .*areas of class Ignore\* or earlier regions cover them: 1",
        ),
    ],
)
def test_errors_say_what_to_do_in_one_line(opened, features, message):
    with pytest.raises(DataError, match=message) as caught:
        opened(*features)
    assert "\n" not in str(caught.value)


def test_a_class_of_a_single_nucleus_is_named_before_a_training(opened, tmp_path):
    places = [("Rare", 12), ("Tumor", 18), ("Tumor", 24)]
    opened(REGION, *(drawn(name, square(x, 22, x + 3, 25)) for name, x in places))
    everything = ImageSelection(wanted={}, unwanted={})
    chosen = gather_training_set([f"{tmp_path / 'a.tif'}={tmp_path / 'a.geojson'}"], mpp=None, selection=everything)
    assert [each.name for each in chosen.classes] == ["Rare", "Tumor"]
    (note,) = chosen.notes
    assert note.startswith("classes with a single nucleus, from which a class is not learned: Rare; annotate more")


def test_a_region_of_which_nothing_counts_is_no_background(opened):
    away = drawn("Region*", square(50, 20, 60, 30))
    dataset = opened(REGION, away, drawn(None, square(52, 22, 55, 25)), drawn("Ignore*", square(0, 10, 40, 50)))
    assert dataset.layout.notes == (f"{qupath.UNSEEN}: 1",)


def test_more_errors(opened, tmp_path, monkeypatch):
    (tmp_path / "c.svs").touch()
    with pytest.raises(DataError, match=r"c\.svs is no folder, and has no annotations beside it.*c\.svs=FILE\.geojson"):
        open_dataset(tmp_path / "c.svs")
    with pytest.raises(DataError, match=r"c\.svs has no annotations beside it, expected c\.geojson"):
        open_dataset(f"qupath={tmp_path / 'c.svs'}")
    with pytest.raises(DataError, match="which the layout tnbc needs"):
        open_dataset(f"tnbc={tmp_path / 'c.svs'}")
    (tmp_path / "t.csv").write_text("slide\n")
    with pytest.raises(DataError, match="lists no slides"):
        open_dataset(tmp_path / "t.csv")
    nucleus = drawn(None, square(12, 22, 15, 25))
    opened(REGION, nucleus)
    (tmp_path / "t.csv").write_text("slide\na.tif\na.tif\n")
    with pytest.raises(DataError, match="have one name, by which images are known"):
        open_dataset(tmp_path / "t.csv")
    monkeypatch.setattr(qupath_objects, "MAX_REGIONS", 0)
    with pytest.raises(DataError, match=r"has more than 0 regions \(Region\*\): these are objects"):
        opened(REGION, nucleus)
    monkeypatch.setattr(qupath_objects, "MAX_REGIONS", 1)
    monkeypatch.setattr(qupath, "MAX_REGION_PX", 399)
    with pytest.raises(DataError, match="region 1 is 20 x 20 px, up to 399 px are read"):
        opened(REGION, nucleus)


@pytest.mark.parametrize(("shift", "fitting"), [(0, True), (1, True), (8, False), (21, False)])
def test_outlines_of_another_slide_are_refused_where_pixels_tell(opened, monkeypatch, shift, fitting):
    rng = np.random.default_rng(1)
    pixels = rng.integers(150, 230, (130, 130, 3), dtype=np.uint8)
    y, x = np.indices((130, 130)) % 16
    pixels[(y < 8) & (x < 8)] //= 2
    monkeypatch.setattr(qupath_slide, "open_isolated", lambda path: ArraySlide(pixels, mpp=0.5))
    corners = [(x0 + shift, y0 + shift) for y0 in range(0, 96, 16) for x0 in range(0, 96, 16)]
    squares = [drawn(None, square(x0, y0, x0 + 8, y0 + 8)) for x0, y0 in corners]
    dataset = opened(drawn("Region*", square(0, 0, 130, 130)), *squares)
    if fitting:
        assert dataset[0].labels.max() == 36
    else:
        with pytest.raises(DataError, match=r"the 36 outlines of region 1 .* a\.tif .* another slide's annotations"):
            dataset[0]
    few = opened(drawn("Region*", square(0, 0, 130, 130)), *squares[:19])
    assert few[0].labels.max() == 19, "a few may lie anywhere"

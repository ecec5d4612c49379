"""Training windows: every edit on the disk at once and taken back, and what is seen is what a training gets."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import shapely

from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.layouts import qupath_slide
from wsinuc.errors import DataError
from wsinuc.exports.qupath.check import check_geojson
from wsinuc.nuclei.uuids import nucleus_uuids
from wsinuc.slides import open_slide
from wsinuc.workflows.view.edit import shapes
from wsinuc.workflows.view.edit.content import Drawn
from wsinuc.workflows.view.edit.windows import Windows
from wsinuc.workflows.view.opened import Opened, Source

AREA = shapely.box(100, 100, 220.4, 240)
NUCLEUS = (160.0, 170.0)


@pytest.fixture
def result(reference: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "plane.wsinuc"
    shutil.copytree(reference, folder)
    return folder


@pytest.fixture
def windows(result: Path) -> Windows:
    return opened_windows(result)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slides are opened without a process of their own, which takes longer than everything else here."""
    monkeypatch.setattr(qupath_slide, "open_isolated", open_slide)


def opened_windows(result: Path) -> Windows:
    teaching = Opened(Source(result)).teaching
    assert teaching is not None
    return teaching.windows


def nearest(windows: Windows, x: float, y: float) -> Drawn:
    """The outline whose middle is nearest to a place."""
    outlines = windows.content().outlines
    return min(outlines, key=lambda each: each.shape.centroid.distance(shapely.Point(x, y)))


def across(polygon: shapely.Polygon) -> np.ndarray:
    """A line through the middle from left to right, and beyond."""
    x0, _, x1, _ = polygon.bounds
    y = polygon.centroid.y
    return np.array([[x0 - 2, y], [polygon.centroid.x, y], [x1 + 2, y]])


def trained(result: Path, windows: Windows) -> LabelledImage:
    """The image that ``wsinuc train`` gets of the first window."""
    return next(iter(open_dataset(f"{result}={windows.path}")))


def label_at(image: LabelledImage, shape: shapely.Geometry) -> int:
    point = shape.representative_point()
    return int(image.labels[int(point.y) - 100, int(point.x) - 100])


def test_a_window_begins_with_the_nuclei_that_meet_it(result: Path, windows: Windows) -> None:
    windows.add(AREA, "")
    (window,) = windows.content().windows
    assert window.name == "Region 1"
    assert window.shape.bounds == (100, 100, 220, 240)
    features = {each["id"]: each for each in json.loads((result / "nuclei.geojson").read_text())["features"]}
    meeting = {name for name, each in features.items() if shapely.intersects(window.shape, shape_of(each))}
    assert {each.id for each in windows.content().outlines} == meeting
    # With the outlines and the classes that the result's own GeoJSON has.
    for each in windows.content().outlines:
        assert each.feature["geometry"] == features[each.id]["geometry"]
        assert each.class_name == features[each.id]["properties"]["classification"]["name"]
    hidden = windows.table.ids[windows.table_rows()]
    assert set(nucleus_uuids(windows.run_id, hidden)) == meeting
    assert check_geojson(windows.path).problems == ()


def shape_of(feature: dict) -> shapely.Geometry:
    return shapely.geometry.shape(feature["geometry"])


def test_a_split_keeps_the_area_and_both_pieces_are_trained_on(result: Path, windows: Windows) -> None:
    windows.add(AREA, "Tumour border")
    nucleus = nearest(windows, *NUCLEUS)
    new = windows.split(across(nucleus.shape))
    assert len(new) == 2
    pieces = [each for each in windows.content().outlines if each.id in new]
    assert sum(each.shape.area for each in pieces) == pytest.approx(nucleus.shape.area, abs=0.5)
    assert {each.class_name for each in pieces} == {nucleus.class_name}
    image = trained(result, windows)
    one, other = (label_at(image, each.shape) for each in pieces)
    assert 0 != one != other != 0
    for label, piece in ((one, pieces[0]), (other, pieces[1])):
        assert (image.labels == label).sum() == pytest.approx(piece.shape.area, rel=0.1)


def test_pieces_that_are_merged_are_the_nucleus_again(windows: Windows) -> None:
    windows.add(AREA, "")
    nucleus = nearest(windows, *NUCLEUS)
    (whole,) = windows.merge(windows.split(across(nucleus.shape)))
    merged = next(each for each in windows.content().outlines if each.id == whole)
    assert merged.shape.geom_type == "Polygon"
    assert shapely.area(shapely.symmetric_difference(merged.shape, nucleus.shape)) < 0.5


def test_what_does_not_touch_is_not_merged(windows: Windows) -> None:
    windows.add(AREA, "")
    far = [nearest(windows, 110, 110).id, nearest(windows, 210, 230).id]
    before = windows.path.read_bytes()
    with pytest.raises(DataError, match="do not touch"):
        windows.merge(far)
    with pytest.raises(DataError, match="two at the least"):
        windows.merge(far[:1])
    assert windows.path.read_bytes() == before


def test_a_deleted_nucleus_is_background(result: Path, windows: Windows) -> None:
    windows.add(AREA, "")
    nucleus = nearest(windows, *NUCLEUS)
    windows.delete([nucleus.id])
    image = trained(result, windows)
    assert label_at(image, nucleus.shape) == 0
    assert image.ignore is None or not image.ignore.any()


def test_a_drawn_outline_replaces_what_it_covers_and_ends_at_its_neighbours(result: Path, windows: Windows) -> None:
    windows.add(AREA, "")
    nucleus = nearest(windows, *NUCLEUS)
    larger = shapely.buffer(nucleus.shape, 1.5)
    (new,) = windows.draw(np.array(larger.exterior.coords), {"name": "Tumour", "color": [1, 2, 3]})
    outlines = {each.id: each for each in windows.content().outlines}
    assert nucleus.id not in outlines
    drawn = outlines.pop(new)
    assert drawn.shape.area > nucleus.shape.area
    others = shapely.union_all([each.shape for each in outlines.values()])
    assert shapely.area(shapely.intersection(drawn.shape, others)) < 0.5
    assert check_geojson(windows.path).problems == ()
    dataset = open_dataset(f"{result}={windows.path}")
    image = dataset[0]
    label = label_at(image, drawn.shape)
    assert (image.labels == label).sum() == pytest.approx(drawn.shape.area, rel=0.06)
    assert image.classes is not None
    assert dataset.classes[int(image.classes[label]) - 1].name == "Tumour"


def test_a_class_is_given_to_outlines(windows: Windows) -> None:
    windows.add(AREA, "")
    nucleus = nearest(windows, *NUCLEUS)
    windows.name([nucleus.id], "Mitosis", (1, 2, 3))
    assert "Mitosis" in windows.class_names()
    assert nearest(windows, *NUCLEUS).class_name == "Mitosis"
    windows.log.take_back()
    assert nearest(windows, *NUCLEUS).class_name == nucleus.class_name


@pytest.mark.parametrize("name", ["Region 7", "ignore*", "a: b", ""])
def test_a_class_that_would_make_an_area_of_it_is_refused(windows: Windows, name: str) -> None:
    windows.add(AREA, "")
    with pytest.raises(DataError):
        windows.name([nearest(windows, *NUCLEUS).id], name, (1, 2, 3))


def test_a_window_gets_another_name_and_keeps_the_rest(windows: Windows) -> None:
    windows.add(AREA, "Border")
    (before,) = windows.content().windows
    windows.rename(before.id, "Tumour border")
    (after,) = windows.content().windows
    assert (after.id, after.name, after.class_name) == (before.id, "Tumour border", "Region*")
    assert after.shape == before.shape
    assert windows.log.take_back() == 1
    assert windows.content().windows[0].name == "Border"
    for name, message in (("", "needs a name"), ("a\nb", "on one line"), ("x" * 101, "at most 100 letters")):
        with pytest.raises(DataError, match=message):
            windows.rename(before.id, name)
    with pytest.raises(DataError, match="no longer there"):
        windows.rename("gone", "name")


def test_a_window_that_was_one_by_its_name_alone_stays_one(windows: Windows) -> None:
    windows.add(AREA, "")
    content = json.loads(windows.path.read_text())
    window = next(each for each in content["features"] if each["properties"].get("name") == "Region 1")
    window["properties"]["classification"] = {"name": "Stroma"}
    windows.path.write_text(json.dumps(content))
    windows.rename(window["id"], "Border")
    assert [(each.name, each.class_name) for each in windows.content().windows] == [("Border", "Region*")]


def test_an_ignored_area_counts_in_no_training(result: Path, windows: Windows) -> None:
    windows.add(AREA, "")
    ring = np.array([[120, 130], [180, 130], [180, 190], [120, 190]], float)
    windows.ignore(ring)
    (area,) = windows.content().ignored
    assert area.class_name == "Ignore*"
    assert check_geojson(windows.path).problems == ()
    image = trained(result, windows)
    expected = np.zeros((140, 120), bool)
    expected[30:90, 20:80] = True
    assert (image.ignore == expected).all()
    windows.count(area.id)
    assert windows.content().ignored == ()
    assert windows.log.take_back() == 1
    assert [each.id for each in windows.content().ignored] == [area.id]


def test_an_ignored_area_goes_with_its_window(windows: Windows) -> None:
    with pytest.raises(DataError, match="in no training window"):
        windows.ignore(np.array([[120, 130], [180, 130], [180, 190]], float))
    windows.add(AREA, "")
    windows.ignore(np.array([[120, 130], [180, 130], [180, 190]], float))
    with pytest.raises(DataError, match="encloses nothing"):
        windows.ignore(np.array([[120, 130], [180, 130]], float))
    windows.remove(windows.content().windows[0].id)
    assert json.loads(windows.path.read_text())["features"] == []


def test_every_edit_is_taken_back_in_turn(windows: Windows) -> None:
    windows.add(AREA, "")
    states = [contents(windows)]
    nucleus = nearest(windows, *NUCLEUS)
    for edit in (
        lambda: windows.split(across(nucleus.shape)),
        lambda: windows.delete([nearest(windows, *NUCLEUS).id]),
        lambda: windows.draw(np.array(nucleus.shape.exterior.coords)),
        lambda: windows.remove(windows.content().windows[0].id),
    ):
        edit()
        states.append(contents(windows))
    assert states[-1] == {}
    for state in states[-2::-1]:
        assert windows.log.take_back() > 0
        assert contents(windows) == state
    windows.log.take_back()
    assert contents(windows) == {}
    assert windows.log.take_back() == 0


def contents(windows: Windows) -> dict[str, dict]:
    return {each["id"]: each for each in windows.file.features()}


def test_two_windows_of_a_browser_keep_each_others_edits(result: Path) -> None:
    one, other = opened_windows(result), opened_windows(result)
    one.add(AREA, "")
    first, second = nearest(other, *NUCLEUS), nearest(other, 110, 110)
    one.delete([second.id])
    pieces = other.split(across(first.shape))
    assert {each.id for each in one.content().outlines} >= set(pieces)
    assert second.id not in contents(other)
    # What the other has gone on from is not taken back, nor split again.
    with pytest.raises(DataError, match="no longer there"):
        one.delete([first.id])
    one.log.take_back()
    assert second.id in contents(other)
    before = contents(one)
    with pytest.raises(DataError, match="cannot be taken back"):
        one.log.take_back()
    assert contents(one) == before
    assert one.log.take_back() == 0


def test_a_second_window_leaves_alone_what_the_first_has(windows: Windows) -> None:
    windows.add(AREA, "")
    edge = next(each for each in windows.content().outlines if each.shape.bounds[2] > 221)
    windows.delete([edge.id])
    with pytest.raises(DataError, match="overlap Region 1"):
        windows.add(shapely.box(150, 150, 300, 300), "")
    windows.add(shapely.box(220, 100, 300, 240), "")
    assert [each.name for each in windows.content().windows] == ["Region 1", "Region 2"]
    assert edge.id not in contents(windows)
    kept = {each.id for each in windows.content().outlines_in(windows.content().windows[0].shape)}
    windows.remove(windows.content().windows[1].id)
    assert {each.id for each in windows.content().outlines} == kept


@pytest.mark.parametrize(
    ("area", "message"),
    [
        (shapely.box(10, 10, 20, 20), "16 pixels"),
        (shapely.box(-500, -500, -100, -100), "on the slide"),
    ],
)
def test_a_window_that_cannot_be_is_one_sentence(windows: Windows, area: shapely.Polygon, message: str) -> None:
    with pytest.raises(DataError, match=message):
        windows.add(area, "")
    with pytest.raises(DataError, match="on one line"):
        windows.add(AREA, "a\nb")
    assert not windows.path.exists()


def test_lines_that_do_nothing_are_one_sentence(windows: Windows) -> None:
    windows.add(AREA, "")
    nucleus = nearest(windows, *NUCLEUS).shape
    before = windows.path.read_bytes()
    with pytest.raises(DataError, match="cuts no outline"):
        windows.split(across(nucleus)[:2])
    with pytest.raises(DataError, match="encloses nothing"):
        windows.draw(across(nucleus))
    with pytest.raises(DataError, match="no training window"):
        windows.draw(np.array(shapely.box(400, 400, 420, 420).exterior.coords))
    assert windows.path.read_bytes() == before


def test_hostile_features_stay_in_the_file_and_do_no_harm(windows: Windows) -> None:
    region = {"classification": {"name": "Region*"}, "name": "<img src=x onerror=alert(1)>"}
    odd: list[dict] = [
        {"id": "a", "geometry": {"type": "Polygon", "coordinates": [[["a", 1], [2, 3], [4, 5]]]}, "properties": region},
        {"id": "b", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "properties": "none"},
        {"id": "c", "geometry": {"type": "Polygon", "coordinates": {}}, "properties": region},
        {"id": "d", "geometry": {"type": "GeometryCollection", "geometries": 3}},
        {"id": 7, "geometry": {"type": "Polygon", "coordinates": []}},
        {"id": "e", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [9, 9], [9, 0], [0, 9], [0, 0]]]}},
        {"id": "f", "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [0, 60], [60, 60], [0, 0]]]},
         "properties": region},
    ]  # fmt: skip
    windows.path.write_text(json.dumps({"type": "FeatureCollection", "features": odd}))
    assert [each.id for each in windows.content().windows] == ["f"]
    assert [each.id for each in windows.content().outlines] == ["e"]
    windows.add(AREA, "")
    assert windows.file.features()[: len(odd)] == odd


def test_pieces_of_an_outline_that_a_line_crosses_twice() -> None:
    crescent = shapely.box(0, 0, 30, 10).difference(shapely.box(10, 4, 20, 10))
    parts = shapes.pieces(crescent, shapely.LineString([(-1, 7), (31, 7)]))
    assert [round(part.area, 6) for part in parts] == [30.0, 180.0, 30.0]
    assert all(part.is_valid for part in parts)


def test_touching_outlines_with_a_hairline_between_them_are_one() -> None:
    merged = shapes.joined([shapely.box(0, 0, 10, 10), shapely.box(10.4, 0, 20, 10)], 0.5)
    assert merged is not None
    assert merged.geom_type == "Polygon"
    assert merged.area == pytest.approx(200, abs=0.5)

"""One's own points (layout `points`): free names of classes, tables and QuPath's points, nothing assumed or renamed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.files.datasets import picture, save
from wsinuc.datasets import open_dataset
from wsinuc.datasets.class_names import free_classes
from wsinuc.errors import DataError, MppError
from wsinuc.workflows.data.info import describe_dataset

SHARED = Path(__file__).parents[3] / "shared"
needs_sets = pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="the shared data sets are not here")
LISTED = "name,color\nlymphocyte,#2e86de\nepithelial,#e74c3c\nstromal,#27ae60\n"
TABLE = "x,y,class\n4,6,stromal\n9,1,lymphocyte\n2,3,\n99,3,stromal\n"


def write_points(root: Path, text: str = TABLE, listed: str = LISTED) -> Path:
    save(picture(0), root / "images" / "a.png")
    (root / "points").mkdir(exist_ok=True)
    (root / "points" / "a.csv").write_text(text)
    if listed:
        (root / "classes.csv").write_text(listed)
    (root / "manifest.csv").write_text("name,mpp,patient\na,0.5,P1\n")
    return root


def drawn(kind: str, coordinates: object, class_name: str | None = None) -> dict:
    """A feature as QuPath writes it."""
    properties = {"objectType": "annotation"}
    if class_name:
        properties["classification"] = {"name": class_name, "color": [1, 2, 3]}
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def write_drawn(root: Path, *features: dict) -> Path:
    write_points(root, listed="")
    (root / "points" / "a.csv").unlink()
    text = json.dumps({"type": "FeatureCollection", "features": features})
    (root / "points" / "a.geojson").write_text(text)
    return root


def names(dataset) -> list[str]:
    return [c.name for c in dataset.classes]


# --- listed classes


def test_points_are_told_apart_by_the_names_of_their_classes(tmp_path):
    dataset = open_dataset(write_points(tmp_path))
    assert (dataset.layout.name, dataset.layout.kind) == ("points", "points")
    assert names(dataset) == ["lymphocyte", "epithelial", "stromal"]
    assert dataset.classes[1].color == (0xE7, 0x4C, 0x3C)
    image = dataset[0]
    assert (image.mpp, image.attributes["patient"]) == (0.5, "P1")
    assert image.points.tolist() == [[6, 4], [1, 9], [3, 2]], "the last one lies outside"
    assert image.point_classes.tolist() == [3, 1, 0]
    assert image.notes == ("hold points outside of the image: left out",)
    assert not image.labels.any()


def test_listed_classes_are_found_in_any_capitals(tmp_path):
    dataset = open_dataset(write_points(tmp_path, "x,y,class\n4,6,STROMAL\n9,1,Lymphocyte\n"))
    assert dataset[0].point_classes.tolist() == [3, 1]
    assert names(dataset) == ["lymphocyte", "epithelial", "stromal"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y,class\n4,6,Stroma\n", "class 'Stroma' is not in classes.csv, which has lymphocyte, epithelial, stromal"),
        ("x,y,class\n4,six,stromal\n", "must be numbers"),
        ("x,y,class\n4,nan,stromal\n", "must be finite"),
        ("x,y,kind\n4,6,stromal\n", "no column 'class'"),
        ("x,y,class\n400,6,stromal\n", r"none of the 1 points lies in the image, which is \(12, 16\)"),
    ],
)
def test_points_that_are_none_are_refused_by_name(tmp_path, text, message):
    dataset = open_dataset(write_points(tmp_path, text))
    with pytest.raises(DataError, match=message) as caught:
        dataset[0]
    assert "a.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ("name\nTumor\ntumor\n", "lists 'Tumor' and 'tumor'.*these are one"),
        ("name,color\n,#c8001e\n", "a class without a name"),
        (f"name\n{'x' * 101}\n", "up to 100 printable characters"),
        ("name,color\nTumor,reddish\n", "a color looks like #c8001e"),
    ],
)
def test_a_list_of_classes_that_is_none_is_refused(tmp_path, listed, message):
    with pytest.raises(DataError, match=message):
        open_dataset(write_points(tmp_path, listed=listed))


def test_an_image_without_its_points_is_refused(tmp_path):
    dataset = open_dataset(write_points(tmp_path))
    (tmp_path / "points" / "a.csv").unlink()
    with pytest.raises(DataError, match=r"a\.csv is missing"):
        dataset[0]


# --- free classes


def test_immune_cells_stay_immune_cells(tmp_path):
    text = "x,y,class\n4,6,Immune cells\n9,1,Tumor: necrotic\n2,3,\n5,5,Immune cells\n"
    dataset = open_dataset(write_points(tmp_path, text, listed=""))
    assert names(dataset) == ["Immune cells", "Tumor: necrotic"]
    assert dataset[0].point_classes.tolist() == [1, 2, 0, 1]
    assert dataset.classes[0].color != dataset.classes[1].color
    assert dict(describe_dataset(tmp_path).classes) == {"Immune cells": 2, "Tumor: necrotic": 1, "(not known)": 1}


def test_numbers_are_names_like_any_other(tmp_path):
    dataset = open_dataset(write_points(tmp_path, "x,y,class\n4,6,0\n9,1,3\n", listed=""))
    assert (dataset.layout.name, names(dataset)) == ("points", ["0", "3"])
    assert dataset[0].point_classes.tolist() == [1, 2]


def test_one_name_in_two_spellings_is_one_class_and_said_so(tmp_path):
    text = "x,y,class\n1,1,tumor\n2,2,Tumor\n3,3,Tumor\n4,4,Stroma\n"
    dataset = open_dataset(write_points(tmp_path, text, listed=""))
    assert names(dataset) == ["Stroma", "Tumor"], "the commonest spelling"
    assert dataset[0].point_classes.tolist() == [2, 2, 2, 1]
    assert dataset[0].notes == ("hold the class 'tumor': taken for 'Tumor'",)
    assert describe_dataset(tmp_path).notes == ("1 of 1 point files holds the class 'tumor': taken for 'Tumor'",)


def test_classes_are_the_same_whatever_the_order_of_files(tmp_path):
    first = free_classes({"b": 1, "A": 1, "a": 1}, tmp_path)
    assert first == free_classes({"a": 1, "A": 1, "b": 1}, tmp_path)
    assert [c.name for c in first] == ["A", "b"]


def test_a_column_that_holds_no_classes_is_refused(tmp_path):
    text = "x,y,class\n" + "".join(f"1,1,{0.01 * i:.2f}\n" for i in range(101))
    with pytest.raises(DataError, match=r"101 names of classes \(0\.00, .*classes\.csv"):
        open_dataset(write_points(tmp_path, text, listed=""))


def test_outlines_count_more_than_points(tmp_path):
    write_points(tmp_path, listed="")
    save(np.zeros((12, 16), np.uint16), tmp_path / "labels" / "a.png")
    assert open_dataset(tmp_path).layout.name == "folder"


# --- resolution


def test_the_resolution_is_given_or_recorded_and_never_assumed(tmp_path):
    (write_points(tmp_path, listed="") / "manifest.csv").unlink()
    assert open_dataset(tmp_path, mpp=0.25)[0].mpp == 0.25
    with pytest.raises(MppError, match=r"resolution of a is not recorded .*--mpp.*nucls=FOLDER"):
        open_dataset(tmp_path)


# --- points of QuPath


def test_points_and_multipoints_of_qupath_have_the_names_of_their_classes(tmp_path):
    dataset = open_dataset(
        write_drawn(
            tmp_path,
            drawn("MultiPoint", [[4.5, 6.5], [0.2, 0.1]], "Immune cells"),
            drawn("Point", [15.9, 11.5], "Tumor"),
            drawn("Point", [2.5, 3.5]),
        )
    )
    assert names(dataset) == ["Immune cells", "Tumor"]
    image = dataset[0]
    # The centre of the first pixel is (0.5, 0.5) in QuPath and (0, 0) here.
    np.testing.assert_allclose(image.points, [[6, 4], [0, 0], [11, 15.4], [3, 2]])
    assert image.point_classes.tolist() == [1, 1, 2, 0]


def test_outlines_among_points_are_refused_rather_than_left_out(tmp_path):
    square = [[[0, 0], [9, 0], [9, 9], [0, 9], [0, 0]]]
    dataset_of = write_drawn(tmp_path, drawn("Polygon", square, "Region*"), drawn("Point", [2, 2], "Tumor"))
    with pytest.raises(DataError, match=r"a\.geojson holds 1 outlines or lines beside 1 points.*qupath"):
        open_dataset(dataset_of)


def test_an_image_has_one_file_of_points(tmp_path):
    write_drawn(tmp_path, drawn("Point", [2, 2], "Tumor"))
    (tmp_path / "points" / "a.csv").write_text(TABLE)
    with pytest.raises(DataError, match=r"holds both a\.csv and a\.geojson; keep one"):
        open_dataset(tmp_path)


# --- real ones


@needs_sets
def test_the_real_points_of_three_classes_are_all_there():
    dataset = open_dataset(SHARED / "data" / "brca_m2c")
    counts = sum(np.bincount(image.point_classes, minlength=4) for image in dataset)
    assert counts.tolist() == [0, 5859, 16798, 7981]
    assert {note for image in dataset for note in image.notes} == set()
    shared = (SHARED / "data" / "brca_m2c" / "overlap_with_monuseg.txt").read_text().split()
    patients = frozenset(name[:12] for name in shared)
    left = dataset.where(unwanted={"patient": patients})
    assert len(left) == len(dataset) - len(shared) == 116


@needs_sets
def test_the_real_points_of_nucls_keep_their_numbers_unless_they_are_said_to_be_nucls():
    folder = SHARED / "data" / "nucls_points"
    dataset = open_dataset(folder, mpp=0.2)
    assert (dataset.layout.name, names(dataset)) == ("points", ["0", "1", "2", "3"])
    with pytest.raises(MppError, match="nucls=FOLDER"):
        open_dataset(folder)
    assert names(open_dataset(f"nucls={folder}")) == ["Tumor", "Stromal", "sTIL", "Other"]


@needs_sets
def test_the_real_multipoints_of_qupath(tmp_path):
    source = SHARED / "cases" / "qupath-annotations" / "onlypts.geojson"
    save(np.full((2000, 1500, 3), 240, np.uint8), tmp_path / "images" / "a.png")
    (tmp_path / "points").mkdir()
    (tmp_path / "points" / "a.geojson").write_bytes(source.read_bytes())
    dataset = open_dataset(tmp_path, mpp=0.499)
    features = json.loads(source.read_text())["features"]
    counts = {f["properties"]["classification"]["name"]: len(f["geometry"]["coordinates"]) for f in features}
    assert "Immune cells" in names(dataset)
    assert dict(zip(names(dataset), np.bincount(dataset[0].point_classes)[1:].tolist(), strict=True)) == counts

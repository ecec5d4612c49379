"""Points of nuclei: from annotation, equivariantly; and from users' files, with every error that those can have."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from wsinuc.errors import DataError
from wsinuc.orientation import dihedral
from wsinuc.synthesis import layout_files
from wsinuc.synthesis.layout_files import read_layout
from wsinuc.synthesis.layouts import NucleusLayout, layout_of

NAMES = ("tumour", "lymphocyte", "stroma")
LABELS = npst.arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 6))


def ring(hole: int = 5) -> np.ndarray:
    labels = np.zeros((9, 9), np.int32)
    labels[1:8, 1:8] = 1
    labels[2 : 2 + hole, 2 : 2 + hole] = 0
    return labels


@given(LABELS, st.data())
def test_every_nucleus_has_one_point_in_its_own_pixels(labels, data):
    classes = data.draw(npst.arrays(np.int32, 7, elements=st.integers(0, 3)))
    layout = layout_of(labels, classes)
    kept = [i for i in np.unique(labels) if i and classes[i]]
    assert layout.classes.tolist() == classes[kept].tolist()
    assert labels[tuple(layout.points.astype(int).T)].tolist() == kept
    assert np.count_nonzero(layout.point_map) == len(kept), "no two nuclei share a pixel"


def turned_points(points: np.ndarray, shape: tuple[int, int], k: int) -> np.ndarray:
    """Points of a canvas after ``dihedral(canvas, k)``."""
    height, width = shape
    for _ in range(k % 4):
        points = np.stack([width - points[:, 1], points[:, 0]], axis=1)
        height, width = width, height
    return np.stack([points[:, 0], width - points[:, 1]], axis=1) if k >= 4 else points


@given(LABELS, st.integers(0, 7))
def test_points_turn_with_the_nuclei(labels, k):
    there, here = layout_of(np.ascontiguousarray(dihedral(labels, k))), layout_of(labels)
    expected = turned_points(here.points, labels.shape, k)
    for i, found, wanted in zip(np.unique(labels[labels > 0]), there.points, expected, strict=True):
        pixels = np.argwhere(labels == i) + 0.5
        distances = np.sort(((pixels - pixels.mean(0)) ** 2).sum(1))
        # A centroid between two pixels belongs to the one further down or right, which after a turn
        # is the other; and of two
        # pixels that are as near to a centroid outside its nucleus either may be taken.
        between = np.isclose(pixels.mean(0), np.rint(pixels.mean(0))).any()
        tied = len(pixels) > 1 and np.ptp(distances[:2]) < 1e-9
        if not between and not tied:
            np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_a_concave_nucleus_keeps_its_point():
    layout = layout_of(ring())
    assert layout.points.tolist() == [[1.5, 4.5]], "the pixel of the ring nearest to its centre"
    filled = ring()
    filled[4, 4] = 2
    assert layout_of(filled).point_map[4, 4] == 1


def test_centroids_are_means_of_pixel_centres():
    labels = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 7]], np.int32)
    assert layout_of(labels).points.tolist() == [[1.0, 1.0], [2.5, 2.5]]
    assert layout_of(labels).classes.tolist() == [1, 1]
    assert layout_of(np.zeros((4, 5), np.int32)).points.shape == (0, 2)
    with pytest.raises(DataError, match="one entry per label up to 7"):
        layout_of(labels, np.zeros(7, np.int32))


@pytest.mark.parametrize("point", [(-0.1, 2), (4, 2), (2, 5), (np.nan, 1), (np.inf, 1)])
def test_points_outside_the_canvas_are_refused(point):
    points = np.array([(1, 1), point, point], float)
    with pytest.raises(DataError, match=r"2 of 3 points lie outside the canvas of 5 x 4 px, the first at x"):
        NucleusLayout(shape=(4, 5), points=points, classes=np.ones(3, np.int32))
    with pytest.raises(DataError, match="with n classes"):
        NucleusLayout(shape=(4, 5), points=points[:1], classes=np.ones(2, np.int32))
    with pytest.raises(DataError, match="count from 1, got 0"):
        NucleusLayout(shape=(4, 5), points=points[:1], classes=np.zeros(1, np.int32))


@given(
    st.lists(st.tuples(st.floats(0, 29.99), st.floats(0, 19.99), st.integers(1, 3)), min_size=1, max_size=20),
)
def test_points_with_all_their_digits_are_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("layout") / "points.csv"
    points = np.array([row[:2] for row in rows])
    classes = [row[2] for row in rows]
    layout = NucleusLayout(shape=(30, 20), points=points, classes=np.array(classes, np.int32))
    lines = [f"{x!r},{y!r},{NAMES[number - 1]}" for (y, x), number in zip(points.tolist(), classes, strict=True)]
    path.write_text("\n".join(["x,y,class", *lines]))
    found = read_layout(path, NAMES, (30, 20))
    np.testing.assert_array_equal(found.points, layout.points)
    np.testing.assert_array_equal(found.classes, layout.classes)
    assert all(a <= b for a, b in zip(read_layout(path, NAMES).shape, layout.shape, strict=True))


def test_csv_as_people_write_it(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("﻿Name, X ,y,Class\nfirst, 3.5,1, Lymphocyte\nsecond,0,2,tumour\n", encoding="utf-8")
    layout = read_layout(path, NAMES)
    assert layout.points.tolist() == [[1, 3.5], [2, 0]]
    assert (layout.classes.tolist(), layout.shape) == ([2, 1], (3, 4))
    path.write_text("x,y\n1,2\n")
    assert read_layout(path, ("nucleus",)).classes.tolist() == [1]


def feature(kind: str, coordinates: list, name: str | None) -> dict:
    properties = {
        "objectType": "annotation",
        **({"classification": {"name": name, "color": [1, 2, 3]}} if name else {}),
    }
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def test_points_from_qupath(tmp_path):
    features = [
        feature("MultiPoint", [[3, 1], [4.5, 2]], "Lymphocyte"),
        feature("Point", [0, 5], "tumour"),
        feature("Polygon", [[[0, 0], [9, 0], [9, 9], [0, 0]]], "Tissue"),
        {"type": "Feature", "geometry": None, "properties": {}},
    ]
    for path, data in (
        (tmp_path / "a.geojson", {"type": "FeatureCollection", "features": features}),
        (tmp_path / "b.json", features),
    ):
        path.write_text(json.dumps(data))
        layout = read_layout(path, NAMES, (9, 9))
        assert layout.points.tolist() == [[1, 3], [2, 4.5], [5, 0]]
        assert layout.classes.tolist() == [2, 2, 1]
    packed = tmp_path / "c.geojson.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(read_layout(packed, NAMES).points, layout.points)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "is a .csv"),
        ("a.csv", "", "needs the columns x, y and class, has nothing"),
        ("a.csv", "a,b\n1,2\n", "has a, b"),
        ("a.csv", "x,y,class\n", "found 0"),
        ("a.csv", "x,y,class\n1,?,tumour\n", "line 2: x and y must be numbers"),
        ("a.csv", "x,y,class\n1\n", "line 2: x and y must be numbers"),
        ("a.csv", "x,y,class\n1,1,tumour\n1,2,dragon\n2,2,dragon\n", "2 of 3 points .* 'dragon'; .* tumour, lympho"),
        ("a.csv", "x,y\n1,1\n", "without a class"),
        ("a.csv", "x,y,class\nnan,1,tumour\n", "1 of 1 points lie outside"),
        ("a.csv", "x,y,class\ninf,1,tumour\n", "1 of 1 points lie outside"),
        ("a.csv", "x,y,class\n1e9,1,tumour\n", "reach to x 1e"),
        ("a.geojson", "no json", "as QuPath exports it"),
        ("a.geojson", "[" * 100_000, "as QuPath exports it"),
        ("a.geojson", '{"type": "FeatureCollection", "features": []}', "found 0"),
        ("a.geojson", json.dumps(feature("Point", ["a", "b"], "tumour")), "as QuPath exports it"),
        ("a.geojson", json.dumps(feature("Point", [1], "tumour")), "as QuPath exports it"),
        ("a.geojson", json.dumps(feature("Point", [1, 1], None)), "without a class"),
        ("a.geojson.gz", "not gzip", "cannot read"),
    ],
)
def test_files_that_are_no_layouts(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_layout(path, NAMES)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_size_limits_and_missing_files(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="cannot read the layout"):
        read_layout(tmp_path / "none.csv", NAMES)
    path = tmp_path / "a.csv"
    path.write_text("x,y,class\n1,1,tumour\n1,2,tumour\n")
    with pytest.raises(DataError, match="1 of 2 points lie outside the canvas of 4 x 2 px, the first at x 1, y 2"):
        read_layout(path, NAMES, (2, 4))
    monkeypatch.setattr(layout_files, "MAX_POINTS", 1)
    with pytest.raises(DataError, match="expected 1 to 1 points, found 2"):
        read_layout(path, NAMES)
    monkeypatch.setattr(layout_files, "MAX_BYTES", 8)
    with pytest.raises(DataError, match="holds more than"):
        read_layout(path, NAMES)

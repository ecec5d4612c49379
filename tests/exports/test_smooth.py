"""Smooth outlines: the nucleus that the pixels show, with fewer corners, for any nuclei and wherever they lie."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from wsinuc.exports.qupath import smooth
from wsinuc.exports.qupath.check import check_geojson
from wsinuc.exports.qupath.collapse import collapsed
from wsinuc.exports.qupath.geojson import write_geojson
from wsinuc.exports.qupath.shared_area import shared_area
from wsinuc.exports.qupath.smooth import MAX_LENGTH_ERROR, MIN_IOU, smooth_outlines
from wsinuc.grid import Box
from wsinuc.labels import fill_enclosed, relabel
from wsinuc.nuclei import Frame, Nuclei, concatenate
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.nuclei.measure import measure

SPECKS = hnp.arrays(np.int32, (14, 16), elements=st.sampled_from([0, 0, 1, 2]))
"""Whatever pixels may form, most of it nothing that a nucleus looks like."""
MOST_SHARED = 0.03
"""Share of the smaller of two nuclei in which both may lie, in crowds that are more ragged than those of slides."""


def table(labels: np.ndarray, frame: Frame | None = None) -> Nuclei:
    scores = np.full((3, *labels.shape), 200, np.uint8)
    classes = [NucleusClass("Nucleus", (0, 200, 80))]
    frame = frame or Frame(0.25, (1.0, 1.0))
    return measure(labels, scores, Box.of_shape(labels.shape), frame, classes).with_ids(1)


def crowd(seed: int, spread: float = 7.0, side: int = 100) -> np.ndarray:
    """Labels of ellipses in random places, which take from each other what is nearer to their own middle."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    nearest = np.full((side, side), 1.0)
    labels = np.zeros((side, side), np.int32)
    for i, (cy, cx) in enumerate(rng.uniform(10, side - 10, (side * side // 500, 2))):
        turn = rng.uniform(0, np.pi)
        along = (y - cy) * np.cos(turn) + (x - cx) * np.sin(turn)
        across = (x - cx) * np.cos(turn) - (y - cy) * np.sin(turn)
        distance = np.hypot(along / (spread * rng.uniform(1, 1.6)), across / spread)
        labels[distance < nearest] = i + 1
        nearest = np.minimum(nearest, distance)
    return of_nuclei(labels)


def of_nuclei(labels: np.ndarray) -> np.ndarray:
    """The largest piece of every label without holes, as separation leaves them, without specks."""
    out = np.zeros_like(labels)
    for label in range(1, labels.max() + 1):
        pieces, _ = ndimage.label(labels == label)
        sizes = np.bincount(pieces.ravel())[1:]
        if len(sizes) and sizes.max() >= 60:
            out[pieces == sizes.argmax() + 1] = label
    return relabel(fill_enclosed(relabel(out)))


def exact_polygons(nuclei: Nuclei) -> np.ndarray:
    rings = np.split(nuclei.outlines, nuclei.offsets[1:-1])
    return np.array([shapely.Polygon(ring[:, ::-1]) for ring in rings])


def smooth_polygons(nuclei: Nuclei) -> np.ndarray:
    corners, offsets = smooth_outlines(nuclei)
    return np.array([shapely.Polygon(ring[:, ::-1]) for ring in np.split(corners, offsets[1:-1])])


def written(path: Path) -> tuple[np.ndarray, list[dict[str, float]]]:
    features = json.loads(path.read_text(encoding="utf-8"))["features"]
    polygons = [shapely.Polygon(*f["geometry"]["coordinates"]) for f in features]
    return np.array(polygons), [f["properties"]["measurements"] for f in features]


def iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    shared = shapely.area(shapely.intersection(one, other))
    return shared / (shapely.area(one) + shapely.area(other) - shared)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), spread=st.floats(5.0, 11.0))
def test_a_crowd_of_nuclei(seed: int, spread: float) -> None:
    """What is promised of every outline: it is valid, has the area of its pixels, and lies where they lie."""
    nuclei = table(crowd(seed, spread))
    rounded = smooth_polygons(nuclei)
    assert shapely.is_valid(rounded).all()
    assert shapely.area(rounded) == pytest.approx(nuclei.areas_px)
    assert iou(exact_polygons(nuclei), rounded).min(initial=1) >= MIN_IOU - 1e-9


def test_most_outlines_are_as_long_as_the_table_says_and_have_few_corners() -> None:
    """What depends on how ragged the pixels are is asked of many nuclei at once, which are always the same ones."""
    errors = []
    shares = []
    corners = []
    for seed in range(16):
        nuclei = table(crowd(seed, 5.0 + 6.0 * seed / 15))
        rounded = smooth_polygons(nuclei)
        errors.append(np.abs(shapely.length(rounded) / (nuclei.measurements["length_um"] / 0.25) - 1))
        one, other = np.triu_indices(len(rounded), 1)
        shared = shapely.area(shapely.intersection(rounded[one], rounded[other]))
        shares.append(shared / np.minimum(nuclei.areas_px[one], nuclei.areas_px[other]))
        corners.append((len(smooth_outlines(nuclei)[0]), len(nuclei.outlines)))
        assert shared.sum() <= 0.005 * nuclei.areas_px.sum()
    # Ragged ones are longer than the table says as soon as they cover their pixels.
    assert np.quantile(np.concatenate(errors), 0.95) <= MAX_LENGTH_ERROR + 1e-6
    assert np.concatenate(errors).max() <= 2 * MAX_LENGTH_ERROR
    assert np.concatenate(shares).max() <= MOST_SHARED
    left, exact = np.sum(corners, axis=0)
    assert left <= 0.4 * exact


@settings(max_examples=25, deadline=None)
@given(labels=SPECKS, downsample=st.sampled_from([(1.0, 1.0), (2.0, 2.0), (1.9987, 2.0013), (0.5, 0.5)]))
def test_whatever_the_pixels_are(
    tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray, downsample: tuple[float, float]
) -> None:
    """QuPath takes all of it, every outline has its area and lies where its pixels lie."""
    nuclei = table(relabel(fill_enclosed(relabel(labels))), Frame(0.25, downsample))
    path = tmp_path_factory.mktemp("out") / "a.geojson"
    report = write_geojson([nuclei], path, run_id="r")
    assert report.count + report.dropped == len(nuclei)
    assert check_geojson(path).findings == () or not report.count
    if not len(nuclei):
        return
    exact = exact_polygons(nuclei)
    rounded = smooth_polygons(nuclei)
    plain = shapely.is_valid(exact)
    assert shapely.is_valid(rounded[plain]).all()
    assert shapely.area(rounded[plain]) == pytest.approx(nuclei.areas_px[plain])
    assert iou(exact[plain], rounded[plain]).min(initial=1) >= MIN_IOU - 1e-9


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, 5), shift=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_the_same_wherever_it_lies_and_with_whatever_else(seed: int, cut: int, shift: tuple[int, int]) -> None:
    """Cutting the table changes no bit; neither does moving the slide by whole pixels, to a millionth of one."""
    labels = crowd(seed)
    nuclei = table(labels)
    whole = smooth_outlines(nuclei)
    parts = [nuclei.select(np.arange(0, cut)), nuclei.select(np.arange(cut, len(nuclei)))]
    assert np.array_equal(np.concatenate([smooth_outlines(part)[0] for part in parts]), whole[0])
    assert np.array_equal(smooth_outlines(concatenate(parts))[1], whole[1])
    moved = table(np.pad(labels, ((shift[0], 0), (shift[1], 0))))
    assert np.array_equal(smooth_outlines(moved)[1], whole[1])
    assert np.abs(smooth_outlines(moved)[0] - shift - whole[0]).max() < 1e-6


def test_what_is_written_is_what_qupath_measures(tmp_path: Path) -> None:
    """Length and circularity are those of the polygon in the file, on its own pixels; the area is that of the table."""
    frame = Frame(0.5, (2.0, 1.9))
    nuclei = table(crowd(3), frame)
    write_geojson([nuclei], tmp_path / "a.geojson", run_id="r", origin_yx=(50_000, 100_000))
    polygons, measured = written(tmp_path / "a.geojson")
    um = shapely.transform(polygons, lambda xy: xy * (0.5 / 1.9, 0.5 / 2.0))
    area = np.array([each["Nucleus: Area µm^2"] for each in measured])
    length = np.array([each["Nucleus: Length µm"] for each in measured])
    circularity = np.array([each["Nucleus: Circularity"] for each in measured])
    assert shapely.area(um) == pytest.approx(area, rel=0.003)
    assert shapely.length(um) == pytest.approx(length, abs=1e-3)
    assert 4 * np.pi * shapely.area(um) / shapely.length(um) ** 2 == pytest.approx(circularity, abs=1e-3)
    assert np.array_equal(area.astype(np.float32), np.round(nuclei.measurements["area_um2"], 4))


def test_a_disc_is_round(tmp_path: Path) -> None:
    """QuPath finds a circularity of 0.64 for the pixels of a disc, and nearly 1 for its outline."""
    y, x = np.mgrid[-15:16, -15:16]
    nuclei = table(np.pad((np.hypot(y, x) < 12).astype(np.int32), 2))
    found = {}
    for kind in ("smooth", "exact"):
        write_geojson([nuclei], tmp_path / "a.geojson", run_id="r", outlines=kind)
        (disc,), (measured,) = written(tmp_path / "a.geojson")
        found[kind] = 4 * np.pi * disc.area / disc.length**2
        if kind == "smooth":
            assert measured["Nucleus: Circularity"] == pytest.approx(found[kind], abs=1e-3)
        else:
            assert measured["Nucleus: Circularity"] == pytest.approx(nuclei.measurements["circularity"][0], abs=1e-4)
    assert found["smooth"] > 0.96
    assert found["exact"] < 0.65


def test_a_file_is_smaller_and_the_table_untouched(tmp_path: Path) -> None:
    nuclei = table(crowd(5, 11.0))
    before = nuclei.measurements["length_um"].copy()
    for kind in ("smooth", "exact"):
        write_geojson([nuclei], tmp_path / f"{kind}.geojson", run_id="r", outlines=kind)
    assert (tmp_path / "smooth.geojson").stat().st_size < (tmp_path / "exact.geojson").stat().st_size
    assert np.array_equal(nuclei.measurements["length_um"], before)
    ids = [
        [f["id"] for f in json.loads((tmp_path / f"{k}.geojson").read_text())["features"]] for k in ("smooth", "exact")
    ]
    assert ids[0] == ids[1]


def test_an_outline_that_crosses_itself_gives_way_to_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    nuclei = table(crowd(7))
    monkeypatch.setattr(smooth, "_crossing", lambda corners, offsets: np.array([1]))
    corners, offsets = smooth_outlines(nuclei)
    assert np.array_equal(corners[offsets[1] : offsets[2]], nuclei.outlines[nuclei.offsets[1] : nuclei.offsets[2]])
    bow_tie = np.array([[0.0, 0], [2, 2], [2, 0], [0, 2], [0, 0], [0, 1], [1, 1]])
    monkeypatch.undo()
    assert smooth._crossing(bow_tie, np.array([0, 4, 7])).tolist() == [0]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_shared_area_is_that_of_geos(seed: int) -> None:
    rng = np.random.default_rng(seed)
    nuclei = table(crowd(seed, side=40))
    if not len(nuclei):
        return
    ring = nuclei.outlines[: nuclei.offsets[1]]
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    star = ring.mean(axis=0) + rng.uniform(1, 14, (9, 1)) * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    polygon = shapely.Polygon(star)
    if polygon.is_valid:
        assert shared_area(ring, star) == pytest.approx(polygon.intersection(shapely.Polygon(ring)).area, abs=1e-8)


def test_collapses_keep_the_area_and_end_at_their_limit() -> None:
    """A notch of 8 by 10 in a square of 400: it goes when 160 may change sides, and its area stays."""
    notched = np.array([(0, 0), (0, 400), (100, 400), (100, 392), (110, 392), (110, 400), (400, 400), (400, 0)])
    assert len(collapsed(notched.copy(), 0.0)) == len(notched)
    left = collapsed(notched.copy(), 200.0)
    assert len(left) < len(notched)
    # A point lies on the grid, at most half a step beside where it should.
    assert shapely.Polygon(left).area == pytest.approx(shapely.Polygon(notched).area, abs=400)


def test_a_border_that_two_nuclei_share_stays_one_line() -> None:
    """Seen from either side, away from its ends, a border is simplified to the same bits."""
    labels = np.zeros((60, 60), np.int32)
    y, x = np.mgrid[:60, :60]
    border = 30 + 4 * np.sin(y / 6)
    labels[5:55, 5:55] = np.where(x < border, 1, 2)[5:55, 5:55]
    nuclei = table(labels)
    corners, offsets = smooth_outlines(nuclei)
    # Both have almost the same area, so that they are grown by almost the same.
    left, right = (corners[a:b] for a, b in pairwise(offsets))
    inner = [ring[(ring[:, 0] > 15) & (ring[:, 0] < 45) & (abs(ring[:, 1] - 30) < 8)] for ring in (left, right)]
    assert len(inner[0]) == len(inner[1]) >= 3
    assert np.abs(inner[0][np.argsort(inner[0][:, 0])] - inner[1][np.argsort(inner[1][:, 0])]).max() < 0.05

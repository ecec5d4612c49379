import dataclasses
import errno
import itertools
import json
import math
import os
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops_table

from wsinuc.errors import DataError, OutputError
from wsinuc.grid import BlockGrid, Box
from wsinuc.labels import fill_enclosed, paint_outlines, relabel, trace_outlines
from wsinuc.nuclei import MEASUREMENTS, Frame, Nuclei, concatenate, empty, read_nuclei, write_nuclei
from wsinuc.nuclei.measure import measure
from wsinuc.nuclei.shape import ring_shapes

FRAME = Frame(mpp=0.5, downsample=(2.0, 2.0))


@dataclass(frozen=True)
class Kind:
    name: str
    color: tuple[int, int, int]


KINDS = (Kind("Neoplastic", (200, 0, 0)), Kind("Immune", (0, 0, 200)), Kind("Other", (9, 9, 9)))


def random_nuclei_image(seed: int, size: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), np.int32)
    yy, xx = np.mgrid[:size, :size]
    for i in range(1, 60):
        y, x, a, b = *rng.uniform(0, size, 2), *rng.uniform(3, 9, 2)
        labels[((yy - y) / a) ** 2 + ((xx - x) / b) ** 2 <= 1] = i
    return relabel(fill_enclosed(labels)), rng.integers(0, 256, (7, size, size), dtype=np.uint8)


def measured(labels: np.ndarray, **place: int) -> Nuclei:
    box = Box.of_shape(labels.shape).shift(place.get("dy", 0), place.get("dx", 0))
    return measure(labels, np.zeros((2, *labels.shape), np.uint8), box, FRAME, ())


def shapes_of(mask: np.ndarray) -> dict[str, float]:
    """Measurements of one nucleus at 1 um per px."""
    labels = np.ascontiguousarray(mask, dtype=np.int32)
    frame = Frame(mpp=1.0, downsample=(1.0, 1.0))
    nuclei = measure(labels, np.zeros((2, *labels.shape), np.uint8), Box.of_shape(labels.shape), frame, ())
    assert len(nuclei) == 1
    return {name: float(values[0]) for name, values in nuclei.measurements.items()}


def ellipse(a: float, b: float, angle: float = 0.0, y: float = 40.3, x: float = 39.8) -> np.ndarray:
    yy, xx = np.mgrid[:80, :80] + 0.5
    u = (xx - x) * math.cos(angle) + (yy - y) * math.sin(angle)
    v = (yy - y) * math.cos(angle) - (xx - x) * math.sin(angle)
    return (u / a) ** 2 + (v / b) ** 2 <= 1


def assert_equal(a: Nuclei, b: Nuclei) -> None:
    for field in dataclasses.fields(Nuclei):
        one, two = getattr(a, field.name), getattr(b, field.name)
        if isinstance(one, dict):
            assert list(one) == list(two)
            one, two = np.stack(list(one.values())), np.stack(list(two.values()))
        if isinstance(one, np.ndarray):
            assert one.dtype == two.dtype, field.name
            np.testing.assert_array_equal(one, two, err_msg=field.name)
        else:
            assert one == two


@pytest.fixture(scope="module")
def nuclei() -> Nuclei:
    return measure(*random_nuclei_image(0), Box(1000, 3000, 1200, 3200), FRAME, KINDS)


def test_numbers_agree_with_scikit_image(nuclei):
    labels, scores = random_nuclei_image(0)
    reference = regionprops_table(labels, np.moveaxis(scores, 0, -1), ["label", "area", "centroid", "mean_intensity"])
    assert len(nuclei) > 30
    np.testing.assert_array_equal(nuclei.ids, reference["label"])
    np.testing.assert_array_equal(nuclei.areas_px, reference["area"])
    np.testing.assert_allclose(nuclei.centroids[:, 0], reference["centroid-0"] + 1000.5, rtol=1e-12)
    np.testing.assert_allclose(nuclei.centroids[:, 1], reference["centroid-1"] + 3000.5, rtol=1e-12)
    means = np.stack([reference[f"mean_intensity-{i}"] for i in range(5)], axis=1) / 255
    np.testing.assert_allclose(nuclei.probabilities, means[:, 0], rtol=1e-6)
    np.testing.assert_allclose(nuclei.disagreements, means[:, 1], rtol=1e-6)
    np.testing.assert_allclose(nuclei.class_probabilities, means[:, 2:], rtol=1e-6)
    np.testing.assert_array_equal(nuclei.classes, means[:, 2:].argmax(axis=1))
    assert nuclei.class_names == ("Neoplastic", "Immune", "Other")
    assert nuclei.class_colors[1] == (0, 0, 200)


def test_outlines_lie_in_the_view_and_paint_the_labels_back(nuclei):
    labels, _ = random_nuclei_image(0)
    painted = paint_outlines(nuclei.outlines, nuclei.offsets, nuclei.ids, Box(1000, 3000, 1200, 3200))
    np.testing.assert_array_equal(painted, labels)
    np.testing.assert_array_equal(nuclei.level0_centroids(), nuclei.centroids * 2.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 30), st.integers(0, 30))
def test_a_nucleus_measures_the_same_in_any_block(y, x, top, left):
    labels, scores = random_nuclei_image(3)
    whole = measure(labels, scores, Box(y, x, y + 200, x + 200), FRAME, KINDS)
    box = Box(y + top, x + left, y + 200, x + 200)
    part = measure(relabel(labels[top:, left:]), scores[:, top:, left:], box, FRAME, KINDS)
    whole = whole.select(~whole.touching(box)).with_ids(1)
    assert len(whole) > 10
    assert_equal(part.select(~part.touching(box)).with_ids(1), whole)


@pytest.mark.parametrize("radius", [6, 8, 12, 20])
def test_discs(radius):
    shape = shapes_of(ellipse(radius, radius))
    assert shape["area_um2"] == pytest.approx(math.pi * radius**2, rel=0.03)
    assert shape["length_um"] == pytest.approx(2 * math.pi * radius, rel=0.025)
    assert shape["circularity"] > 0.96
    assert shape["solidity"] > 0.95
    assert shape["max_diameter_um"] == pytest.approx(2 * radius, abs=1)
    assert shape["min_diameter_um"] == pytest.approx(2 * radius, abs=1)


@pytest.mark.parametrize("angle", [0.0, 0.3, 0.9, 1.4])
def test_ellipses(angle):
    shape = shapes_of(ellipse(20, 10, angle))
    assert shape["length_um"] == pytest.approx(96.88, rel=0.02)
    assert shape["circularity"] == pytest.approx(4 * math.pi * math.pi * 200 / 96.88**2, rel=0.04)
    assert shape["max_diameter_um"] == pytest.approx(40, abs=1)
    assert shape["min_diameter_um"] == pytest.approx(20, abs=1)


def test_rectangles():
    mask = np.zeros((40, 50), bool)
    mask[3:13, 5:45] = True
    shape = shapes_of(mask)
    assert shape["area_um2"] == 400
    assert shape["solidity"] == 1.0
    assert shape["min_diameter_um"] == 10
    at_a_corner = (2 * math.hypot(1, 3) + math.hypot(2, 2)) / 4  # three chords of four steps go round it
    assert shape["length_um"] == pytest.approx(100 + 4 * (at_a_corner - 3))
    assert shape["max_diameter_um"] == pytest.approx(math.hypot(40, 9), abs=0.01)


def test_one_pixel():
    shape = shapes_of(np.ones((1, 1)))
    assert shape["area_um2"] == 1
    assert 0 < shape["circularity"] <= 1
    assert shape["solidity"] == 1


def test_a_notch_lowers_solidity_and_circularity():
    disc, bitten = ellipse(15, 15), ellipse(15, 15) & ~ellipse(7, 7, y=28)
    assert shapes_of(bitten)["solidity"] < 0.9 < shapes_of(disc)["solidity"]
    assert shapes_of(bitten)["circularity"] < shapes_of(disc)["circularity"] - 0.1


def test_diameters_and_hull_agree_with_shapely():
    labels, _ = random_nuclei_image(4)
    _, outlines, offsets = trace_outlines(labels)
    for shape, a, b in zip(ring_shapes(outlines, offsets), offsets[:-1], offsets[1:], strict=True):
        ring = outlines[a:b].astype(float)
        whole = np.concatenate(
            [np.linspace(p, q, int(abs(q - p).sum()) + 1)[:-1] for p, q in zip(ring, np.roll(ring, -1, 0), strict=True)]
        )
        hull = shapely.MultiPoint((whole + np.roll(whole, -1, axis=0)) / 2).convex_hull
        points = shapely.get_coordinates(hull)
        sides = [math.dist(*pair) for pair in itertools.pairwise(points)]
        normals = np.diff(points, axis=0)[:, ::-1] * [1, -1] / np.array(sides)[:, None]
        assert shape[1] == pytest.approx(hull.area)
        assert shape[2] == pytest.approx(max(math.dist(p, q) for p in points for q in points))
        assert shape[3] == pytest.approx(np.ptp(normals @ points.T, axis=1).min())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 50), st.integers(0, 3), st.booleans(), st.integers(0, 10**7))
def test_shape_is_exactly_the_same_after_turn_flip_and_shift(seed, turns, flip, shift):
    labels, _ = random_nuclei_image(seed, size=60)
    turned = np.rot90(labels[:, ::-1] if flip else labels, turns)
    one, two = measured(labels), measured(turned, dy=shift, dx=shift)
    for name in MEASUREMENTS:
        np.testing.assert_array_equal(one.measurements[name], two.measurements[name], err_msg=name)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 50), st.integers(1, 97))
def test_every_nucleus_has_one_owner(seed, block):
    nuclei = measured(random_nuclei_image(seed, size=100)[0])
    owned = [nuclei.owned_by(b.core) for b in BlockGrid(shape=(100, 100), block=block, halo=0)]
    assert (np.sum(owned, axis=0) == 1).all()


def test_centroid_on_a_border_belongs_to_the_box_that_starts_there():
    labels = np.zeros((4, 4), np.int32)
    labels[1:3, 1:3] = 1
    nuclei = measured(labels)
    assert nuclei.centroids.tolist() == [[2.0, 2.0]]
    assert nuclei.owned_by(Box(2, 2, 4, 4)).tolist() == [True]
    assert nuclei.owned_by(Box(0, 2, 2, 4)).tolist() == [False]


def test_touching_finds_what_reaches_the_border():
    labels = np.zeros((10, 10), np.int32)
    labels[0, 4], labels[4, 4], labels[9, 9], labels[1, 1] = 1, 2, 3, 4
    nuclei = measured(labels, dy=50, dx=70)
    assert nuclei.touching(Box(50, 70, 60, 80)).tolist() == [True, False, True, False]
    assert nuclei.touching(Box(40, 60, 90, 90)).tolist() == [False] * 4
    assert nuclei.touching(Box(51, 71, 55, 90)).tolist() == [True, True, True, True]


def test_select_takes_masks_and_positions(nuclei):
    last_first = nuclei.select(np.array([len(nuclei) - 1, 0]))
    assert last_first.ids.tolist() == [len(nuclei), 1]
    np.testing.assert_array_equal(last_first.outlines[-4:], nuclei.outlines[: nuclei.offsets[1]][-4:])
    big = nuclei.select(nuclei.areas_px > 50)
    assert len(big) == (nuclei.areas_px > 50).sum() < len(nuclei)
    assert_equal(nuclei.select(np.arange(len(nuclei))), nuclei)
    assert_equal(nuclei.select(np.zeros(len(nuclei), bool)), empty(FRAME, nuclei.class_names, nuclei.class_colors))


def test_joining_what_was_split_changes_nothing(nuclei):
    positions = np.arange(len(nuclei))
    none = empty(FRAME, nuclei.class_names, nuclei.class_colors)
    parts = [nuclei.select(positions < 10), none, nuclei.select(positions >= 10)]
    assert_equal(concatenate(parts), nuclei)
    assert nuclei.with_ids(101).ids[[0, -1]].tolist() == [101, 100 + len(nuclei)]


def test_tables_that_do_not_fit_are_refused(nuclei):
    with pytest.raises(DataError, match="frame differ"):
        concatenate([nuclei, dataclasses.replace(nuclei, frame=Frame(mpp=0.25, downsample=(1.0, 1.0)))])
    with pytest.raises(DataError, match="none"):
        concatenate([])
    with pytest.raises(DataError, match="areas_px"):
        dataclasses.replace(nuclei, areas_px=nuclei.areas_px[1:])


def test_nothing_measured():
    nothing = measure(np.zeros((5, 6), np.int32), np.zeros((5, 5, 6), np.uint8), Box(0, 0, 5, 6), FRAME, KINDS)
    assert_equal(nothing, empty(FRAME, tuple(k.name for k in KINDS), tuple(k.color for k in KINDS)))
    assert nothing.touching(Box(0, 0, 5, 6)).shape == nothing.owned_by(Box(0, 0, 5, 6)).shape == (0,)


@pytest.mark.parametrize("which", ["all", "none", "classless", "one class"])
def test_parquet_gives_back_exactly_what_was_written(nuclei, tmp_path, which):
    table = {
        "all": nuclei,
        "none": nuclei.select(np.zeros(len(nuclei), bool)),
        "classless": measured(random_nuclei_image(5)[0]),
        "one class": nuclei.select(nuclei.classes == 1),
    }[which]
    write_nuclei(table, tmp_path / "part.parquet")
    assert_equal(read_nuclei(tmp_path / "part.parquet"), table)
    assert os.listdir(tmp_path) == ["part.parquet"]


def test_equal_nuclei_give_equal_bytes(tmp_path):
    for name in "ab":
        table = measure(*random_nuclei_image(0), Box(0, 0, 200, 200), FRAME, KINDS)
        write_nuclei(table.select(np.arange(len(table))), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_parquet_speaks_for_itself(nuclei, tmp_path):
    write_nuclei(nuclei, tmp_path / "part.parquet")
    table = pq.read_table(tmp_path / "part.parquet")
    row = table.slice(3, 1).to_pylist()[0]
    assert row["y"] == nuclei.centroids[3, 0] * 2
    assert row["class"] == nuclei.class_names[nuclei.classes[3]]
    assert row["probability_Immune"] == nuclei.class_probabilities[3, 1]
    assert (row["y_um"], row["x_um"]) == tuple(nuclei.centroids[3] / 2)
    # Level-0 pixels: four of them in a pixel of the view.
    assert shapely.from_wkb(row["geometry"]).area == 4 * row["area_px"] == 16 * row["area_um2"]
    about = json.loads(table.schema.metadata[b"wsinuc"])
    assert about["version"] == 2
    assert about["frame"] == {"mpp": 0.5, "downsample": [2.0, 2.0]}
    assert about["classes"][0] == {"name": "Neoplastic", "color": [200, 0, 0]}
    assert set(about["units"]) <= set(table.column_names)


def test_reading_what_is_no_table_of_nuclei(nuclei, tmp_path):
    path = tmp_path / "part.parquet"
    with pytest.raises(DataError, match=r"part\.parquet"):
        read_nuclei(path)
    write_nuclei(nuclei, path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"part\.parquet"):
        read_nuclei(path)
    pq.write_table(pq.read_table(_written(nuclei, tmp_path)).replace_schema_metadata({}), path)
    with pytest.raises(DataError, match="no table of nuclei"):
        read_nuclei(path)
    for header in (b"[" * 100_000, b"[1]", b"\xff"):
        pq.write_table(pq.read_table(_written(nuclei, tmp_path)).replace_schema_metadata({b"wsinuc": header}), path)
        with pytest.raises(DataError, match="is no header of nuclei"):
            read_nuclei(path)


def _written(nuclei, folder):
    write_nuclei(nuclei, folder / "good.parquet")
    return folder / "good.parquet"


def test_a_failed_write_leaves_the_old_file_and_no_scraps(nuclei, tmp_path, monkeypatch):
    path = _written(nuclei, tmp_path)
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_nuclei(nuclei.select(np.array([0])), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["good.parquet"]


@pytest.mark.parametrize("folder", ["nowhere", "good.parquet"])
def test_a_folder_that_is_none_is_an_output_error(nuclei, tmp_path, folder):
    _written(nuclei, tmp_path)
    with pytest.raises(OutputError, match=f"cannot write .*{folder}"):
        write_nuclei(nuclei, tmp_path / folder / "part.parquet")

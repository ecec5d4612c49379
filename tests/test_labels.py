import itertools

import cc3d
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from wsinuc.grid import Box
from wsinuc.labels import fill_enclosed, paint_outlines, relabel, ring_areas, take_rings, trace_outlines

label_arrays = arrays(
    np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 3), fill=st.just(1)
)


def as_labels(*rows: str) -> np.ndarray:
    return np.array([[int(c) if c != "." else 0 for c in row] for row in rows], dtype=np.int32)


def polygons(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ids, outlines, offsets = trace_outlines(labels)
    return ids, np.array([shapely.Polygon(outlines[a:b]) for a, b in itertools.pairwise(offsets)])


def enclosed_by_definition(mask: np.ndarray) -> np.ndarray:
    """The mask with every part of its surroundings that has no 4-connected way to the outside."""
    outside = cc3d.connected_components(np.pad(~mask, 1, constant_values=True), connectivity=4)
    return (outside != outside[0, 0])[1:-1, 1:-1]


def test_outline_of_an_l_shape_starts_top_left_and_runs_clockwise():
    ids, outlines, offsets = trace_outlines(as_labels("....", ".5..", ".55."))
    assert ids.tolist() == [5]
    assert offsets.tolist() == [0, 6]
    assert outlines.tolist() == [[1, 1], [1, 2], [2, 2], [2, 3], [3, 3], [3, 1]]


def test_rings_come_in_id_order():
    ids, outlines, offsets = trace_outlines(as_labels("2.1"))
    assert ids.tolist() == [1, 2]
    assert outlines[offsets[:-1]].tolist() == [[0, 2], [0, 0]]


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (3, 4)])
def test_nothing_to_trace(shape):
    empty = np.zeros(shape, np.int32)
    ids, outlines, offsets = trace_outlines(empty)
    assert (ids.shape, outlines.shape, offsets.tolist()) == ((0,), (0, 2), [0])
    assert fill_enclosed(empty).shape == relabel(empty).shape == shape


def test_a_ring_encloses_a_pocket_behind_a_corner_contact():
    pocket = as_labels("11.", "1.1", "111")
    _, (polygon,) = polygons(pocket)
    assert polygon.is_valid
    assert polygon.area == 8
    assert fill_enclosed(pocket).tolist() == [[1, 1, 0], [1, 1, 1], [1, 1, 1]]


def test_enclosed_labels_are_absorbed_by_the_outermost():
    nested = as_labels("11111", "12221", "12321", "12221", "11111")
    assert (fill_enclosed(nested) == 1).all()


def test_only_the_largest_piece_stays_and_the_first_of_equals():
    assert fill_enclosed(as_labels("1.11.1")).tolist() == [[0, 0, 1, 1, 0, 0]]
    assert fill_enclosed(as_labels("1.1")).tolist() == [[1, 0, 0]]


@settings(max_examples=300, deadline=None)
@given(label_arrays)
def test_filled_labels_have_simple_exact_outlines(labels):
    filled = fill_enclosed(labels)
    ids, rings = polygons(filled)
    assert set(ids) == set(np.unique(filled)) - {0}
    assert shapely.is_valid(rings).all()
    counts = np.bincount(filled.ravel())[ids]
    np.testing.assert_array_equal(shapely.area(rings), counts)
    np.testing.assert_array_equal(ring_areas(*trace_outlines(filled)[1:]), counts)
    for label in ids:
        mask = filled == label
        assert ndimage.label(mask)[1] == 1
        np.testing.assert_array_equal(enclosed_by_definition(mask), mask)
    np.testing.assert_array_equal(fill_enclosed(filled), filled)


@settings(max_examples=200, deadline=None)
@given(label_arrays)
def test_a_single_label_is_filled_as_defined(labels):
    pieces = cc3d.connected_components(labels == 1, connectivity=4).astype(np.int32)
    mask = pieces == 1
    expected = enclosed_by_definition(mask) if mask.any() else mask
    np.testing.assert_array_equal(fill_enclosed(mask.astype(np.int32)) == 1, expected)


@settings(max_examples=200, deadline=None)
@given(label_arrays, st.integers(-14, 14), st.integers(-14, 14), st.integers(1, 20), st.integers(1, 20))
def test_painting_gives_the_same_pixels_in_any_box(labels, y0, x0, height, width):
    labels = fill_enclosed(labels)
    ids, outlines, offsets = trace_outlines(labels)
    box = Box(y0, x0, y0 + height, x0 + width)
    painted = paint_outlines(outlines, offsets, ids, box, dtype=np.uint16)
    plane = np.pad(labels, 40)
    assert painted.dtype == np.uint16
    np.testing.assert_array_equal(painted, plane[box.shift(40, 40).slices])


@settings(max_examples=100, deadline=None)
@given(label_arrays, st.integers(0, 5), st.integers(0, 5))
def test_outlines_move_with_their_pixels(labels, dy, dx):
    labels = fill_enclosed(labels)
    moved = np.pad(labels, ((dy, 2), (dx, 1)))
    np.testing.assert_array_equal(trace_outlines(moved)[1], trace_outlines(labels)[1] + [dy, dx])
    np.testing.assert_array_equal(fill_enclosed(moved), moved)


def test_painting_leaves_the_rest_of_out_alone_and_later_rings_win():
    outlines = np.array([[0, 0], [0, 3], [1, 3], [1, 0], [0, 1], [0, 2], [1, 2], [1, 1]], np.int32)
    out = np.full((1, 4), 9, np.int64)
    painted = paint_outlines(outlines, np.array([0, 4, 8]), np.array([1, 2]), Box(0, 0, 1, 4), out=out)
    assert painted is out
    assert out.tolist() == [[1, 2, 1, 9]]


def test_a_ring_without_corners_paints_nothing():
    outlines = np.array([[0, 0], [0, 2], [1, 2], [1, 0]], np.int32)
    painted = paint_outlines(outlines, np.array([0, 0, 4, 4]), np.array([1, 2, 3]), Box(0, 0, 1, 3))
    assert painted.tolist() == [[2, 2, 0]]


def test_take_rings_follows_the_index():
    ids, outlines, offsets = trace_outlines(as_labels("1.2.3", "1.22."))
    taken, new = take_rings(outlines, offsets, np.array([2, 0]))
    assert paint_outlines(taken, new, ids[[2, 0]], Box(0, 0, 2, 5)).tolist() == [[1, 0, 0, 0, 3], [1, 0, 0, 0, 0]]
    assert take_rings(outlines, offsets, np.array([], int))[1].tolist() == [0]


def test_relabel_is_dense_in_raster_order_and_drops_small_labels():
    labels = as_labels("..7", "552", "55.")
    assert relabel(labels).tolist() == [[0, 0, 1], [2, 2, 3], [2, 2, 0]]
    assert relabel(labels, min_area=2).tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 0]]


def test_outline_is_the_exact_inverse_on_a_large_random_blob():
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(400, 300)), 3)
    labels = relabel(fill_enclosed(ndimage.label(noise > 0.05)[0].astype(np.int32)))
    ids, outlines, offsets = trace_outlines(labels)
    assert len(ids) > 50
    np.testing.assert_array_equal(paint_outlines(outlines, offsets, ids, Box(0, 0, 400, 300)), labels)

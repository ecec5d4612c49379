"""Algebra of label arrays: pixels to exact outlines and back.

A label array is int32 ``(h, w)``; 0 is background. Outlines run along *cracks*, the edges between pixels, so that a
polygon encloses exactly its pixels: tracing and painting are inverses of each other and a polygon's area is a pixel
count.

Polygons are only valid when they do not touch themselves. A 4-connected region does touch itself where two of its
pixels meet at a corner alone; one of the two other pixels at that corner is then cut off from the outside by
4-connected paths. `fill_enclosed` counts such pockets as holes and fills them, which removes every such corner. That
is why connectivity is 4 for the regions *and* for their surroundings everywhere in this module.
"""

from __future__ import annotations

from typing import Any

import cc3d
import numpy as np
from numpy.typing import DTypeLike, NDArray

from wsinuc.grid import Box
from wsinuc.kernels import kernel

Int = NDArray[np.int32]
Offsets = NDArray[np.int64]


def trace_outlines(labels: Int) -> tuple[Int, Int, Offsets]:
    """Outer boundary of every label, as closed rings of corner points along the pixel edges.

    A ring starts at the top left corner of its label's first pixel in raster order and runs clockwise as seen on
    screen; points in the middle of a straight run are left out and the first point is not repeated. Where a label
    touches itself at a corner the ring takes the outer way, so it encloses what `fill_enclosed` would fill.

    Parameters
    ----------
    labels
        int32 ``(h, w)``, each label one 4-connected piece (of several, the first in raster order is traced). Ids
        should be dense: memory grows with the largest.

    Returns
    -------
    ids
        int32 ``(n,)``, ascending.
    outlines
        int32 ``(m, 2)`` corners (y, x) of all rings one after another.
    offsets
        int64 ``(n + 1,)``: ring i is ``outlines[offsets[i] : offsets[i + 1]]``.

    Examples
    --------
    >>> trace_outlines(np.array([[0, 7, 7]], dtype=np.int32))[1].tolist()
    [[0, 1], [0, 3], [1, 3], [1, 1]]
    """
    return _trace(np.ascontiguousarray(labels, dtype=np.int32))


def paint_outlines(
    outlines: Int,
    offsets: Offsets,
    values: NDArray[Any],
    box: Box,
    *,
    dtype: DTypeLike = np.int32,
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Fill rings with their values, the inverse of `trace_outlines`; where rings overlap the later one wins.

    Parameters
    ----------
    outlines, offsets
        Rings as `trace_outlines` returns them, possibly outside the box.
    values
        ``(n,)``, one per ring.
    box
        Which pixels to paint, in the coordinates of the outlines.
    dtype
        Of the result; ignored when ``out`` is given.
    out
        C-contiguous array of the box's shape to paint into.

    Returns
    -------
    array of the box's shape; zero (or what ``out`` held) outside the rings.
    """
    if out is None:
        out = np.zeros(box.shape, dtype=dtype)
    assert out.shape == box.shape, (out.shape, box.shape)
    values = np.ascontiguousarray(values).astype(out.dtype)
    _paint(np.ascontiguousarray(outlines, dtype=np.int32), offsets, values, box.y0, box.x0, out)
    return out


def ring_areas(outlines: Int, offsets: Offsets) -> NDArray[np.int64]:
    """Pixels that each ring encloses, int64 ``(n,)``."""
    return _ring_areas(np.ascontiguousarray(outlines, dtype=np.int32), offsets)


def pixel_counts(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """Pixels of every label from 0 to the largest, int64; ``np.bincount`` without its copy of the array."""
    return _pixel_counts(labels)


def take_rings(outlines: Int, offsets: Offsets, index: NDArray[np.intp]) -> tuple[Int, Offsets]:
    """The rings named by an integer index, in its order, as new outlines and offsets."""
    lengths = np.diff(offsets)[index]
    new = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    rows = np.arange(new[-1]) + np.repeat(offsets[:-1][index] - new[:-1], lengths)
    return outlines[rows], new


def relabel(labels: Int, min_area: int = 1) -> Int:
    """Number labels 1..n by their first pixel in raster order; fewer than ``min_area`` pixels become background.

    The order of two labels does not depend on how the array was cropped.

    Examples
    --------
    >>> relabel(np.array([[9, 9, 0, 4]], dtype=np.int32)).tolist()
    [[1, 1, 0, 2]]
    """
    return _relabel(np.ascontiguousarray(labels, dtype=np.int32), min_area)


def connected_pieces(labels: NDArray[Any]) -> Int:
    """4-connected pieces of a mask, or of labels, of which each has its own pieces: int32 of its shape, 0 background.

    Examples
    --------
    >>> connected_pieces(np.array([[True, False, True, True]])).tolist()
    [[1, 0, 2, 2]]
    """
    # Left alone the type depends on the number of pixels, and a kernel is compiled for each type that it meets.
    pieces: Int = cc3d.connected_components(labels, connectivity=4, out_dtype=np.uint32).view(np.int32)
    return pieces


def fill_enclosed(labels: Int) -> Int:
    """Make each label one 4-connected piece without holes, so that its outline is a simple polygon.

    Of several pieces the largest stays (of equal ones the first in raster order) and the others become background.
    Then each label takes whatever it encloses: background, or a smaller label, which is absorbed. Enclosed means not
    4-connected to the array's edge except through the label. Ids are kept, but some may vanish. Idempotent.

    Examples
    --------
    >>> fill_enclosed(np.array([[1, 1, 1], [1, 2, 1], [1, 1, 0]], dtype=np.int32)).tolist()
    [[1, 1, 1], [1, 1, 1], [1, 1, 0]]
    """
    labels = np.ascontiguousarray(labels, dtype=np.int32)
    pieces, count = cc3d.connected_components(labels, connectivity=4, return_N=True)
    ids, outlines, offsets = trace_outlines(labels)
    if count > len(ids):
        labels = _largest_pieces(labels, pieces.astype(np.int32, copy=False))
        ids, outlines, offsets = trace_outlines(labels)
    enclosed = ring_areas(outlines, offsets)
    holed = np.flatnonzero(enclosed > pixel_counts(labels)[ids])
    # Filled regions are nested or apart, so painting from small to large lets the outermost win.
    holed = holed[np.argsort(enclosed[holed], kind="stable")]
    if not len(holed):
        return labels
    rings = take_rings(outlines, offsets, holed)
    return paint_outlines(*rings, ids[holed], Box.of_shape(labels.shape), out=labels)


@kernel
def table_length(labels: NDArray[np.integer]) -> int:
    """Entries of a table with one for each label up to the largest and one for the background; for other kernels."""
    largest = 0
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            largest = max(largest, labels[y, x])
    return largest + 1


@kernel
def _trace(labels: Int) -> tuple[Int, Int, Offsets]:
    first, count = _first_pixels(labels)
    ids = np.empty(count, np.int32)
    offsets = np.zeros(count + 1, np.int64)
    corners = np.empty((16 * count + 16, 2), np.int32)
    used = 0
    ring = 0
    for label in range(1, len(first)):
        if first[label] < 0:
            continue
        y0, x0 = divmod(first[label], labels.shape[1])
        y = y0
        x = x0
        heading = 0  # east: along the top edge of the first pixel
        turned = True
        while True:
            if turned:
                if used == len(corners):
                    corners = np.concatenate((corners, np.empty_like(corners)))
                corners[used, 0] = y
                corners[used, 1] = x
                used += 1
            y += _STEP_Y[heading]
            x += _STEP_X[heading]
            # A walk that keeps to the outer way passes its first corner once, so coming back there ends the ring.
            if y == y0 and x == x0:
                break
            turn = _turn(labels, label, y, x, heading)
            turned = turn != 0
            heading = (heading + turn) % 4
        ids[ring] = label
        ring += 1
        offsets[ring] = used
    return ids, corners[:used].copy(), offsets


@kernel
def _first_pixels(labels: Int) -> tuple[NDArray[np.int64], int]:
    """Place in raster order of each label's first pixel, -1 where there is none, and how many labels there are.

    The top left corner of that pixel is always on the outer boundary.
    """
    height, width = labels.shape
    first = np.full(table_length(labels), -1, np.int64)
    count = 0
    for y in range(height):
        for x in range(width):
            label = labels[y, x]
            if label > 0 and first[label] < 0:
                first[label] = y * width + x
                count += 1
    return first, count


_STEP_Y = np.array([0, 1, 0, -1])
_STEP_X = np.array([1, 0, -1, 0])
# The two pixels in front of a walker at a crack corner, by heading (east, south, west, north).
_LEFT_Y = np.array([-1, 0, 0, -1])
_LEFT_X = np.array([0, 0, -1, -1])
_RIGHT_Y = np.array([0, 0, -1, -1])
_RIGHT_X = np.array([0, -1, -1, 0])


@kernel
def _turn(labels: Int, label: int, y: int, x: int, heading: int) -> int:
    """-1 left, 0 straight on, +1 right, for a walker who keeps the label on the right hand."""
    # Left is asked first: at a corner where the label touches itself this takes the outer way.
    if _is(labels, label, y + _LEFT_Y[heading], x + _LEFT_X[heading]):
        return -1
    if _is(labels, label, y + _RIGHT_Y[heading], x + _RIGHT_X[heading]):
        return 0
    return 1


@kernel
def _is(labels: Int, label: int, y: int, x: int) -> bool:
    # A pixel outside the array is no label, whatever it would be on a larger one.
    return bool(0 <= y < labels.shape[0] and 0 <= x < labels.shape[1] and labels[y, x] == label)


@kernel
def _ring_areas(outlines: Int, offsets: Offsets) -> NDArray[np.int64]:
    areas = np.zeros(len(offsets) - 1, np.int64)
    for i in range(len(areas)):
        previous = offsets[i + 1] - 1
        for k in range(offsets[i], offsets[i + 1]):
            # The shoelace formula; only horizontal runs count: height times signed length. In int64, since the
            # products of a whole slide's coordinates leave int32.
            areas[i] += np.int64(outlines[k, 0]) * (outlines[previous, 1] - outlines[k, 1])
            previous = k
    return areas


@kernel
def _paint(
    outlines: Int, offsets: Offsets, values: NDArray[Any], y_origin: int, x_origin: int, out: NDArray[Any]
) -> None:
    height, width = out.shape
    for i in range(len(offsets) - 1):
        ring = outlines[offsets[i] : offsets[i + 1]]
        # Unlike NumPy's, a kernel's index is not checked.
        if len(ring) == 0:
            continue
        top, left, bottom, right = extent(ring)
        y0 = max(top - y_origin, 0)
        x0 = max(left - x_origin, 0)
        y1 = min(bottom - y_origin, height)
        x1 = min(right - x_origin, width)
        if y0 >= y1 or x0 >= x1:
            continue
        # Clockwise rings go up on their left side and down on their right: +1 and -1, summed along the row.
        steps = np.zeros((y1 - y0, x1 - x0), np.int8)
        previous = len(ring) - 1
        for k in range(len(ring)):
            above = ring[previous, 0] - y_origin
            below = ring[k, 0] - y_origin
            # An edge left of the box counts at the box's first column, so that sums inside start right.
            x = max(ring[k, 1] - x_origin, x0)
            if x < x1:
                for y in range(max(min(above, below), y0), min(max(above, below), y1)):
                    steps[y - y0, x - x0] += 1 if above > below else -1
            previous = k
        for y in range(y0, y1):
            inside = 0
            for x in range(x0, x1):
                inside += steps[y - y0, x - x0]
                if inside:
                    out[y, x] = values[i]


@kernel
def extent(ring: NDArray[Any]) -> tuple[Any, Any, Any, Any]:
    """Lowest and highest coordinates of a ring that has corners, (y0, x0, y1, x1); for other kernels."""
    top = bottom = ring[0, 0]
    left = right = ring[0, 1]
    for k in range(len(ring)):
        top = min(top, ring[k, 0])
        bottom = max(bottom, ring[k, 0])
        left = min(left, ring[k, 1])
        right = max(right, ring[k, 1])
    return top, left, bottom, right


@kernel
def _pixel_counts(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    counts = np.zeros(table_length(labels), np.int64)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            counts[labels[y, x]] += 1
    return counts


@kernel
def _relabel(labels: Int, min_area: int) -> Int:
    areas = _pixel_counts(labels)
    new = np.zeros(len(areas), np.int32)
    count = 0
    out = np.zeros_like(labels)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            if label > 0 and areas[label] >= min_area:
                if new[label] == 0:
                    count += 1
                    new[label] = count
                out[y, x] = new[label]
    return out


@kernel
def _largest_pieces(labels: Int, pieces: Int) -> Int:
    areas = _pixel_counts(pieces)
    best = np.zeros(table_length(labels), np.int32)
    out = np.zeros_like(labels)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            label = labels[y, x]
            piece = pieces[y, x]
            # Raster order and a strict comparison: of equal pieces the first one stays.
            if label > 0 and (best[label] == 0 or areas[piece] > areas[best[label]]):
                best[label] = piece
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            if labels[y, x] > 0 and best[labels[y, x]] == pieces[y, x]:
                out[y, x] = labels[y, x]
    return out

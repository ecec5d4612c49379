"""Cells grown from nuclei: each takes the pixels that are nearest to it, up to a distance, so cells do not overlap.

A pixel goes to the nucleus with the nearest pixel, if that is near enough: what ``skimage.segmentation.expand_labels``
and QuPath's cell expansion do. Of equally near pixels the first in raster order wins, so a cell depends on the nuclei
within twice the distance and on nothing else. Cells are made of the table, when nuclei are numbered, and come out the
same whatever the blocks.

A cell is one piece without holes. Where it would grow around a whole other nucleus (a horseshoe that closes) it stays
as large as its nucleus.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cc3d
import numpy as np
from numpy.typing import NDArray

from wsinuc.grid import Box
from wsinuc.kernels import kernel
from wsinuc.labels import Int, Offsets, paint_outlines, pixel_counts, ring_areas, take_rings, trace_outlines
from wsinuc.nuclei.densities import cytoplasm_densities
from wsinuc.nuclei.measure import shape_measurements
from wsinuc.nuclei.measured_names import CYTOPLASM
from wsinuc.nuclei.shape import ring_shapes
from wsinuc.nuclei.stains import StainVectors, density_tables
from wsinuc.nuclei.table import Nuclei, bounding_boxes

_FAR = 2**15


@dataclass(frozen=True, slots=True)
class Cytoplasm:
    """What the stains of cells are measured with."""

    stains: StainVectors
    read: Callable[[Box], NDArray[np.uint8]]
    """RGB ``(h, w, 3)`` of a box of the view."""


def with_cells(
    nuclei: Nuclei,
    others: Sequence[Nuclei],
    reach_um: float,
    shape: tuple[int, int],
    cytoplasm: Cytoplasm | None = None,
) -> Nuclei:
    """The nuclei with the outlines and measurements of their cells.

    Parameters
    ----------
    nuclei
        Some nuclei of a slide.
    others
        All others that have a pixel within twice ``reach_um`` of one of them; more do no harm.
    reach_um
        How far a cell reaches from its nucleus, in um.
    shape
        (height, width) of the view, which cells do not leave.
    cytoplasm
        None measures no stains.
    """
    if not len(nuclei):
        return replace(nuclei, cell_outlines=np.zeros((0, 2), np.int32), cell_offsets=np.zeros(1, np.int64))
    reach = reach_um / nuclei.frame.mpp
    window = cells_around(nuclei, reach_um).clip(Box.of_shape(shape))
    labels = paint_outlines(nuclei.outlines, nuclei.offsets, np.arange(1, len(nuclei) + 1), window)
    for other in others:
        # One label for all others: among themselves they need not be told apart.
        paint_outlines(other.outlines, other.offsets, np.full(len(other), len(nuclei) + 1), window, out=labels)
    outlines, offsets = _cell_outlines(labels, grown_labels(labels, reach), len(nuclei))
    stained = _stained(labels, outlines, offsets, window, cytoplasm)
    outlines += np.array([window.y0, window.x0], np.int32)
    areas = ring_areas(outlines, offsets)
    columns = shape_measurements(areas, ring_shapes(outlines, offsets), nuclei.frame.mpp)
    measured = {f"cell_{name}": values for name, values in columns.items()}
    measured["nucleus_cell_area_ratio"] = (nuclei.areas_px / areas).astype(np.float32)
    return replace(
        nuclei, cell_outlines=outlines, cell_offsets=offsets, measurements=nuclei.measurements | measured | stained
    )


def _stained(
    labels: Int, outlines: Int, offsets: Offsets, window: Box, cytoplasm: Cytoplasm | None
) -> dict[str, NDArray[np.float32]]:
    """Densities of the cytoplasm by name, of outlines in the window."""
    if cytoplasm is None:
        return {}
    ids = np.arange(1, len(offsets))
    cells = paint_outlines(outlines, offsets, ids, Box.of_shape(labels.shape))
    pixels = np.ascontiguousarray(cytoplasm.read(window))
    boxes = bounding_boxes(outlines, offsets)
    values = cytoplasm_densities(labels, cells, boxes, pixels, density_tables(cytoplasm.stains))
    return {each.name: values[:, k].astype(np.float32) for k, each in enumerate(CYTOPLASM)}


def cells_around(nuclei: Nuclei, reach_um: float) -> Box:
    """Where nuclei lie that may hold back the cells of these, of which there must be some: a box of the view."""
    y0, x0 = nuclei.outlines.min(axis=0).tolist()
    y1, x1 = nuclei.outlines.max(axis=0).tolist()
    return Box(y0, x0, y1, x1).grow(2 * math.ceil(reach_um / nuclei.frame.mpp))


def _cell_outlines(labels: Int, cells: Int, count: int) -> tuple[Int, Offsets]:
    """Rings of cells 1 to ``count``: of each the piece that holds its nucleus, with what it encloses."""
    pieces = cc3d.connected_components(cells, connectivity=4)
    # A nucleus is one piece, so any of its pixels names that of its cell.
    own_piece = np.zeros(count + 2, pieces.dtype)
    inside = labels > 0
    own_piece[labels[inside]] = pieces[inside]
    cells = np.where((pieces == own_piece[cells]) & (cells <= count), cells, 0).astype(np.int32)
    ids, outlines, offsets = trace_outlines(cells)
    assert len(ids) == count
    holed = np.flatnonzero(ring_areas(outlines, offsets) > pixel_counts(cells)[1:])
    for i in holed.tolist():
        ring, ends = take_rings(outlines, offsets, np.array([i]))
        y0, x0 = ring.min(axis=0).tolist()
        y1, x1 = ring.max(axis=0).tolist()
        box = Box(y0, x0, y1, x1)
        enclosed = paint_outlines(ring, ends, np.array([1]), box) > 0
        held = labels[box.slices][enclosed]
        if np.any((held > 0) & (held != i + 1)):
            cells[(cells == i + 1) & (labels != i + 1)] = 0
    if len(holed):
        _, outlines, offsets = trace_outlines(cells)
    return outlines, offsets


def grown_labels(labels: Int, reach: float) -> Int:
    """Labels with every background pixel within ``reach`` pixels given to the label with the nearest pixel.

    Examples
    --------
    >>> grown_labels(np.array([[1, 0, 0, 0, 0, 0, 2]], np.int32), 2.0).tolist()
    [[1, 1, 1, 0, 2, 2, 2]]
    """
    return _grow(np.ascontiguousarray(labels, np.int32), math.floor(reach), math.floor(reach * reach))


@kernel
def _grow(labels: Int, reach: int, most: int) -> Int:
    vertical = _nearest_rows(labels, reach)
    height, width = labels.shape
    grown = labels.copy()
    for y in range(height):
        for x in range(width):
            if labels[y, x] != 0:
                continue
            best = np.int64(most + 1)
            best_y = np.int64(0)
            best_x = np.int64(0)
            # Outwards, until no column can hold a nearer pixel.
            for away in range(reach + 1):
                if away * away > best:
                    break
                for column in (x - away, x + away):
                    if column < 0 or column >= width or vertical[y, column] == _FAR:
                        continue
                    row = y + np.int64(vertical[y, column])
                    square = np.int64((row - y) * (row - y) + away * away)
                    is_first = row < best_y or (row == best_y and column < best_x)
                    if square < best or (square == best and is_first):
                        best = square
                        best_y = row
                        best_x = np.int64(column)
            if best <= most:
                grown[y, x] = labels[best_y, best_x]
    return grown


@kernel
def _nearest_rows(labels: Int, reach: int) -> NDArray[np.int32]:
    """How many rows up (negative) or down the nearest labelled pixel of each column is, up before down of equals."""
    height, width = labels.shape
    rows = np.full((height, width), _FAR, np.int32)
    for y in range(height):
        for x in range(width):
            if labels[y, x] != 0:
                rows[y, x] = 0
            elif y > 0 and rows[y - 1, x] != _FAR and rows[y - 1, x] > -reach:
                rows[y, x] = rows[y - 1, x] - 1
    for y in range(height - 2, -1, -1):
        for x in range(width):
            below = rows[y + 1, x]
            # Only what is reached from below: what lies above has been counted.
            if 0 <= below < reach and below + 1 < abs(rows[y, x]):
                rows[y, x] = below + 1
    return rows

"""The even-odd rule of `Outlines` as loops that numba compiles; a module of its own, for it takes long to load."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsinuc.kernels import kernel


@kernel
def contains(
    points: NDArray[np.float64],
    xy: NDArray[np.float64],
    ring_ends: NDArray[np.int64],
    part_ends: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """``points`` are sorted by y."""
    inside = np.zeros(len(points), np.bool_)
    odd = np.zeros(len(points), np.bool_)
    on_border = np.zeros(len(points), np.bool_)
    ys = points[:, 1].copy()
    ring = 0
    start = 0
    for part in range(len(part_ends)):
        first = len(points)  # the points that this part's edges have met
        last = 0
        while ring < part_ends[part]:
            end = ring_ends[ring]
            begun, ended = _cross(points, ys, xy[start:end], odd, on_border)
            first = min(first, begun)
            last = max(last, ended)
            start = end
            ring += 1
        for i in range(first, last):
            inside[i] |= odd[i] and not on_border[i]
            odd[i] = False
            on_border[i] = False
    return inside


@kernel
def _cross(
    points: NDArray[np.float64],
    ys: NDArray[np.float64],
    ring: NDArray[np.float64],
    odd: NDArray[np.bool_],
    on_border: NDArray[np.bool_],
) -> tuple[int, int]:
    """Turn ``odd`` over at each point for every edge on its left, and mark those on an edge; the first point that an
    edge has met, and the one after the last."""
    first = len(points)
    last = 0
    previous = len(ring) - 1
    for k in range(len(ring)):
        x0 = ring[previous, 0]
        y0 = ring[previous, 1]
        x1 = ring[k, 0]
        y1 = ring[k, 1]
        previous = k
        low = min(y0, y1)
        high = max(y0, y1)
        if high < ys[0] or low > ys[-1]:
            continue
        i = np.searchsorted(ys, low)
        first = min(first, i)
        while i < len(ys) and ys[i] <= high:
            x = points[i, 0]
            y = points[i, 1]
            # Which side of the edge the point lies on; 0 on its line.
            side = (x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)
            if side == 0 and min(x0, x1) <= x <= max(x0, x1):
                on_border[i] = True
            # Half-open in y, so that a ray through a corner crosses one of its two edges, not both.
            elif (y0 <= y) != (y1 <= y) and (side > 0) == (y1 > y0):
                odd[i] = not odd[i]
            i += 1
        last = max(last, i)
    return first, last


@kernel
def touch(
    xy: NDArray[np.float64], ring_ends: NDArray[np.int64], cell_x: float, cell_y: float, mask: NDArray[np.bool_]
) -> None:
    """Mark the cells that an edge passes through."""
    height, width = mask.shape
    start = 0
    for end in ring_ends:
        previous = end - 1
        for k in range(start, end):
            x0 = xy[previous, 0] / cell_x
            y0 = xy[previous, 1] / cell_y
            x1 = xy[k, 0] / cell_x
            y1 = xy[k, 1] / cell_y
            previous = k
            if y0 > y1:  # from the top down
                x0, x1 = x1, x0
                y0, y1 = y1, y0
            if y1 < 0 or y0 > height or max(x0, x1) < 0 or min(x0, x1) > width:
                continue
            slope = (x1 - x0) / (y1 - y0) if y1 > y0 else 0.0
            for row in range(int(max(0.0, np.floor(y0))), int(min(height - 1.0, np.floor(y1))) + 1):
                # Where the edge enters and leaves the row; a flat edge has its whole length in one row.
                a = x0 + slope * (row - y0) if y0 < row else x0
                b = x0 + slope * (row + 1 - y0) if y1 > row + 1 else x1
                left = min(a, b)
                right = max(a, b)
                if right < 0 or left > width:
                    continue
                for column in range(int(max(0.0, np.floor(left))), int(min(width - 1.0, np.floor(right))) + 1):
                    mask[row, column] = True
        start = end


@kernel
def fill(
    xy: NDArray[np.float64],
    ring_ends: NDArray[np.int64],
    part_ends: NDArray[np.int64],
    cell_x: float,
    cell_y: float,
    changes: NDArray[np.int32],
) -> None:
    """Add 1 where, along the middle of a row of cells, a polygon begins, and subtract it where it ends."""
    width = changes.shape[1] - 1
    rows = np.empty(64, np.int64)
    crossings = np.empty(64, np.float64)
    ring = 0
    start = 0
    for part in range(len(part_ends)):
        count = 0
        while ring < part_ends[part]:
            end = ring_ends[ring]
            corners = xy[start:end] / np.array((cell_x, cell_y))
            rows, crossings, count = _add_crossings(corners, changes.shape[0], rows, crossings, count)
            start = end
            ring += 1
        order = np.argsort(crossings[:count])
        # By row, and within a row by place: the second sort is stable (numba knows it as mergesort).
        order = order[np.argsort(rows[:count][order], kind="mergesort")]
        for i in range(0, count - 1, 2):  # each row has an even number of crossings, so pairs never span two rows
            row = rows[order[i]]
            changes[row, _first_cell(crossings[order[i]], width)] += 1
            changes[row, _first_cell(crossings[order[i + 1]], width)] -= 1


@kernel
def _add_crossings(
    ring: NDArray[np.float64], height: int, rows: NDArray[np.int64], crossings: NDArray[np.float64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
    """Where a ring crosses the middles of rows, after the ``count`` crossings of other rings; arrays that are full are
    made twice as long."""
    previous = len(ring) - 1
    for k in range(len(ring)):
        x0 = ring[previous, 0]
        y0 = ring[previous, 1]
        x1 = ring[k, 0]
        y1 = ring[k, 1]
        previous = k
        # Rows whose middle, at .5, the edge crosses.
        for row in range(_first_cell(min(y0, y1), height), _first_cell(max(y0, y1), height)):
            if count == len(rows):
                rows = np.concatenate((rows, np.empty_like(rows)))
                crossings = np.concatenate((crossings, np.empty_like(crossings)))
            rows[count] = row
            crossings[count] = x0 + (x1 - x0) * (row + 0.5 - y0) / (y1 - y0)
            count += 1
    return rows, crossings, count


@kernel
def _first_cell(place: float, most: int) -> int:
    """The first cell whose middle does not lie before ``place``."""
    # Clipped as a float: far outlines leave the integers.
    return int(min(max(np.ceil(place - 0.5), 0.0), float(most)))

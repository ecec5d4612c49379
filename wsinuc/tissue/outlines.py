"""Polygons as flat arrays: which points lie in them, and which cells of a grid they touch.

A polygon is a run of rings, and a point lies in it when a ray from the point crosses the rings an
odd number of times, as in shapely and on QuPath's screen. So a ring may cross itself: to repair it,
as GEOS would, takes time and memory with the square of the number of crossings. Several polygons
count as their union.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.kernels import kernel


@dataclass(frozen=True, slots=True)
class Outlines:
    """Polygons with holes."""

    xy: NDArray[np.float64]
    """(n, 2) corners (x, y) of all rings one after the other; the last corner of a ring is joined to the first."""
    ring_ends: NDArray[np.int64]
    """(r,) ring i is ``xy[ring_ends[i - 1] : ring_ends[i]]``."""
    part_ends: NDArray[np.int64]
    """(p,) polygon i has the rings ``part_ends[i - 1]`` to ``part_ends[i]``."""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of the smallest box around all."""
        x0, y0 = self.xy.min(axis=0).tolist()
        x1, y1 = self.xy.max(axis=0).tolist()
        return x0, y0, x1, y1

    def contains(self, xy: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(n,) whether each point (x, y) of ``(n, 2)`` lies inside a polygon; on its border it does not."""
        if not len(xy):
            return np.zeros(0, np.bool_)
        order = np.argsort(xy[:, 1], kind="stable")
        inside = np.empty(len(xy), np.bool_)
        points = np.ascontiguousarray(xy[order], np.float64)
        inside[order] = _contains(points, self.xy, self.ring_ends, self.part_ends)
        return inside

    def touched_cells(self, shape: tuple[int, int], cell_xy: tuple[float, float]) -> NDArray[np.bool_]:
        """(shape) the cells, ``cell_xy`` wide and high, that share a point with a polygon."""
        mask = np.zeros(shape, np.bool_)
        _touch(self.xy, self.ring_ends, cell_xy[0], cell_xy[1], mask)
        changes = np.zeros((shape[0], shape[1] + 1), np.int32)
        _fill(self.xy, self.ring_ends, self.part_ends, cell_xy[0], cell_xy[1], changes)
        mask |= np.cumsum(changes, axis=1, out=changes)[:, :-1] > 0
        return mask


@kernel
def _contains(
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
            previous = end - 1
            for k in range(start, end):
                x0 = xy[previous, 0]
                y0 = xy[previous, 1]
                x1 = xy[k, 0]
                y1 = xy[k, 1]
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
            start = end
            ring += 1
        for i in range(first, last):
            inside[i] |= odd[i] and not on_border[i]
            odd[i] = False
            on_border[i] = False
    return inside


@kernel
def _touch(
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
                if y1 > row + 1:
                    b = x0 + slope * (row + 1 - y0)
                else:
                    b = x1
                left = min(a, b)
                right = max(a, b)
                if right < 0 or left > width:
                    continue
                for column in range(int(max(0.0, np.floor(left))), int(min(width - 1.0, np.floor(right))) + 1):
                    mask[row, column] = True
        start = end


@kernel
def _fill(
    xy: NDArray[np.float64],
    ring_ends: NDArray[np.int64],
    part_ends: NDArray[np.int64],
    cell_x: float,
    cell_y: float,
    changes: NDArray[np.int32],
) -> None:
    """Add 1 where, along the middle of a row of cells, a polygon begins, and subtract it where it ends."""
    height = changes.shape[0]
    width = changes.shape[1] - 1
    rows = np.empty(64, np.int64)
    crossings = np.empty(64, np.float64)
    ring = 0
    start = 0
    for part in range(len(part_ends)):
        count = 0
        while ring < part_ends[part]:
            end = ring_ends[ring]
            previous = end - 1
            for k in range(start, end):
                x0 = xy[previous, 0] / cell_x
                y0 = xy[previous, 1] / cell_y
                x1 = xy[k, 0] / cell_x
                y1 = xy[k, 1] / cell_y
                previous = k
                low = min(y0, y1)
                high = max(y0, y1)
                # Rows whose middle, at .5, the edge crosses. Clipped as floats: far outlines leave the integers.
                top = int(min(max(np.ceil(low - 0.5), 0.0), float(height)))
                bottom = int(min(max(np.ceil(high - 0.5), 0.0), float(height)))
                for row in range(top, bottom):
                    if count == len(rows):
                        rows = np.concatenate((rows, np.empty_like(rows)))
                        crossings = np.concatenate((crossings, np.empty_like(crossings)))
                    rows[count] = row
                    crossings[count] = x0 + (x1 - x0) * (row + 0.5 - y0) / (y1 - y0)
                    count += 1
            start = end
            ring += 1
        order = np.argsort(crossings[:count])
        # By row, and within a row by place: the second sort is stable (numba knows it as mergesort).
        order = order[np.argsort(rows[:count][order], kind="mergesort")]
        # Each row has an even number of crossings, so pairs never span two rows.
        for i in range(0, count - 1, 2):
            row = rows[order[i]]
            left = crossings[order[i]]
            right = crossings[order[i + 1]]
            first = int(min(max(np.ceil(left - 0.5), 0.0), float(width)))
            last = int(min(max(np.ceil(right - 0.5), 0.0), float(width)))
            changes[row, first] += 1
            changes[row, last] -= 1

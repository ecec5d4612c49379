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

from wsinuc.grid import Box


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
        from wsinuc.tissue.even_odd import contains

        order = np.argsort(xy[:, 1], kind="stable")
        inside = np.empty(len(xy), np.bool_)
        points = np.ascontiguousarray(xy[order], np.float64)
        inside[order] = contains(points, self.xy, self.ring_ends, self.part_ends)
        return inside

    def pixels(self, box: Box) -> NDArray[np.bool_]:
        """(box.shape) the pixels of a box, in the coordinates of the outlines, whose centre lies inside a polygon.

        A centre on an edge belongs to the polygon on its right or below it, so that polygons which share an edge
        share no pixel.
        """
        from wsinuc.tissue.even_odd import fill

        changes = np.zeros((box.shape[0], box.shape[1] + 1), np.int32)
        fill(self.xy - (box.x0, box.y0), self.ring_ends, self.part_ends, 1.0, 1.0, changes)
        inside: NDArray[np.bool_] = np.cumsum(changes, axis=1, out=changes)[:, :-1] > 0
        return inside

    def touched_cells(self, shape: tuple[int, int], cell_xy: tuple[float, float]) -> NDArray[np.bool_]:
        """(shape) the cells, ``cell_xy`` wide and high, that share a point with a polygon."""
        from wsinuc.tissue.even_odd import fill, touch

        mask = np.zeros(shape, np.bool_)
        touch(self.xy, self.ring_ends, cell_xy[0], cell_xy[1], mask)
        changes = np.zeros((shape[0], shape[1] + 1), np.int32)
        fill(self.xy, self.ring_ends, self.part_ends, cell_xy[0], cell_xy[1], changes)
        mask |= np.cumsum(changes, axis=1, out=changes)[:, :-1] > 0
        return mask

"""The area that the pixels of an outline and a polygon have in common, exactly.

GEOS answers this too, in thirty times the time, because it computes the common polygon first.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wsinuc.kernels import kernel
from wsinuc.labels import extent


@kernel
def shared_area(ring: NDArray[np.int32], polygon: NDArray[np.float64]) -> float:
    """Area of the intersection in px squared; tested against ``shapely.intersection``.

    By Green's theorem it is the integral of F dy along the polygon, where F is how much of a row belongs to the pixels
    left of x. Within a pixel F grows evenly or not at all, so that the integral over a piece of an edge is that of its
    middle.

    Parameters
    ----------
    ring
        ``(n, 2)`` corners (y, x) of an outline along the edges of pixels, not closed.
    polygon
        ``(m, 2)`` corners (y, x), not closed; it does not cross itself.
    """
    # A pixel of margin, because a polygon may stick out of the pixels' box.
    of_ring = extent(ring)
    of_polygon = extent(polygon)
    y0 = math.floor(min(of_ring[0], of_polygon[0])) - 1
    x0 = math.floor(min(of_ring[1], of_polygon[1])) - 1
    height = math.ceil(max(of_ring[2], of_polygon[2])) - y0 + 2
    width = math.ceil(max(of_ring[3], of_polygon[3])) - x0 + 2
    inside, left = _rows(ring, y0, x0, height, width)
    total = 0.0
    for k in range(len(polygon)):
        from_y = polygon[k - 1, 0] - y0
        from_x = polygon[k - 1, 1] - x0
        total += _along(inside, left, from_y, from_x, polygon[k, 0] - y0, polygon[k, 1] - x0)
    return abs(total)


@kernel
def _rows(
    ring: NDArray[np.int32], y0: int, x0: int, height: int, width: int
) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """Which pixels of a box the ring encloses, and how many of each row lie left of each."""
    inside = np.zeros((height, width), np.int8)
    for k in range(len(ring)):
        x = ring[k, 1]
        if x == ring[k - 1, 1]:
            for y in range(min(ring[k, 0], ring[k - 1, 0]), max(ring[k, 0], ring[k - 1, 0])):
                inside[y - y0, x - x0] ^= 1  # a border between inside and outside
    left = np.zeros((height, width), np.int32)
    for y in range(height):
        for x in range(1, width):
            inside[y, x] ^= inside[y, x - 1]
            left[y, x] = left[y, x - 1] + inside[y, x - 1]
    return inside, left


@kernel
def _along(
    inside: NDArray[np.int8], left: NDArray[np.int32], from_y: float, from_x: float, to_y: float, to_x: float
) -> float:
    """Integral of F dy along one edge, pixel by pixel."""
    way_y = to_y - from_y
    way_x = to_x - from_x
    line_y = _line_ahead(from_y, way_y)
    line_x = _line_ahead(from_x, way_x)
    total = 0.0
    done = 0.0
    while done < 1.0:
        # Shares of the edge at which it enters the next row and the next column.
        at_row = (line_y - from_y) / way_y if way_y != 0 else np.inf
        at_column = (line_x - from_x) / way_x if way_x != 0 else np.inf
        until = min(1.0, at_row, at_column)
        y = from_y + (done + until) / 2 * way_y
        x = from_x + (done + until) / 2 * way_x
        row = int(y)
        column = int(x)
        total += (left[row, column] + inside[row, column] * (x - column)) * (until - done) * way_y
        if at_row <= until:
            line_y += np.sign(way_y)
        if at_column <= until:
            line_x += np.sign(way_x)
        done = until
    return total


@kernel
def _line_ahead(start: float, way: float) -> float:
    """The first line of the grid that one meets on a way."""
    if way > 0:
        return math.floor(start) + 1.0
    return math.ceil(start) - 1.0

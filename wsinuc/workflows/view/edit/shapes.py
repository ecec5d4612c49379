"""The geometry of edited outlines: cut by a line, joined, drawn anew; always polygons as QuPath takes them.

Coordinates are (x, y) in pixels of the slide's finest level. What comes out lies on QuPath's grid of 0.01 px, is valid
there and has an area of at least a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.ops import split

from wsinuc.exports.qupath.polygons import MIN_AREA, largest_valid_part

COVERED = 0.5
"""Share of the smaller of two outlines above which the older gives way to the one that was drawn over it."""
Polygons = list[shapely.Polygon]


def polygon_of(corners: NDArray[np.float64]) -> shapely.Polygon | None:
    """The polygon of a line ``(n, 2)`` that was drawn by hand, closed; None where it encloses less than a pixel.

    Examples
    --------
    >>> polygon_of(np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 3.0], [0.0, 3.0]])).area
    12.0
    """
    if len(corners) < 3:
        return None
    return _kept(shapely.Polygon(corners))


def pieces(polygon: shapely.Polygon, line: shapely.LineString) -> Polygons:
    """What a line cuts a polygon into; the polygon alone where the line does not cross it from side to side.

    Examples
    --------
    >>> square = shapely.box(0, 0, 10, 10)
    >>> [each.area for each in pieces(square, shapely.LineString([(3, -1), (3, 11)]))]
    [30.0, 70.0]
    >>> len(pieces(square, shapely.LineString([(3, -1), (3, 5)])))
    1
    """
    parts = [_kept(part) for part in split(polygon, line).geoms]
    found = [part for part in parts if part is not None]
    # From left to right, so that they have one order whichever way the line was drawn.
    found.sort(key=lambda part: part.centroid.coords[0])
    return found if len(found) > 1 else [polygon]


def joined(polygons: Sequence[shapely.Polygon], reach: float) -> shapely.Polygon | None:
    """One polygon of several, with gaps of up to ``2 * reach`` between them closed; None where they lie apart.

    Holes are filled: a nucleus has none.

    Examples
    --------
    >>> joined([shapely.box(0, 0, 4, 4), shapely.box(4, 0, 8, 4)], 0.5).area
    32.0
    >>> joined([shapely.box(0, 0, 4, 4), shapely.box(9, 0, 12, 4)], 0.5) is None
    True
    """
    together = shapely.union_all(polygons)
    if together.geom_type != "Polygon":
        grown = shapely.buffer(together, reach, join_style="mitre")
        bridged = shapely.buffer(grown, -reach, join_style="mitre")
        together = shapely.union(together, bridged)
    if together.geom_type != "Polygon":
        return None
    return _kept(shapely.Polygon(together.exterior))


def covered_by(polygon: shapely.Polygon, others: NDArray[np.object_]) -> NDArray[np.bool_]:
    """(n,) which of other polygons share more than half of the smaller of both with this one."""
    smaller = np.minimum(shapely.area(others), polygon.area)
    shared: NDArray[np.bool_] = shapely.area(shapely.intersection(others, polygon)) > COVERED * smaller
    return shared


def without(polygon: shapely.Polygon, others: NDArray[np.object_]) -> shapely.Polygon | None:
    """The largest part of a polygon that lies in no other, without holes; None where less than a pixel is left.

    Examples
    --------
    >>> without(shapely.box(0, 0, 10, 10), np.array([shapely.box(8, -1, 20, 11)])).bounds
    (0.0, 0.0, 8.0, 10.0)
    """
    rest = largest_valid_part(shapely.difference(polygon, shapely.union_all(others)))
    return None if rest.is_empty else _kept(shapely.Polygon(rest.exterior))


def _kept(geometry: shapely.Geometry) -> shapely.Polygon | None:
    polygon = largest_valid_part(geometry)
    return polygon if polygon.area >= MIN_AREA else None

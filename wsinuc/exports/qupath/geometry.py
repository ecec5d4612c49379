"""What QuPath 0.5.1, 0.6.0 and 0.7.0 do with one GeoJSON geometry.

Since 0.6.0 every geometry is rounded to 0.01 px by the reducer of the Java Topology Suite, which throws on polygons
that cross themselves; GEOS, behind shapely, is the same algorithm, so we ask it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from wsinuc.annotations.coordinates import HEIGHTS, NOT_NESTED, Coordinates, empty

ALL_VERSIONS = ("0.5.1", "0.6.0", "0.7.0")
OLD = ALL_VERSIONS[:1]
NEW = ALL_VERSIONS[1:]
GRID = 0.01
"""px; QuPath 0.6 and later round coordinates to it."""

MAX_CORNERS = 200_000
"""Most corners of a polygon that GEOS examines: it needs 100 bytes for each, five times what stands in the file."""
_FEW = 64
"""Corners up to which GEOS may count all crossings."""
_PAIRS = 1 << 16
"""Pairs of edges that are compared at a time, about."""


@dataclass(frozen=True, slots=True)
class Issue:
    """Something that QuPath does not take as it is meant."""

    kind: Literal["rejected", "lost", "odd"]
    """rejected: the whole file; lost: silently not imported; odd: silently not what was meant."""
    reason: str
    versions: tuple[str, ...] = ()
    """Versions that reject the file."""


_NOT_LOOKED_AT = Issue(
    "odd", f"a polygon of more than {MAX_CORNERS:,} corners: whether it crosses itself is not looked at"
)
_CROSSES = Issue("rejected", "a polygon crosses itself, or its parts or holes do not fit: repair it", NEW)


def geometry_issues(geometry: Any, present: bool) -> Iterator[Issue]:
    """Issues of a feature's ``geometry`` (``present`` tells null from missing), as ``raw_features`` gives it."""
    if not isinstance(geometry, dict):
        yield Issue("rejected", "geometry is null or no object" if present else "geometry is missing", ALL_VERSIONS)
        return
    kind = geometry.get("type")
    if kind == "GeometryCollection":
        yield Issue("rejected", "a GeometryCollection: use one Polygon", NEW)
        return
    if not isinstance(kind, str) or kind not in HEIGHTS:
        yield Issue("rejected", f"geometry type {str(kind)[:40]!r} is unknown", ALL_VERSIONS)
        return
    given = geometry.get("coordinates")
    if isinstance(given, Coordinates):
        coordinates = given
    else:
        coordinates = empty(NOT_NESTED)
    flaw = coordinates.flaw_as(kind)
    if kind not in ("Polygon", "MultiPolygon"):
        if flaw == NOT_NESTED:
            yield Issue("rejected", flaw, ALL_VERSIONS)
        yield Issue("odd", f"a {kind} becomes points or a line, not an area")
        return
    reason = flaw or _ring_flaw(coordinates)
    if reason:
        yield Issue("rejected", reason, ALL_VERSIONS)
    elif kind == "Polygon":
        yield from _polygon_issues(coordinates)
    else:
        yield from _multipolygon_issues(coordinates)


def _ring_flaw(coordinates: Coordinates) -> str:
    """Why no version takes a ring; empty when all are taken."""
    for ring in (ring for rings in coordinates.parts() for ring in rings):
        if len(ring) < 3:
            return f"a ring has {len(ring)} positions: it needs at least 4, the last equal to the first"
        if (ring[0] != ring[-1]).any():
            return "a ring is not closed: its last position must equal its first exactly"
    return ""


def _polygon_issues(coordinates: Coordinates) -> Iterator[Issue]:
    if len(coordinates.xy) > MAX_CORNERS:
        yield _NOT_LOOKED_AT
        return
    geometry = coordinates.to_shapely("Polygon")
    if geometry.is_empty:
        yield Issue("odd", "a polygon without area becomes an empty object")
        return
    yield from _reduction_issues(geometry, coordinates)


def _multipolygon_issues(coordinates: Coordinates) -> Iterator[Issue]:
    if len(coordinates.part_ends) == 1:
        yield Issue("rejected", "a MultiPolygon with one part: write a Polygon", OLD)
    if len(coordinates.xy) > MAX_CORNERS:
        yield _NOT_LOOKED_AT
        return
    geometry = coordinates.to_shapely("MultiPolygon")
    issues = list(_reduction_issues(geometry, coordinates))
    yield from issues
    if _CROSSES not in issues and _share_edges(geometry):
        yield Issue("odd", "parts of a MultiPolygon that share an edge are fused by QuPath 0.6 and later")


def _share_edges(geometry: shapely.MultiPolygon) -> bool:
    """Whether two boundaries have a piece of line in common."""
    if shapely.is_valid(geometry):  # parts of a valid one meet in points at most
        return False
    outlines = [part.exterior for part in geometry.geoms]
    together = float(shapely.union_all(outlines).length)
    apart = float(sum(line.length for line in outlines))
    return together < apart * (1 - 1e-9)  # sums of lengths are exact to rounding


def _reduction_issues(geometry: shapely.Geometry, coordinates: Coordinates) -> Iterator[Issue]:
    """What rounding to the grid does to a geometry."""
    valid = shapely.is_valid(geometry)
    xy = coordinates.xy
    reduced = geometry
    # A valid geometry on the grid is its own reduction, and asking GEOS is slow.
    if not valid or not np.array_equal(np.round(xy, 2), xy):
        if not valid and len(xy) > _FEW and crosses_itself(np.round(xy, 2), coordinates.ring_ends):
            yield _CROSSES
            return
        try:
            reduced = shapely.set_precision(geometry, GRID)
        except shapely.errors.GEOSException:
            yield _CROSSES
            return
    if reduced.area == 0:
        yield Issue("odd", "a polygon without area becomes an empty object")
    elif not valid:
        yield Issue("odd", "a polygon touches itself or has a spike: QuPath changes its shape")


def crosses_itself(xy: NDArray[np.float64], ring_ends: NDArray[np.int64]) -> bool:
    """Whether two edges of rings (each closed, corners ``xy`` (n, 2)) cross between their ends.

    GEOS finds out, too, but only after it has computed all crossings, whose number grows with the
    square of the corners. Here a portion of the edges is compared with all at a time, and the first
    crossing ends it.
    """
    ends = np.delete(np.arange(len(xy)), ring_ends - 1)
    a = xy[ends]
    b = xy[ends + 1]
    tree = shapely.STRtree(shapely.linestrings(np.stack([a, b], axis=1)))
    start = 0
    portion = 1
    while start < len(ends):
        # Pairs of edges whose boxes meet; only those can cross.
        first, second = tree.query(tree.geometries[start : start + portion])
        first += start
        start += portion
        portion = min(2 * portion, 1 + portion * _PAIRS // max(1, len(first)))
        later = second > first  # each pair once, and no edge with itself
        first = first[later]
        second = second[later]
        apart = _sides(a[first], b[first], a[second], b[second])
        if (apart & _sides(a[second], b[second], a[first], b[first])).any():
            return True
    return False


def _sides(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], d: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether c and d lie on opposite sides of the line through a and b, none of them on it."""
    return _turn(a, b, c) * _turn(a, b, d) < 0


def _turn(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> NDArray[np.float64]:
    """1, 0 or -1: to which side of the way from a to b c lies."""
    return np.sign((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0]))

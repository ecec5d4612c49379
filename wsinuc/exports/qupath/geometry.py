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

ALL_VERSIONS = ("0.5.1", "0.6.0", "0.7.0")
OLD, NEW = ALL_VERSIONS[:1], ALL_VERSIONS[1:]
GRID = 0.01
"""px; QuPath 0.6 and later round coordinates to it."""

Ring = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Issue:
    """Something that QuPath does not take as it is meant."""

    kind: Literal["rejected", "lost", "odd"]
    """rejected: the whole file; lost: silently not imported; odd: silently not what was meant."""
    reason: str
    versions: tuple[str, ...] = ()
    """Versions that reject the file."""


class _Unreadable(Exception):
    """Coordinates that no version takes; the text is the reason."""


def geometry_issues(geometry: Any, present: bool) -> Iterator[Issue]:
    """Issues of a feature's ``geometry`` (``present`` tells null from missing)."""
    if not isinstance(geometry, dict):
        yield Issue("rejected", "geometry is null or no object" if present else "geometry is missing", ALL_VERSIONS)
        return
    kind = geometry.get("type")
    if kind == "GeometryCollection":
        yield Issue("rejected", "a GeometryCollection: use one Polygon", NEW)
        return
    try:
        if kind == "Polygon":
            yield from _polygon_issues([_ring(r) for r in _list(geometry.get("coordinates"))])
        elif kind == "MultiPolygon":
            yield from _multipolygon_issues([[_ring(r) for r in _list(p)] for p in _list(geometry.get("coordinates"))])
        elif kind in ("Point", "MultiPoint", "LineString", "MultiLineString"):
            _list(geometry.get("coordinates"))
            yield Issue("odd", f"a {kind} becomes points or a line, not an area")
        else:
            raise _Unreadable(f"geometry type {str(kind)[:40]!r} is unknown")
    except _Unreadable as error:
        yield Issue("rejected", str(error), ALL_VERSIONS)


def _polygon_issues(rings: list[Ring]) -> Iterator[Issue]:
    if not rings or len(rings[0]) < 4:
        yield Issue("odd", "a polygon without area becomes an empty object")
        return
    yield from _reduction_issues(shapely.Polygon(rings[0], [ring for ring in rings[1:] if len(ring) >= 4]))


def _multipolygon_issues(polygons: list[list[Ring]]) -> Iterator[Issue]:
    if len(polygons) == 1:
        yield Issue("rejected", "a MultiPolygon with one part: write a Polygon", OLD)
    parts = [
        shapely.Polygon(rings[0], [ring for ring in rings[1:] if len(ring) >= 4])
        for rings in polygons
        if rings and len(rings[0]) >= 4
    ]
    yield from _reduction_issues(shapely.MultiPolygon(parts))
    if _share_edges(parts):
        yield Issue("odd", "parts of a MultiPolygon that share an edge are fused by QuPath 0.6 and later")


def _share_edges(parts: list[shapely.Polygon]) -> bool:
    """Whether two boundaries have a piece of line in common."""
    outlines = [part.exterior for part in parts]
    return shapely.union_all(outlines).length < sum(line.length for line in outlines) * (1 - 1e-9)


def _reduction_issues(geometry: shapely.Geometry) -> Iterator[Issue]:
    """What rounding to the grid does to a geometry."""
    valid = shapely.is_valid(geometry)
    xy = shapely.get_coordinates(geometry)
    reduced = geometry
    if not valid or not np.array_equal(np.round(xy, 2), xy):  # else it is its own reduction, and asking GEOS is slow
        try:
            reduced = shapely.set_precision(geometry, GRID)
        except shapely.errors.GEOSException:
            yield Issue("rejected", "a polygon crosses itself, or its parts or holes do not fit: repair it", NEW)
            return
    if reduced.area == 0:
        yield Issue("odd", "a polygon without area becomes an empty object")
    elif not valid:
        yield Issue("odd", "a polygon touches itself or has a spike: QuPath changes its shape")


def _ring(value: Any) -> Ring:
    """Positions of a ring, (n, 2); raises _Unreadable as every version of the reader does."""
    positions = _list(value)
    if not positions:
        return np.empty((0, 2))
    try:
        xy = np.array([position[:2] for position in positions], np.float64)
    except (KeyError, TypeError, ValueError):
        raise _Unreadable("a position does not hold two numbers") from None
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise _Unreadable("coordinates are not nested as the type demands")
    if not np.isfinite(xy).all():
        raise _Unreadable("a position is not finite")
    if len(xy) < 3:
        raise _Unreadable(f"a ring has {len(xy)} positions: it needs at least 4, the last equal to the first")
    if (xy[0] != xy[-1]).any():
        raise _Unreadable("a ring is not closed: its last position must equal its first exactly")
    return xy


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _Unreadable("coordinates are missing or not nested as the type demands")
    return value

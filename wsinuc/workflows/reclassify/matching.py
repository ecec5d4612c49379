"""Labels looked up in a part of a table: by UUID, by the point on a nucleus, by the annotation around it.

Everything is in level-0 pixels from the corner of the slide, (x, y). Where a nucleus gets several labels, the most
particular counts: its own (detection or UUID), then a point on it, then the annotation that it lies in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from wsinuc.metrics.detection import MATCH_RADIUS_UM
from wsinuc.nuclei.columns import BBOX, GEOMETRY

IN_REGION = 0
AT_POINT = 1
BY_UUID = 2
"""How particular a label is."""
KINDS = 3
SAME_UM = 2.0
"""How far apart the centres of an old outline and of a new one of the same nucleus are at most."""
SAME_AREA = 2.0
"""How many times larger one of the two is at most."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """Nuclei that labels name."""

    rows: Ints
    """(n,) rows of the part, or ids once they are collected."""
    marks: Ints
    """(n,) number of the label."""
    particular: Ints
    """(n,) `IN_REGION`, `AT_POINT` or `BY_UUID`."""

    @classmethod
    def of(cls, rows: Ints, marks: Ints, particular: int) -> Hits:
        """Hits of one kind."""
        return cls(
            rows=rows.astype(np.int64),
            marks=marks.astype(np.int64),
            particular=np.full(len(rows), particular, np.int64),
        )


def joined(hits: Sequence[Hits]) -> Hits:
    """All of them, in their order."""
    none = np.zeros(0, np.int64)
    return Hits(
        rows=np.concatenate([none, *(each.rows for each in hits)]),
        marks=np.concatenate([none, *(each.marks for each in hits)]),
        particular=np.concatenate([none, *(each.particular for each in hits)]),
    )


def by_uuid(part: pa.Table, uuids: pa.Array, marks: Ints) -> Hits:
    """Nuclei with these UUIDs; label ``marks[i]`` has ``uuids[i]``, each of them once."""
    position = pc.index_in(part["uuid"].combine_chunks(), value_set=uuids)
    at = np.asarray(pc.fill_null(position, -1))
    rows = np.flatnonzero(at >= 0)
    return Hits.of(rows, marks[at[rows]], BY_UUID)


def centres(part: pa.Table) -> Floats:
    """Centroids (x, y), float64 ``(n, 2)``."""
    return np.column_stack([part["x"].to_numpy(), part["y"].to_numpy()])


def boxes(part: pa.Table) -> Floats:
    """Bounding boxes (x0, y0, x1, y1), float64 ``(n, 4)``."""
    sides = part[BBOX].combine_chunks()
    return np.column_stack([np.asarray(sides.field(name), np.float64) for name in ("xmin", "ymin", "xmax", "ymax")])


@dataclass(frozen=True, slots=True)
class PointHits:
    """The nucleus of each point, as far as it is in one part: the nearest within reach."""

    ids: Ints
    """(n,) 0 without."""
    distances_px: Floats
    """(n,) to its outline, 0 inside; infinite without."""


def at_points(part: pa.Table, points: Floats, reach_px: float) -> PointHits:
    """The nearest nucleus of each point ``(n, 2)`` that is no farther away than ``reach_px``."""
    ids = np.zeros(len(points), np.int64)
    distances = np.full(len(points), np.inf)
    sides = boxes(part)
    if not len(points) or not len(sides):
        return PointHits(ids, distances)
    low = sides[:, :2].min(axis=0) - reach_px
    high = sides[:, 2:].max(axis=0) + reach_px
    near = np.flatnonzero(((points >= low) & (points <= high)).all(axis=1))
    grown = shapely.box(*(sides + reach_px * np.array([-1, -1, 1, 1])).T)
    # Polygons are made of those nuclei alone whose box holds a point: hundreds, of perhaps a million.
    point, row = shapely.STRtree(grown).query(shapely.points(points[near]), predicate="intersects")
    outlines = shapely.from_wkb(part[GEOMETRY].take(pa.array(row)).to_pylist())
    far = shapely.distance(shapely.points(points[near][point]), outlines)
    # Nearest first; of two at one distance the one of the lower row, so that the order of points decides nothing.
    order = np.lexsort((row, far))
    point = point[order]
    row = row[order]
    far = far[order]
    first = np.unique(point, return_index=True)[1]
    first = first[far[first] <= reach_px]
    ids[near[point[first]]] = part["id"].to_numpy()[row[first]]
    distances[near[point[first]]] = far[first]
    return PointHits(ids, distances)


def nearer(one: PointHits, other: PointHits) -> PointHits:
    """Of two parts the nucleus that is nearer to each point, the first of equals."""
    closer = other.distances_px < one.distances_px
    return PointHits(np.where(closer, other.ids, one.ids), np.where(closer, other.distances_px, one.distances_px))


def marked(hits: PointHits) -> NDArray[np.bool_]:
    """Which points mark a nucleus, bool ``(n,)``: all inside, and those beside one without a point of its own."""
    inside = hits.distances_px == 0
    beside = np.isfinite(hits.distances_px) & ~inside & ~np.isin(hits.ids, hits.ids[inside])
    on_nucleus: NDArray[np.bool_] = inside | beside
    return on_nucleus


def in_regions(part: pa.Table, regions: Sequence[BaseGeometry], marks: Ints) -> Hits:
    """Nuclei whose centroid lies in a region, for each region."""
    xy = centres(part)
    hits: list[Hits] = []
    for region, mark in zip(regions, marks, strict=True):
        x0, y0, x1, y1 = region.bounds
        near = np.flatnonzero((xy >= (x0, y0)).all(axis=1) & (xy <= (x1, y1)).all(axis=1))
        if len(near):
            inside = near[shapely.contains_xy(region, *xy[near].T)]
            hits.append(Hits.of(inside, np.full(len(inside), mark), IN_REGION))
    return joined(hits)


def by_place(part: pa.Table, xy: Floats, areas_px: Floats, um_per_px: float) -> NDArray[np.int64]:
    """Rows of the nuclei with the centre and about the area of these outlines, int64 ``(n,)``, -1 without.

    It finds the nuclei of an older segmentation again, whose UUIDs are others.
    """
    from scipy.spatial import KDTree

    rows = np.full(len(xy), -1, np.int64)
    if part.num_rows == 0 or len(xy) == 0:
        return rows
    distances, nearest = KDTree(centres(part)).query(xy)
    # In pixels of the slide: the table's pixels are those of the view.
    own = part["area_um2"].to_numpy()[nearest] / um_per_px**2
    ratio = np.maximum(own, areas_px) / np.maximum(np.minimum(own, areas_px), 1e-9)
    same = (distances * um_per_px <= SAME_UM) & (ratio <= SAME_AREA)
    rows[same] = nearest[same]
    return rows


def reach_px(um_per_px: float) -> float:
    """How far from its nucleus a point may lie, in level-0 pixels."""
    return MATCH_RADIUS_UM / um_per_px

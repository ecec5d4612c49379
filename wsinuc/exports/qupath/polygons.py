"""Outlines of nuclei as polygons that QuPath takes: level-0 pixels, x before y, closed, on a 0.01 px grid, valid.

QuPath 0.6 and later round what they read to 0.01 px, and refuse the *whole file* when one polygon crosses itself on
that grid. So we round first and then ask whether the polygon is valid, for thousands of nuclei in one call.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from wsinuc.exports.qupath.smooth import smooth_outlines
from wsinuc.kernels import kernel
from wsinuc.nuclei import Nuclei

Outlines = Literal["smooth", "exact"]
"""As drawn by a hand, with the area of the pixels; or along the edges of the pixels."""

DECIMALS = 2
"""What QuPath keeps of a coordinate; more is wasted bytes."""
MIN_AREA = 1.0
"""Level-0 px^2 below which a polygon may collapse to an empty object in QuPath."""


@dataclass(frozen=True, slots=True)
class Polygons:
    """One polygon per nucleus of a batch."""

    xy: NDArray[np.number]
    """(m, 2) closed outer rings one after another, int32 when no coordinate can be fractional, else float64."""
    offsets: NDArray[np.int64]
    """(n + 1,) ring i is ``xy[offsets[i] : offsets[i + 1]]``."""
    keep: NDArray[np.bool_]
    """(n,) False where nothing of at least ``MIN_AREA`` is left."""
    repaired: dict[int, list[NDArray[np.number]]]
    """Rings (outer first) of polygons that had to be repaired, by position in the batch."""

    def rings(self, i: int) -> list[NDArray[np.number]]:
        """Rings of polygon ``i``, outer first; one ring unless a repair found a hole."""
        return self.repaired.get(i) or [self.xy[self.offsets[i] : self.offsets[i + 1]]]


def level0_polygons(
    nuclei: Nuclei, start: int, stop: int, origin_yx: tuple[float, float], outlines: Outlines = "exact"
) -> Polygons:
    """Polygons of ``nuclei[start:stop]`` in level-0 pixels.

    An outline that touches or crosses itself is repaired: its largest part is kept, with the holes that the
    touching cut out, so that filling it gives the nucleus' own pixels.

    Parameters
    ----------
    origin_yx
        (y, x) of QuPath's image origin in level-0 pixels: ``Slide.origin``.
    outlines
        ``smooth`` rings (`wsinuc.exports.qupath.smooth`), or the ``exact`` ones, which go along the edges of pixels.
    """
    if outlines == "smooth":
        corners, offsets = smooth_outlines(nuclei.select(np.arange(start, stop)))
    else:
        offsets = nuclei.offsets[start : stop + 1]
        corners = nuclei.outlines[offsets[0] : offsets[-1]].astype(np.float64)
    # Adding 0.0 turns -0.0, which rounding leaves and JSON would show, into 0.0.
    xy = np.round(corners * np.asarray(nuclei.frame.downsample) - np.asarray(origin_yx), DECIMALS)[:, ::-1] + 0.0
    xy, offsets = _close(*_without_repeats(xy, offsets - offsets[0]))
    enough = np.diff(offsets) >= 4
    polygons = np.full(stop - start, shapely.Polygon())
    polygons[enough] = _build(xy, offsets, enough)
    repaired = {}
    # GEOS is asked for the few outlines that are not plainly valid, all of them in one call.
    doubtful = np.flatnonzero(~_plainly_valid(xy, offsets))
    for i in doubtful[~shapely.is_valid(polygons[doubtful])]:
        polygons[i] = largest_valid_part(polygons[i])
        repaired[int(i)] = [
            np.round(shapely.get_coordinates(ring), DECIMALS) for ring in shapely.get_rings(polygons[i])
        ]
    keep = shapely.area(polygons) >= MIN_AREA
    if outlines == "exact" and all(float(v).is_integer() for v in (*nuclei.frame.downsample, *origin_yx)):
        # Integers are written without ".0", which saves two bytes for every coordinate.
        xy = xy.astype(np.int32)
        repaired = {i: [ring.astype(np.int32) for ring in rings] for i, rings in repaired.items()}
    return Polygons(xy=np.ascontiguousarray(xy), offsets=offsets, keep=keep, repaired=repaired)


def ring_sizes(polygons: Polygons, um_per_px: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Length in um and area in um squared of every outer ring, 0 where it has no corners.

    Parameters
    ----------
    um_per_px
        (y, x) of a level-0 pixel.
    """
    sizes = np.zeros((2, len(polygons.keep)))
    filled = np.diff(polygons.offsets) > 0
    starts = polygons.offsets[:-1][filled]
    if len(starts):
        counts = np.diff(polygons.offsets)[filled]
        # Relative to each ring's first corner: areas far from the origin would lose digits.
        xy = (polygons.xy - np.repeat(polygons.xy[starts], counts, axis=0)) * np.asarray(um_per_px)[::-1]
        sizes[:, filled] = np.add.reduceat(_edge_sizes(xy), starts, axis=1)
    for i, rings in polygons.repaired.items():
        if not rings:  # nothing with an area is left of it
            continue
        sizes[:, i] = _edge_sizes((rings[0] - rings[0][0]) * np.asarray(um_per_px)[::-1]).sum(axis=1)
    return sizes[0], np.abs(sizes[1])


def _edge_sizes(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Length of the edge that ends in each corner, and area of the triangle that it spans with the ring's first corner.

    Rings begin and end in (0, 0), so that the way from one to the next counts for nothing.
    """
    before = np.roll(xy, 1, axis=0)
    edges = xy - before
    triangles = (before[:, 0] * xy[:, 1] - before[:, 1] * xy[:, 0]) / 2
    return np.stack([np.hypot(edges[:, 0], edges[:, 1]), triangles])


def _without_repeats(xy: NDArray[Any], offsets: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Open rings without corners that equal the one before them (cyclically)."""
    lengths = np.diff(offsets)
    previous = np.arange(len(xy)) - 1
    filled = lengths > 0
    # Before a ring's first corner comes its last.
    previous[offsets[:-1][filled]] = offsets[1:][filled] - 1
    same = xy == xy[previous]
    different = ~(same[:, 0] & same[:, 1])
    if different.all():
        return xy, offsets
    counts = np.concatenate([[0], np.cumsum(different)])
    return xy[different], counts[offsets]


def _close(xy: NDArray[Any], offsets: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rings that end with their first corner, the same bits."""
    lengths = np.diff(offsets)
    filled = lengths > 0
    closed = np.concatenate([[0], np.cumsum(lengths + filled)])
    out = np.empty((closed[-1], 2), xy.dtype)
    out[np.arange(len(xy)) + np.repeat(closed[:-1] - offsets[:-1], lengths)] = xy
    out[closed[1:][filled] - 1] = xy[offsets[:-1][filled]]
    return out, closed


def _build(xy: NDArray[Any], offsets: NDArray[Any], enough: NDArray[np.bool_]) -> NDArray[np.object_]:
    """Shapely polygons of the rings with ``enough`` corners."""
    if not enough.all():
        lengths = np.diff(offsets)
        xy = xy[np.repeat(enough, lengths)]
        offsets = np.concatenate([[0], np.cumsum(lengths[enough])])
    polygons: NDArray[np.object_] = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, xy, (offsets, np.arange(len(offsets)))
    )
    return polygons


@kernel
def _plainly_valid(xy: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which closed rings are staircases (every corner a right angle) that nowhere touch themselves.

    That is what outlines of pixels are, and saying so takes a fifth of what asking GEOS takes; all others are asked.
    """
    valid = np.zeros(len(offsets) - 1, np.bool_)
    for i in range(len(valid)):
        valid[i] = _is_simple_staircase(xy[offsets[i] : offsets[i + 1]])
    return valid


@kernel
def _is_simple_staircase(ring: NDArray[np.float64]) -> bool:
    edges = len(ring) - 1
    if edges < 4 or edges % 2:
        return False
    # The axis along which edge 0 does not move; they take turns.
    first = 0 if ring[0, 0] == ring[1, 0] else 1
    for k in range(edges):
        still = (first + k) % 2
        if ring[k, still] != ring[k + 1, still] or ring[k, 1 - still] == ring[k + 1, 1 - still]:
            return False
    for a in range(edges):
        low_x = min(ring[a, 0], ring[a + 1, 0])
        high_x = max(ring[a, 0], ring[a + 1, 0])
        low_y = min(ring[a, 1], ring[a + 1, 1])
        high_y = max(ring[a, 1], ring[a + 1, 1])
        # Neighbours share a corner and nothing else.
        for b in range(a + 2, edges if a else edges - 1):
            if (
                min(ring[b, 0], ring[b + 1, 0]) <= high_x
                and max(ring[b, 0], ring[b + 1, 0]) >= low_x
                and min(ring[b, 1], ring[b + 1, 1]) <= high_y
                and max(ring[b, 1], ring[b + 1, 1]) >= low_y
            ):
                return False
    return True


def largest_valid_part(geometry: shapely.Geometry) -> shapely.Polygon:
    """The largest polygon of the repaired geometry, on the 0.01 px grid and valid there; empty where none is left."""
    fixed = shapely.set_precision(shapely.make_valid(geometry), 10.0**-DECIMALS)
    parts = [part for part in shapely.get_parts(fixed) if part.geom_type == "Polygon"]
    return max(parts, key=shapely.area, default=shapely.Polygon())

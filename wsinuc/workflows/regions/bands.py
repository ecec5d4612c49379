"""Bands along a region's border: how far nuclei lie from it, within and outside, and how large each band is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from wsinuc.arguments import came
from wsinuc.errors import ConfigError

_ARC = 32
"""Edges of a quarter of a circle around a corner: areas are right to a thousandth."""


@dataclass(frozen=True, slots=True)
class Band:
    """What lies between two distances from a border."""

    side: str
    """inside or outside of the region."""
    from_um: float
    to_um: float
    """Infinite for the core of a region, what lies deeper than all bands."""
    area_mm2: float
    """On the slide."""


def check_limits(limits_um: Sequence[float]) -> tuple[float, ...]:
    """The limits of bands, as given; raises ConfigError unless they are positive and ascend."""
    if not isinstance(limits_um, (list, tuple)) or not all(isinstance(limit, Real) for limit in limits_um):
        raise ConfigError(f"bands are given by distances in um such as (50, 100), got {came(limits_um)}")
    limits = tuple(limits_um)
    ascending = all(low < high for low, high in zip((0.0, *limits), limits, strict=False))
    if not ascending or not all(math.isfinite(limit) for limit in limits):
        raise ConfigError(
            f"bands are given by distances from the border in um that ascend, such as 50,100,200; got "
            f"{','.join(f'{limit:g}' for limit in limits)}"
        )
    return limits


class BorderBands:
    """The bands of one region.

    Parameters
    ----------
    area
        Polygons in um, (x, y).
    limits_um
        Where bands end, ascending; the first begins at the border. Empty for no bands.
    bounds_um
        x0, y0, x1, y1 of the slide, beyond which bands have no area.
    """

    def __init__(
        self, area: BaseGeometry, limits_um: Sequence[float], bounds_um: tuple[float, float, float, float]
    ) -> None:
        self.bands: list[Band] = []
        self._limits = np.asarray(limits_um, np.float64)
        self._edges: shapely.STRtree | None = None
        if not len(limits_um):
            return
        slide = shapely.box(*bounds_um)
        # From the deepest core out, as one walks from a tumour's middle into the stroma.
        depths = (*limits_um[::-1], 0.0)
        self._add("inside", (math.inf, *limits_um[::-1]), [0.0, *(_within(area, depth) for depth in depths)])
        sizes = [shapely.intersection(area.buffer(reach, quad_segs=_ARC), slide).area for reach in (0.0, *limits_um)]
        self._add("outside", (0.0, *limits_um), sizes)
        self._edges = shapely.STRtree(_segments(area))

    def _add(self, side: str, distances: Sequence[float], sizes: Sequence[float]) -> None:
        """Bands between neighbouring distances, whose areas are the steps of ``sizes`` (um squared)."""
        for k in range(len(sizes) - 1):
            low, high = sorted((distances[k], (*distances, 0.0)[k + 1]))
            self.bands.append(Band(side, low, high, max(0.0, sizes[k + 1] - sizes[k]) / 1e6))

    def which(self, xy: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.intp]:
        """(n,) the band in which each point (n, 2) lies, -1 for those outside beyond all bands.

        Parameters
        ----------
        inside
            Whether each point lies in the region.
        """
        out = np.full(len(xy), -1, np.intp)
        if self._edges is None or not len(xy):
            return out
        count = len(self._limits)
        # Whatever lies deeper than all bands is the core.
        out[inside] = 0
        near, distances = self._distances(xy)
        # Limits belong to the band that they begin.
        numbers = np.searchsorted(self._limits, distances, side="right")
        within = inside[near]
        out[near[within]] = count - numbers[within]
        beyond = ~within & (numbers < count)
        out[near[beyond]] = 1 + count + numbers[beyond]
        return out

    def _distances(self, xy: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Which points lie within the largest limit of the border, and how far from it."""
        assert self._edges is not None
        (points, _), distances = self._edges.query_nearest(
            shapely.points(xy), max_distance=float(self._limits[-1]), return_distance=True, all_matches=False
        )
        return points, distances


def _within(area: BaseGeometry, depth_um: float) -> float:
    """Area in um squared that lies deeper than so."""
    return float(area.buffer(-depth_um, quad_segs=_ARC).area) if depth_um else float(area.area)


def _segments(area: BaseGeometry) -> NDArray[np.object_]:
    """The edges of all rings."""
    pieces = []
    for ring in shapely.get_rings(shapely.get_parts(area)):
        xy = shapely.get_coordinates(ring)
        pieces.append(np.stack([xy[:-1], xy[1:]], axis=1))
    segments: NDArray[np.object_] = shapely.linestrings(np.concatenate(pieces))
    return segments

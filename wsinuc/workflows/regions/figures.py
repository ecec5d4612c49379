"""Figures of one region, gathered while the table passes by in parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from wsinuc.nuclei import Nuclei
from wsinuc.nuclei.measured_names import POSES
from wsinuc.workflows.regions.bands import Band, BorderBands
from wsinuc.workflows.regions.drawn import DrawnRegion


@dataclass(frozen=True, slots=True)
class BandFigures:
    """Nuclei of a band."""

    band: Band
    counts: dict[str, int]
    """Nuclei per class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionFigures:
    """What is known of the nuclei of a region."""

    slide: str
    """Name of the result."""
    region: str
    class_name: str
    """The region's own class in QuPath; empty without one."""
    area_mm2: float
    """As drawn, as far as it lies on the slide, glass included."""
    counts: dict[str, int]
    """Nuclei per class."""
    medians: dict[str, float]
    """Of each measurement over all nuclei, but of place and direction, which have none; NaN without any nucleus."""
    class_medians: dict[str, dict[str, float]]
    """The same by class."""
    bands: tuple[BandFigures, ...]
    where: tuple[str, ...] = ()
    """Conditions on the nuclei that count; without any, all do."""

    @property
    def nuclei(self) -> int:
        """Nuclei of all classes."""
        return sum(self.counts.values())

    @property
    def nuclei_per_mm2(self) -> float:
        """Nuclei of all classes per mm2 of the region."""
        return self.nuclei / self.area_mm2


class Gatherer:
    """Counts the nuclei of a region; holds the measurements of those inside, 4 bytes each, for the medians.

    Parameters
    ----------
    limits_um, bounds_um
        See `wsinuc.workflows.regions.bands.BorderBands`.
    """

    def __init__(
        self, region: DrawnRegion, limits_um: Sequence[float], bounds_um: tuple[float, float, float, float]
    ) -> None:
        self.region = region
        self._bands = BorderBands(region.area, limits_um, bounds_um)
        reach = limits_um[-1] if limits_um else 0.0
        x0, y0, x1, y1 = region.area.bounds
        self._box = (x0 - reach, y0 - reach, x1 + reach, y1 + reach)
        self._classes: list[NDArray[np.uint8]] = []
        self._values: list[NDArray[np.float32]] = []
        self._in_bands: dict[int, NDArray[np.int64]] = {}
        shapely.prepare(region.area)

    def add(self, part: Nuclei, xy_um: NDArray[np.float64]) -> None:
        """Take those nuclei of a part that lie in the region or its bands; ``xy_um`` (n, 2) are their centroids."""
        x0, y0, x1, y1 = self._box
        x, y = xy_um.T
        rows = np.flatnonzero((x >= x0) & (x <= x1) & (y >= y0) & (y <= y1))
        if not len(rows):
            return
        # A nucleus on the border of two regions belongs to both.
        inside = shapely.intersects_xy(self.region.area, x[rows], y[rows])
        mine = rows[inside]
        self._classes.append(part.classes[mine])
        self._values.append(np.stack([values[mine] for values in part.measurements.values()], axis=1))
        where = self._bands.which(xy_um[rows], inside)
        for number in np.unique(where[where >= 0]).tolist():
            counts = np.bincount(part.classes[rows[where == number]], minlength=256)
            self._in_bands[number] = self._in_bands.get(number, 0) + counts

    def figures(self, slide: str, class_names: Sequence[str], measurements: Sequence[str]) -> RegionFigures:
        """All of it."""
        classes = np.concatenate([np.zeros(0, np.uint8), *self._classes])
        values = np.concatenate([np.zeros((0, len(measurements)), np.float32), *self._values])
        counts = np.bincount(classes, minlength=256)
        nothing = np.zeros(256, np.int64)
        return RegionFigures(
            slide=slide,
            region=self.region.name,
            class_name=self.region.class_name,
            area_mm2=self.region.area.area / 1e6,
            counts=_by_name(counts, class_names),
            medians=_medians(values, measurements),
            class_medians={name: _medians(values[classes == k], measurements) for k, name in enumerate(class_names)},
            bands=tuple(
                BandFigures(band, _by_name(self._in_bands.get(number, nothing), class_names))
                for number, band in enumerate(self._bands.bands)
            ),
        )


def _by_name(counts: NDArray[np.int64], class_names: Sequence[str]) -> dict[str, int]:
    return {name: int(counts[k]) for k, name in enumerate(class_names)}


def _medians(values: NDArray[np.float32], names: Sequence[str]) -> dict[str, float]:
    medians = [float("nan")] * len(names)
    if len(values):
        medians = np.nanmedian(values.astype(np.float64), axis=0).tolist()
    return {name: value for name, value in zip(names, medians, strict=True) if name not in POSES}

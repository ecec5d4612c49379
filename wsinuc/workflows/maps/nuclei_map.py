"""A map: a quantity over the squares of a grid, and the values that colours stand for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsinuc.workflows.maps.grid import MapGrid
from wsinuc.workflows.maps.quantity import DENSITY, SHARE, Quantity


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class NucleiMap:
    """A quantity over the squares of a grid."""

    result: Path
    """The result that it was made of."""
    quantity: Quantity
    grid: MapGrid
    values: NDArray[np.float32]
    """(rows, columns); NaN where there are no nuclei to take a mean of."""
    nuclei: int
    """How many nuclei the map is about."""

    def __repr__(self) -> str:
        rows, columns = self.values.shape
        of = " of ".join(filter(None, (self.quantity.of, self.quantity.class_name)))
        return f"<wsinuc map of {of}: {rows} x {columns} squares of {self.grid.um:g} um, {self.nuclei:,} nuclei>"

    @property
    def limits(self) -> tuple[float, float]:
        """Values from which to which colours reach: all of them, and of a measurement all but the outermost 1 %."""
        known = self.values[np.isfinite(self.values)]
        if self.quantity.of in (SHARE, "probability", "disagreement") or not known.size:
            return 0.0, 1.0
        if self.quantity.of == DENSITY:
            return 0.0, max(float(known.max()), 1.0)
        low, high = np.percentile(known, (1, 99)).tolist()
        if low < high:
            return low, high
        return low - 0.5, low + 0.5

"""Squares over a slide, and the sums of what the nuclei in each of them add."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from wsinuc.arguments import came
from wsinuc.errors import ConfigError
from wsinuc.nuclei import Nuclei
from wsinuc.workflows.maps.quantity import DENSITY, Quantity

MAX_SQUARES = 100_000_000
"""Squares of the largest map, whose sums take 2.4 GB."""


@dataclass(frozen=True, slots=True)
class MapGrid:
    """Squares of one side from the slide's upper left corner; those at the other edges may be cut off."""

    um: float
    """Side of a square in um."""
    mpp: float
    """um per view pixel."""
    view_shape: tuple[int, int]
    """(height, width) of the slide in view pixels."""
    shape: tuple[int, int] = field(init=False)
    """(rows, columns) of squares."""

    def __post_init__(self) -> None:
        if not isinstance(self.um, Real):
            raise ConfigError(f"the side of a square is a number of um, got {came(self.um)}: 50 is usual")
        if not math.isfinite(self.um) or self.um < self.mpp:
            raise ConfigError(
                f"a map of {self.um:g} um is finer than the pixels that nuclei were found on ({self.mpp:.4g} um): "
                "50 um is usual, and less than a nucleus (8 um) shows single nuclei"
            )
        rows, columns = (max(1, math.ceil(side * self.mpp / self.um - 1e-9)) for side in self.view_shape)
        if rows * columns > MAX_SQUARES:
            raise ConfigError(
                f"a map of {self.um:g} um has {columns:,} x {rows:,} squares, more than {MAX_SQUARES:,}: "
                "take larger ones"
            )
        object.__setattr__(self, "shape", (rows, columns))

    def squares_of(self, centroids: NDArray[np.float64]) -> NDArray[np.int64]:
        """(n,) number of the square that holds each centroid (y, x) in view pixels, row by row."""
        places = (centroids * (self.mpp / self.um)).astype(np.int64)
        # A centroid on the far edge would lie in a square that is not there.
        rows = np.minimum(places[:, 0], self.shape[0] - 1)
        columns = np.minimum(places[:, 1], self.shape[1] - 1)
        return rows * self.shape[1] + columns

    def areas_mm2(self) -> NDArray[np.float64]:
        """(rows, columns) area of each square inside the slide, mm2."""
        sides = []
        for count, length in zip(self.shape, self.view_shape, strict=True):
            edges = np.minimum(np.arange(count + 1) * self.um, length * self.mpp)
            sides.append(np.diff(edges) / 1000)
        return np.outer(*sides)


class Sums:
    """Count and sum of each square, to which parts of the table are added one by one."""

    def __init__(self, grid: MapGrid, quantity: Quantity) -> None:
        self.grid = grid
        self.quantity = quantity
        self.total = 0
        self._counts = np.zeros(grid.shape[0] * grid.shape[1], np.int64)
        self._sums = np.zeros(grid.shape[0] * grid.shape[1])

    def add(self, part: Nuclei) -> None:
        """Add the nuclei of a part; raises ConfigError where it lacks what is mapped."""
        self.quantity.check(part)
        nuclei = part.select(self.quantity.counted(part))
        self.add_weights(self.grid.squares_of(nuclei.centroids), self.quantity.weights(nuclei))

    def add_weights(self, squares: NDArray[np.int64], weights: NDArray[np.float64]) -> None:
        """Add nuclei by the numbers of their squares and what each of them adds to its square's sum."""
        self.total += len(squares)
        # Unlike +=, this counts each of several nuclei that fall into one square.
        np.add.at(self._counts, squares, 1)
        np.add.at(self._sums, squares, weights)

    def values(self) -> NDArray[np.float32]:
        """(rows, columns): nuclei per mm2, or means; a mean over no nuclei is NaN."""
        if self.quantity.of == DENSITY:
            return (self._counts.reshape(self.grid.shape) / self.grid.areas_mm2()).astype(np.float32)
        means = np.full(len(self._counts), np.nan)
        np.divide(self._sums, self._counts, out=means, where=self._counts > 0)
        return means.reshape(self.grid.shape).astype(np.float32)

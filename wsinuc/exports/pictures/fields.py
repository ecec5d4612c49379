"""Which fields of a slide are worth a close look: the densest, the most doubtful, and a typical one.

Nuclei are counted in cells while their table is written, part by part, so that choosing needs no
second pass. All sums are whole numbers: the same fields come out whatever the order of the parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.grid import Box, ceil_div
from wsinuc.nuclei import Nuclei

FIELD_UM = 192.0
"""Side of a field: a few hundred nuclei."""
DENSEST = "densest"
DOUBTFUL = "most doubtful"
TYPICAL = "typical"

_WINDOW = 3  # cells of a side of a field
_LEVELS = 1_000_000  # a probability as a whole number
_FEWEST = 0.5  # of the nuclei that a field has in the median: a field of three nuclei says nothing
_PRIOR = 20  # nuclei of the slide's mean that are added to each field: three odd ones make no doubtful field


@dataclass(frozen=True, slots=True)
class ChosenField:
    """A field, and why it is shown."""

    name: str
    """DENSEST, DOUBTFUL or TYPICAL."""
    box: Box
    """In view pixels."""


@dataclass(frozen=True, slots=True)
class _Windows:
    """Sums over every window of cells; all arrays are (rows, columns)."""

    counts: NDArray[np.int64]
    areas: NDArray[np.int64]
    doubts: NDArray[np.int64]
    is_free: NDArray[np.bool_]
    """Where a field may still be put."""


class FieldTally:
    """How many nuclei lie where, how large they are and how doubtful.

    Parameters
    ----------
    shape
        (height, width) of the view.
    mpp
        um per view pixel.
    """

    def __init__(self, shape: tuple[int, int], mpp: float) -> None:
        self._shape = shape
        self._cell = max(1, round(FIELD_UM / _WINDOW / mpp))
        self._side = _WINDOW * self._cell
        cells = (ceil_div(shape[0], self._cell), ceil_div(shape[1], self._cell))
        self._counts = np.zeros(cells, np.int64)
        self._areas = np.zeros(cells, np.int64)
        self._doubts = np.zeros(cells, np.int64)

    def add(self, part: Nuclei) -> None:
        """Count the nuclei of a part of the table."""
        # A centroid on the far border would lie in a cell that is not there.
        rows, columns = np.minimum(part.centroids.astype(np.int64) // self._cell, np.array(self._counts.shape) - 1).T
        np.add.at(self._counts, (rows, columns), 1)
        np.add.at(self._areas, (rows, columns), part.areas_px)
        doubts = np.rint((1.0 - part.probabilities.astype(np.float64)) * _LEVELS).astype(np.int64)
        np.add.at(self._doubts, (rows, columns), doubts)

    def densest(self) -> Box:
        """The field with most nuclei, inside the view; its middle when there are none."""
        if not self._counts.any():
            height, width = self._shape
            return self._box_at((height - self._side) // 2, (width - self._side) // 2)
        # Of equal fields the one with most nuclei in its middle, so that a small region is not shown in a corner.
        middle = np.pad(self._counts, ((0, 1), (0, 1)))[1:, 1:]
        rank = _window_sums(self._counts) * (int(middle.max()) + 1) + middle
        return self._box(_best(-rank.astype(np.float64)))

    def choose(self) -> list[ChosenField]:
        """The fields to show, as many as there is room for without overlap; the densest is always among them.

        The most doubtful field has the lowest mean probability of its nuclei, a few nuclei of the
        slide's mean added to each. A typical one is nearest to the medians over all nuclei of how
        many nuclei a field has, how large they are and how probable.
        """
        fields = [ChosenField(DENSEST, self.densest())]
        if not self._counts.any():
            return fields
        windows = self._windows()
        fewest = _FEWEST * _weighted_median(windows.counts.ravel(), windows.counts.ravel())
        for name, cost in ((DOUBTFUL, _certainty(windows)), (TYPICAL, _distance(windows))):
            for field in fields:
                self._block(windows, field.box)
            usable = windows.is_free & (windows.counts >= fewest)
            if not usable.any():
                break
            fields.append(ChosenField(name, self._box(_best(np.where(usable, cost, np.inf)))))
        return fields

    def _windows(self) -> _Windows:
        counts, areas, doubts = map(_window_sums, (self._counts, self._areas, self._doubts))
        return _Windows(counts, areas, doubts, np.ones(counts.shape, np.bool_))

    def _block(self, windows: _Windows, taken: Box) -> None:
        """No other field may overlap this one."""
        overlaps = []
        for axis, (start, stop) in enumerate(((taken.y0, taken.y1), (taken.x0, taken.x1))):
            side = min(self._side, self._shape[axis])
            starts = np.minimum(np.arange(windows.counts.shape[axis]) * self._cell, self._shape[axis] - side)
            overlaps.append((starts < stop) & (starts + side > start))
        windows.is_free[np.ix_(*overlaps)] = False

    def _box(self, cell: tuple[int, int]) -> Box:
        return self._box_at(cell[0] * self._cell, cell[1] * self._cell)

    def _box_at(self, y: int, x: int) -> Box:
        """A field at this corner, moved and shrunk until it lies in the view."""
        height = min(self._side, self._shape[0])
        width = min(self._side, self._shape[1])
        y0 = max(0, min(y, self._shape[0] - height))
        x0 = max(0, min(x, self._shape[1] - width))
        return Box(y0, x0, y0 + height, x0 + width)


def _window_sums(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """The sum over the field that begins at each cell."""
    # Padded behind, so that fields which begin near the end exist, too.
    padded = np.pad(cells, ((0, _WINDOW - 1), (0, _WINDOW - 1)))
    sums: NDArray[np.int64] = np.lib.stride_tricks.sliding_window_view(padded, (_WINDOW, _WINDOW)).sum(axis=(2, 3))
    return sums


def _certainty(windows: _Windows) -> NDArray[np.float64]:
    """Mean probability of the nuclei of each window, drawn towards the slide's where they are few."""
    mean = windows.doubts.sum() / max(1, windows.counts.sum())
    certainty: NDArray[np.float64] = -(windows.doubts + _PRIOR * mean) / (windows.counts + _PRIOR)
    return certainty


def _distance(windows: _Windows) -> NDArray[np.float64]:
    """How far each window is from what surrounds a nucleus in the median: relative differences, added up."""
    counts = windows.counts.astype(np.float64)
    some = np.maximum(counts, 1.0)
    distance = np.zeros(counts.shape)
    for values in (counts, windows.areas / some, windows.doubts / some):
        median = _weighted_median(values.ravel(), windows.counts.ravel())
        distance += np.abs(values - median) / max(median, 1e-9)
    return distance


def _weighted_median(values: NDArray[np.integer] | NDArray[np.float64], weights: NDArray[np.int64]) -> float:
    order = np.argsort(values, kind="stable")
    shares = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(shares, shares[-1] / 2)])


def _best(cost: NDArray[np.float64]) -> tuple[int, int]:
    """Row and column of the smallest value, the first of equals."""
    row, column = np.unravel_index(int(cost.argmin()), cost.shape)
    return int(row), int(column)

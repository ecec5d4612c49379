"""How measurements of nuclei are distributed, by class: counted in fine bins while the table is written.

The bins are fixed, so memory does not grow with the number of nuclei and the order of the parts
does not matter. They are far finer than what is drawn, so a median is right to three digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.grid import ceil_div
from wsinuc.nuclei import Nuclei
from wsinuc.nuclei.table import PER_NUCLEUS

_FEWEST_BARS = 8
_MOST_BARS = 40
_TAIL = 0.005  # share of nuclei beyond each end of an axis; they are drawn in its last bars


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """Something that every nucleus has."""

    name: str
    """Of the measurement or column in ``Nuclei``."""
    title: str
    """As people call it."""
    unit: str = ""
    """Empty for shares between 0 and 1."""
    high: float = 1.0
    """Where the bins end; larger values are counted in the last. They begin at 0."""
    bins: int = 1000

    def values(self, part: Nuclei) -> NDArray[np.float32] | None:
        """Of each nucleus of a part of the table, ``(n,)``; None where it was not measured."""
        if self.name in part.measurements:
            return part.measurements[self.name]
        if self.name == AREA.name:
            return (part.areas_px * part.frame.mpp**2).astype(np.float32)
        if self.name in PER_NUCLEUS:
            column: NDArray[np.float32] = getattr(part, self.name)
            return column
        return None


AREA = Quantity(name="area_um2", title="Area", unit="µm²", high=1000, bins=4000)
PROBABILITY = Quantity(name="probabilities", title="Probability of being a nucleus")
QUANTITIES = (
    AREA,
    PROBABILITY,
    Quantity(name="max_diameter_um", title="Largest diameter", unit="µm", high=100, bins=4000),
    Quantity(name="min_diameter_um", title="Smallest diameter", unit="µm", high=100, bins=4000),
    Quantity(name="circularity", title="Circularity"),
    Quantity(name="solidity", title="Solidity"),
    Quantity(name="disagreements", title="Disagreement of the model's members"),
)
"""What is shown, in this order."""


@dataclass(frozen=True, slots=True)
class Bars:
    """A histogram as it is drawn: the same bars for all classes."""

    edges: NDArray[np.float64]
    """``(bars + 1,)``."""
    shares: NDArray[np.float64]
    """``(classes, bars)`` of the nuclei of each class, 0 to 1; a class without nuclei has zeros."""


class Distribution:
    """One quantity over all nuclei, by class."""

    def __init__(self, quantity: Quantity, classes: int) -> None:
        self.quantity = quantity
        self.counts = np.zeros((classes, quantity.bins), np.int64)
        """Nuclei of each class in each bin."""

    def add(self, part: Nuclei) -> None:
        """Count the nuclei of a part of the table."""
        values = self.quantity.values(part)
        if values is None:
            return
        bins = self.quantity.bins
        scaled = values.astype(np.float64) * (bins / self.quantity.high)
        places = np.clip(np.nan_to_num(scaled), 0, bins - 1).astype(np.int64)
        cells = part.classes.astype(np.int64) * bins + places
        self.counts += np.bincount(cells, minlength=self.counts.size).reshape(self.counts.shape)

    def quantile(self, share: float, kind: int | None = None) -> float | None:
        """The value below which this share of the nuclei lie, of one class or of all; None without nuclei."""
        counts = self.counts.sum(axis=0) if kind is None else self.counts[kind]
        total = int(counts.sum())
        if not total:
            return None
        place = int(np.searchsorted(np.cumsum(counts), share * total))
        return (place + 0.5) * self._width

    def below(self, limit: float) -> int:
        """How many nuclei lie below a limit that is an edge of bins."""
        return int(self.counts[:, : round(limit / self._width)].sum())

    def bars(self) -> Bars | None:
        """A histogram of 8 to 40 bars, more for more nuclei, over all but the outermost; None without nuclei."""
        low = self.quantile(_TAIL)
        high = self.quantile(1 - _TAIL)
        if low is None or high is None:
            return None
        first = int(low / self._width)
        last = int(high / self._width) + 1
        wanted = min(_MOST_BARS, max(_FEWEST_BARS, math.isqrt(int(self.counts.sum()))))
        step = ceil_div(last - first, wanted)
        bars = ceil_div(last - first, step)
        first = max(0, min(first, self.quantity.bins - bars * step))
        places = np.clip((np.arange(self.quantity.bins) - first) // step, 0, bars - 1)
        totals = np.maximum(1, self.counts.sum(axis=1, keepdims=True))
        shares = np.stack([np.bincount(places, weights=row, minlength=bars) for row in self.counts]) / totals
        edges = (first + np.arange(bars + 1) * step).astype(np.float64) * self._width
        return Bars(edges, shares.astype(np.float64))

    @property
    def _width(self) -> float:
        return self.quantity.high / self.quantity.bins


class Distributions:
    """All quantities, for which parts of the table are added one by one; their classes are those of the first."""

    def __init__(self) -> None:
        self.all: tuple[Distribution, ...] = ()

    def add(self, part: Nuclei) -> None:
        """Count the nuclei of a part of the table."""
        if not self.all:
            self.all = tuple(Distribution(quantity, max(1, len(part.class_names))) for quantity in QUANTITIES)
        for distribution in self.all:
            distribution.add(part)

    def of(self, quantity: Quantity) -> Distribution:
        """The distribution of one of `QUANTITIES`."""
        return self.all[QUANTITIES.index(quantity)]

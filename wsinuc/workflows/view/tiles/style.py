"""How nuclei are shown: by what they are coloured, and which of them are hidden; as it stands in a tile's address."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import ConfigError
from wsinuc.workflows.view.table import NucleiTable
from wsinuc.workflows.view.tiles.palette import STEPS, Rgb, class_colors, scale

CLASS = "class"
LEARNED = "learned"
"""The classes that were learned from labels on the page."""
NAMED = (CLASS, LEARNED)
SAMPLED = 200_000
"""Nuclei of which the ends of a colour scale are taken, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """What a page asks for; raises ConfigError for what cannot be."""

    by: str = CLASS
    """``class``, ``learned``, ``probability``, ``disagreement`` or a measurement."""
    hidden: frozenset[int] = frozenset()
    """Positions of classes that are not shown."""
    least: float = 0.0
    """Probability from which nuclei are shown."""
    of: str = ""
    """Measurement by whose range nuclei are hidden; empty for none."""
    low: float = -math.inf
    high: float = math.inf
    other: str = ""
    """Key of a result from which the nuclei that are shown differ; empty to show all."""
    filled: bool = False
    """Whether nuclei are filled as well as outlined."""
    windows: bool = True
    """Whether outlines of training windows, which the page draws, stand in for the nuclei of the result there."""

    def __post_init__(self) -> None:
        if math.isnan(self.least) or math.isnan(self.low) or math.isnan(self.high):
            raise ConfigError("a range of nuclei needs numbers for its ends")


def parse_style(query: Mapping[str, Sequence[str]]) -> Style:
    """The style in the query of an address; raises ConfigError for values of another kind.

    Examples
    --------
    >>> style = parse_style({"by": ["area_um2"], "p": ["0.5"], "hide": ["0,2"]})
    >>> style.by, style.least, sorted(style.hidden), style.filled
    ('area_um2', 0.5, [0, 2], False)
    """

    def last(name: str, usual: str) -> str:
        values = query.get(name)
        return values[-1] if values else usual

    try:
        return Style(
            by=last("by", CLASS),
            hidden=frozenset(int(each) for each in last("hide", "").split(",") if each),
            least=float(last("p", "0")),
            of=last("of", ""),
            low=float(last("lo", "-inf")),
            high=float(last("hi", "inf")),
            other=last("vs", ""),
            filled=last("fill", "0") == "1",
            windows=last("windows", "1") == "1",
        )
    except ValueError as error:
        raise ConfigError(f"the address asks for a style that cannot be: {error}") from None


@dataclass(frozen=True, slots=True)
class Paint:
    """A style applied to a table: colours and which nuclei are shown, looked up by row."""

    style: Style
    table: NucleiTable
    classes: NDArray[np.uint8]
    """(n,) position of each nucleus' class among ``class_names``."""
    class_names: tuple[str, ...]
    class_colors: tuple[Rgb, ...]
    limits: tuple[float, float]
    """Values at the ends of the colour scale; 0 and 1 where classes are shown."""
    hidden_rows: NDArray[np.int64] | None = None
    """Rows that are not shown, whatever the style."""
    only: NDArray[np.bool_] | None = None
    """(n,) which nuclei may be shown at all; None for all."""

    def without(self, rows: NDArray[np.int64]) -> Paint:
        """The same, with some nuclei hidden."""
        return replace(self, hidden_rows=rows) if len(rows) else self

    @property
    def colors(self) -> NDArray[np.uint8]:
        """RGB ``(k, 3)`` that the numbers of `indices` stand for."""
        if self.style.by in NAMED:
            # A result without classes has nuclei all the same.
            return np.array(self.class_colors or class_colors(1), np.uint8)
        return scale()

    def indices(self, rows: NDArray[np.int64]) -> NDArray[np.intp]:
        """(n,) which of ``colors`` each of these nuclei has."""
        if self.style.by in NAMED:
            return self.classes[rows].astype(np.intp)
        low, high = self.limits
        share = (self.table.column(self.style.by)[rows] - low) / (high - low)
        known = np.isfinite(share)
        steps = np.clip(np.where(known, share, 0) * STEPS, 0, STEPS - 1).astype(np.intp)
        return np.where(known, steps, STEPS)

    def shown(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the rows whose nuclei are shown."""
        style = self.style
        keep = np.ones(len(rows), np.bool_)
        if style.least > 0:
            keep &= self.table.probabilities[rows] >= style.least
        if style.hidden:
            keep &= ~np.isin(self.classes[rows], list(style.hidden))
        if style.of:
            values = self.table.column(style.of)[rows]
            keep &= (values >= style.low) & (values <= style.high)
        if self.only is not None:
            keep &= self.only[rows]
        if self.hidden_rows is not None:
            keep &= ~np.isin(rows, self.hidden_rows)
        return rows[keep]


def limits_of(table: NucleiTable, by: str) -> tuple[float, float]:
    """Values from which to which colours reach: 0 to 1, and of a measurement all but the outermost 1 %."""
    if by in (*NAMED, "probability", "disagreement"):
        return 0.0, 1.0
    values = table.column(by)
    # Every so many rows: neighbours in the table are neighbours on the slide.
    values = values[:: max(1, len(values) // SAMPLED)]
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = np.percentile(values, (1, 99)).tolist()
    if low < high:
        return low, high
    return low - 0.5, low + 0.5

"""Histograms as numbers for an SVG: corners, ticks and labels. The template only writes them down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsinuc.exports.pictures.drawing import round_length
from wsinuc.exports.report.distributions import Bars, Distribution
from wsinuc.nuclei.classes import hex_color

WIDTH = 320
HEIGHT = 150
"""Of the plot without its labels, in units of the SVG."""

_FEWEST_BARS = 4


@dataclass(frozen=True, slots=True)
class Series:
    """The histogram of one class."""

    color: str
    """As ``#rrggbb``."""
    points: str
    """Corners "x,y x,y ..." of the filled polygon."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A number along an axis."""

    at: float
    """In units of the SVG, from the left."""
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A histogram of one quantity."""

    title: str
    text: str
    """The same in words, for those who cannot see it."""
    peak: str
    """Share of the nuclei in the highest bar."""
    series: tuple[Series, ...]
    ticks: tuple[Tick, ...]
    median: str
    """With its unit."""


def chart(distribution: Distribution, colors: tuple[tuple[int, int, int], ...]) -> Chart | None:
    """The chart of a quantity; None where no nucleus has it, or nearly all have one value."""
    bars = distribution.bars()
    median = distribution.quantile(0.5)
    # Such as the disagreement of a model that has one member.
    if bars is None or median is None or len(bars.edges) <= _FEWEST_BARS:
        return None
    quantity = distribution.quantity
    title = f"{quantity.title} ({quantity.unit})" if quantity.unit else quantity.title
    middle = f"{median:.3g} {quantity.unit}".strip()
    low = distribution.quantile(0.25)
    high = distribution.quantile(0.75)
    peak = float(bars.shares.max())
    return Chart(
        title=title,
        text=f"{quantity.title}: half of the nuclei lie between {low:.3g} and {high:.3g} {quantity.unit}".strip(),
        peak=f"{peak:.0%}",
        series=tuple(
            Series(hex_color(color), _polygon(shares, peak))
            for color, shares in zip(colors, bars.shares, strict=False)
            if shares.any()
        ),
        ticks=_ticks(bars),
        median=middle,
    )


def _polygon(shares: np.ndarray, peak: float) -> str:
    """The outline of the bars, from the lower left corner to the lower right one."""
    xs = np.repeat(np.linspace(0, WIDTH, len(shares) + 1), 2)
    ys = np.concatenate([[HEIGHT], np.repeat(HEIGHT * (1 - shares / peak), 2), [HEIGHT]])
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))


def _ticks(bars: Bars) -> tuple[Tick, ...]:
    """About four round numbers along the axis."""
    low = float(bars.edges[0])
    high = float(bars.edges[-1])
    step = round_length((high - low) / 3)
    # Adding 0 makes a plain 0 of the negative one that rounding leaves.
    numbers = step * np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1)
    return tuple(
        Tick((number - low) / (high - low) * WIDTH, f"{number:g}") for number in (numbers.round(6) + 0.0).tolist()
    )

"""The few plots that commands draw of their own figures, as PNG; matplotlib without a screen or global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from wsinuc.exports.atomic import replacing
from wsinuc.grid import ceil_div
from wsinuc.metrics.calibration import Reliability

Curve = tuple[ArrayLike, ArrayLike]
"""x and y, or x and ``(mean, spread)`` as two rows, drawn with a band."""


def draw_curves(
    curves: Mapping[str, Curve], path: Path, *, x: str, y: str, title: str = "", log_x: bool = False
) -> None:
    """Draw lines with a legend.

    Parameters
    ----------
    curves
        Name -> x and y; a y of two rows is a mean with its spread, drawn as a band.
    path
        PNG to write.
    x, y
        What stands along the axes.
    log_x
        Whether x is drawn by its powers of two.
    """
    figure = _figure(7, 4.5)
    axes = figure.add_subplot()
    for name, (where, values) in curves.items():
        where = np.asarray(where)
        values = np.asarray(values, float)
        mean = values[0] if values.ndim == 2 else values
        (line,) = axes.plot(where, mean, label=name, marker="o" if len(where) < 20 else None)
        if values.ndim == 2:
            axes.fill_between(where, mean - values[1], mean + values[1], color=line.get_color(), alpha=0.15)
    if log_x:
        axes.set_xscale("log", base=2)
        ticks = sorted({float(v) for where, _ in curves.values() for v in np.asarray(where)})
        axes.set_xticks(ticks, [f"{v:g}" for v in ticks])
    axes.set(xlabel=x, ylabel=y, title=title)
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend()
    _save(figure, path)


def draw_heat_map(
    values: ArrayLike, rows: Sequence[str], columns: Sequence[str], path: Path, *, x: str, y: str, title: str = ""
) -> None:
    """Draw a table as colours with its figures in the cells; NaN cells stay empty.

    Parameters
    ----------
    values
        (rows, columns).
    rows, columns
        Their names.
    path
        PNG to write.
    x, y
        What stands along the axes.
    """
    table = np.asarray(values, float)
    figure = _figure(2.5 + 0.75 * len(columns), 2 + 0.45 * len(rows))
    axes = figure.add_subplot()
    image = axes.imshow(table, cmap="viridis", aspect="auto")
    whole = bool(np.all(np.mod(table[np.isfinite(table)], 1) == 0))
    # Figures in the cells are black on the bright half of the colours and white on the dark one.
    if np.isfinite(table).any():
        limit = np.nanmean([np.nanmin(table), np.nanmax(table)])
    else:
        limit = 0.0
    for (i, j), value in np.ndenumerate(table):
        if np.isfinite(value):
            text = f"{value:.0f}" if whole else f"{value:.3f}"
            color = "black" if value > limit else "white"
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color=color)
    slanted = max(map(len, columns)) > 6
    if slanted:
        axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right")
    else:
        axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel=x, ylabel=y, title=title)
    figure.colorbar(image)
    _save(figure, path)


_COLUMNS = 3  # of panels on a page
_BINS = 30  # of a panel


def draw_histograms(panels: Mapping[str, Mapping[str, ArrayLike]], path: Path) -> None:
    """One panel per quantity with the distributions of all groups over the same bins.

    Heights are percent of each group's values, so that groups of different sizes compare.
    The bins hold the middle 99 % of all values together; what lies outside is counted in the first
    and the last. A dashed line marks each group's median. A panel without values says so.
    """
    rows = ceil_div(len(panels), _COLUMNS)
    figure = _figure(4.2 * _COLUMNS, 0.3 + 2.9 * rows)
    for i, (name, groups) in enumerate(panels.items()):
        axes = figure.add_subplot(rows, _COLUMNS, i + 1)
        axes.set(xlabel=name, ylabel="% of values")
        _draw_panel(axes, {label: np.asarray(values, float) for label, values in groups.items()})
    _save(figure, path)


def draw_reliability(bins: Reliability, path: Path, *, title: str = "") -> None:
    """Share of right nuclei against their probability, and below how many nuclei each bin holds.

    Bins without nuclei have no point.
    """
    figure = _figure(5, 5.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    used = bins.counts > 0
    above.plot((0, 1), (0, 1), color="grey", linestyle="--", linewidth=1, label="means what it says")
    label = f"measured (calibration error {bins.error:.3f})"
    above.plot(bins.probabilities[used], bins.right[used], marker="o", color="C0", label=label)
    above.set(ylabel="share of nuclei that are right", xlim=(0, 1), ylim=(0, 1), title=title)
    above.grid(alpha=0.3)
    above.legend(loc="upper left")
    below.stairs(bins.counts, bins.edges, fill=True, color="C0", alpha=0.5)
    below.set(xlabel="detection probability", ylabel="nuclei")
    below.grid(alpha=0.3)
    _save(figure, path)


def draw_detector(detectors: Mapping[str, tuple[ArrayLike, Curve]], path: Path, *, title: str = "") -> None:
    """How well quantities point at wrong nuclei: share of wrong ones by groups of rising doubt, and the ROC curve.

    ``detectors`` gives for each name the share (groups,) and the curve: shares of the right and of
    the wrong ones that exceed a threshold.
    """
    figure = _figure(10, 4.8)
    groups, curves = figure.subplots(1, 2)
    for name, (shares, (right, wrong)) in detectors.items():
        values = np.asarray(shares, float)
        places = (np.arange(len(values)) + 0.5) * 100 / len(values)
        groups.plot(places, 100 * values, marker="o", label=name.split(" (")[0])
        curves.plot(right, wrong, label=name)
    groups.set(xlabel="nuclei by rising doubt, %", ylabel="wrong, %", xlim=(0, 100), ylim=(0, 100))
    groups.legend(loc="upper left")
    curves.plot((0, 1), (0, 1), color="grey", linestyle="--", linewidth=1)
    curves.set(xlabel="share of right nuclei above the threshold", ylabel="share of wrong nuclei above it")
    curves.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    curves.legend(loc="lower right")
    for axes in (groups, curves):
        axes.grid(alpha=0.3)
    figure.suptitle(title)
    _save(figure, path)


def _draw_panel(axes: Axes, groups: Mapping[str, NDArray[np.float64]]) -> None:
    together = np.concatenate(list(groups.values()))
    if not len(together):
        axes.text(0.5, 0.5, "no values", ha="center", va="center", transform=axes.transAxes)
        return
    low, high = np.quantile(together, (0.005, 0.995))
    # Where all values are one, bins of no width would be an error of numpy's.
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    for color, (label, values) in enumerate(groups.items()):
        if not len(values):
            continue
        counts, _ = np.histogram(values.clip(edges[0], edges[-1]), edges)
        name = f"{label} (n = {len(values):,})"
        axes.stairs(100 * counts / len(values), edges, fill=True, alpha=0.35, color=f"C{color}", label=name)
        axes.stairs(100 * counts / len(values), edges, color=f"C{color}", linewidth=1.2)
        axes.axvline(float(np.median(values)), color=f"C{color}", linestyle="--", linewidth=1)
    axes.legend(fontsize=8)


def _figure(width: float, height: float) -> Figure:
    # Not by pyplot, which keeps every figure in a global list and asks for a screen.
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> None:
    # No date or version inside, so that the same figures give the same bytes.
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=120, metadata={"Software": None})

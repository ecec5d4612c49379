"""One evaluation for each value of a setting, and the table that compares them."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsinuc.errors import ConfigError
from wsinuc.exports.atomic import replacing_text
from wsinuc.workflows.evaluate import files
from wsinuc.workflows.evaluate.figures import METRICS, Evaluation

FIGURES = ("f_detection", "bpq_pannuke", "mpq_pannuke")
"""Figures of a summary that stand in the table beside the means."""


def parse_series(text: str, what: str, example: str) -> tuple[float, ...]:
    """Different numbers above 0 with commas between them; raises ConfigError.

    Examples
    --------
    >>> parse_series("0.25,0.5,1.0", "resolutions", "0.25,0.5,1.0")
    (0.25, 0.5, 1.0)
    """
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or len(set(values)) < len(values) or not all(0 < value < math.inf for value in values):
        raise ConfigError(f"{what} are different numbers above 0, such as {example}; got {text!r}")
    return values


def series_rows(name: str, evaluations: Mapping[float, Evaluation]) -> list[dict[str, float]]:
    """A line per value, which stands under ``name``: means over images, pooled figures, and counts of nuclei."""
    rows = []
    for value, evaluation in evaluations.items():
        summary = evaluation.summary()
        row = {name: value, "images": len(evaluation.images)}
        row |= {metric: evaluation.means[metric] for metric in METRICS if metric in evaluation.means}
        row |= {figure: summary[figure] for figure in FIGURES if figure in summary}
        rows.append(row | evaluation.totals)
    return rows


def write_series(rows: Sequence[Mapping[str, float]], out: Path, name: str, about: Mapping[str, Any]) -> None:
    """Write ``NAME.csv``, and ``NAME.json`` with what there is to say ``about`` the rows; raises OutputError."""
    with replacing_text(out / f"{name}.csv") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    files.write_json({**about, name: rows}, out / f"{name}.json")

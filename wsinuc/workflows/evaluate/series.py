"""One evaluation for each value of a setting, and the table that compares them."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsinuc.datasets.base import Dataset
from wsinuc.errors import ConfigError
from wsinuc.exports.atomic import replacing_text
from wsinuc.workflows.evaluate import files
from wsinuc.workflows.evaluate.figures import METRICS, Evaluation
from wsinuc.workflows.evaluate.run import Predict, evaluate

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


def evaluate_series(
    runs: Mapping[float, tuple[Dataset, Predict]],
    prefix: str,
    *,
    out: Path | None,
    overwrite: bool,
    on_value: Callable[[float], None] | None,
    **settings: Any,
) -> dict[float, Evaluation]:
    """What `evaluate` finds for each value of a setting, in the order given.

    Parameters
    ----------
    runs
        Value -> the images and the model that are evaluated for it.
    prefix
        With ``out``, the files of `evaluate` lie there in ``PREFIX_VALUE``.
    on_value
        Called before each.
    settings
        Further parameters of `evaluate`.
    """
    if out is not None:
        files.make_output_folder(out, overwrite)
    evaluations = {}
    for value, (dataset, predict) in runs.items():
        if on_value:
            on_value(value)
        folder = out and out / f"{prefix}_{value:g}"
        evaluations[value] = evaluate(dataset, predict, out=folder, overwrite=overwrite, **settings)
    return evaluations


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

"""Accuracy at several resolutions of the same images: each is resampled before the segmenter sees it.

Prediction and annotation are compared at the resampled resolution, in its pixels: the figures say
how good a result is that somebody with a slide of that resolution gets, not how much of the finer
annotation it repeats.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsinuc.datasets.base import Dataset
from wsinuc.datasets.sampling.resampled import resampled
from wsinuc.errors import ConfigError
from wsinuc.exports.atomic import replacing_text
from wsinuc.workflows.evaluate import files as evaluation_files
from wsinuc.workflows.evaluate.figures import METRICS, Evaluation
from wsinuc.workflows.evaluate.run import Predict, evaluate

FIGURES = ("f_detection", "bpq_pannuke", "mpq_pannuke")
"""Figures of a summary that stand in the table beside the means."""


def parse_resolutions(text: str) -> tuple[float, ...]:
    """Resolutions as the user writes them; raises ConfigError.

    Examples
    --------
    >>> parse_resolutions("0.25,0.5,1.0")
    (0.25, 0.5, 1.0)
    """
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or len(set(values)) < len(values) or not all(0 < value < math.inf for value in values):
        raise ConfigError(f"resolutions are different numbers above 0, such as 0.25,0.5,1.0; got {text!r}")
    return values


def evaluate_resolutions(
    dataset: Dataset,
    predict: Predict,
    resolutions: Sequence[float],
    *,
    out: Path | None = None,
    overwrite: bool = False,
    on_resolution: Callable[[float], None] | None = None,
    **settings: Any,
) -> dict[float, Evaluation]:
    """What `evaluate` finds at each resolution (um per pixel), in the order given.

    Parameters
    ----------
    out
        Folder to write ``resolutions.csv`` and ``resolutions.json`` to, and what `evaluate` writes
        to ``mpp_0.5`` and so on.
    on_resolution
        Called before each.
    settings
        Further parameters of `evaluate`.

    Raises
    ------
    DataError
        An image is coarser than one of the resolutions, before any work; else as `evaluate`.
    """
    sets = {mpp: resampled(dataset, mpp) for mpp in resolutions}
    if out is not None:
        evaluation_files.make_output_folder(out, overwrite)
    evaluations = {}
    for mpp, images in sets.items():
        if on_resolution:
            on_resolution(mpp)
        folder = out and out / f"mpp_{mpp:g}"
        evaluations[mpp] = evaluate(images, predict, out=folder, overwrite=overwrite, **settings)
    if out is not None:
        _write(evaluations, out)
    return evaluations


def resolution_rows(evaluations: Mapping[float, Evaluation]) -> list[dict[str, float]]:
    """A line per resolution: ``mpp``, means over images, pooled figures, and counts of nuclei."""
    rows = []
    for mpp, evaluation in evaluations.items():
        summary = evaluation.summary()
        row = {"mpp": mpp, "images": len(evaluation.images)}
        row |= {name: evaluation.means[name] for name in METRICS if name in evaluation.means}
        row |= {name: summary[name] for name in FIGURES if name in summary}
        rows.append(row | evaluation.totals)
    return rows


def _write(evaluations: Mapping[float, Evaluation], out: Path) -> None:
    rows = resolution_rows(evaluations)
    with replacing_text(out / "resolutions.csv") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    evaluation_files.write_json(
        {"compared_at": "the resampled resolution", "resolutions": rows}, out / "resolutions.json"
    )

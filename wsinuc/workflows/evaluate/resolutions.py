"""Accuracy at several resolutions of the same images: each is resampled before the segmenter sees it.

Prediction and annotation are compared at the resampled resolution, in its pixels: the figures say
how good a result is that somebody with a slide of that resolution gets, not how much of the finer
annotation it repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsinuc.datasets.base import Dataset
from wsinuc.datasets.sampling.resampled import resampled
from wsinuc.workflows.evaluate.figures import Evaluation
from wsinuc.workflows.evaluate.run import Predict
from wsinuc.workflows.evaluate.series import evaluate_series, parse_series, series_rows, write_series


def parse_resolutions(text: str) -> tuple[float, ...]:
    """Resolutions as the user writes them; raises ConfigError.

    Examples
    --------
    >>> parse_resolutions("0.25,0.5,1.0")
    (0.25, 0.5, 1.0)
    """
    return parse_series(text, "resolutions in um per pixel", "0.25,0.5,1.0")


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
    runs = {mpp: (resampled(dataset, mpp), predict) for mpp in resolutions}
    evaluations = evaluate_series(runs, "mpp", out=out, overwrite=overwrite, on_value=on_resolution, **settings)
    if out is not None:
        write_series(resolution_rows(evaluations), out, "resolutions", {"compared_at": "the resampled resolution"})
    return evaluations


def resolution_rows(evaluations: Mapping[float, Evaluation]) -> list[dict[str, float]]:
    """A line per resolution: ``mpp``, means over images, pooled figures, and counts of nuclei."""
    return series_rows("mpp", evaluations)

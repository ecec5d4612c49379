"""Accuracy of one model at several thresholds, so that a user can choose one on annotated images.

What the network says is the same at each, so it is asked once for each image, as far as memory holds its scores.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.pipeline.scored import ScoredTile
from wsinuc.pipeline.seen_image import MOST_BYTES, SeenImage
from wsinuc.recent import Recent
from wsinuc.segmenters.base import Segmenter
from wsinuc.segmenters.cutoffs import with_cutoffs
from wsinuc.workflows.evaluate.figures import Evaluation
from wsinuc.workflows.evaluate.predictions import Prediction, predict_nuclei
from wsinuc.workflows.evaluate.series import evaluate_series, parse_series, series_rows, write_series

CALIBRATION = "expected_calibration_error"


def parse_thresholds(text: str) -> tuple[float, ...]:
    """Thresholds as the user writes them; raises ConfigError.

    Examples
    --------
    >>> parse_thresholds("0.4,0.5")
    (0.4, 0.5)
    """
    return parse_series(text, "thresholds", "0.3,0.4,0.5,0.6,0.7")


def evaluate_thresholds(
    dataset: Dataset,
    segmenter: Segmenter,
    thresholds: Sequence[float],
    *,
    batch_size: int | None = None,
    semantic: bool = False,
    out: Path | None = None,
    overwrite: bool = False,
    on_threshold: Callable[[float], None] | None = None,
    **settings: Any,
) -> dict[float, Evaluation]:
    """What `evaluate` finds at each threshold, in the order given.

    Parameters
    ----------
    batch_size, semantic
        As `predict_nuclei` has them.
    out
        Folder to write ``thresholds.csv`` and ``thresholds.json`` to, and what `evaluate` writes to
        ``threshold_0.5`` and so on.
    on_threshold
        Called before each.
    settings
        Further parameters of `evaluate`.

    Raises
    ------
    ConfigError
        A threshold is out of its range, or the segmenter has none, before any work; else as `evaluate`.
    """
    segmenters = {each: with_cutoffs(segmenter, threshold=each) for each in thresholds}
    memory = Recent[ScoredTile](MOST_BYTES)
    images: defaultdict[str, SeenImage] = defaultdict(lambda: SeenImage(memory))

    def predict(image: LabelledImage, *, segmenter: Segmenter) -> Prediction:
        seen = images[image.name]
        return predict_nuclei(image, segmenter=segmenter, batch_size=batch_size, semantic=semantic, seen=seen)

    runs = {threshold: (dataset, partial(predict, segmenter=model)) for threshold, model in segmenters.items()}
    evaluations = evaluate_series(runs, "threshold", out=out, overwrite=overwrite, on_value=on_threshold, **settings)
    if out is not None:
        write_series(threshold_rows(evaluations), out, "thresholds", {})
    return evaluations


def threshold_rows(evaluations: Mapping[float, Evaluation]) -> list[dict[str, float]]:
    """A line per threshold: ``threshold``, means over images, pooled figures, how far probabilities are from the share
    that is right, and counts of nuclei."""
    rows = series_rows("threshold", evaluations)
    for row, evaluation in zip(rows, evaluations.values(), strict=True):
        summary = evaluation.summary()
        if "calibration" in summary:
            row[CALIBRATION] = summary["calibration"][CALIBRATION]
    return rows

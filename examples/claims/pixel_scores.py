"""IoU of pixels before anything is separated, as Alexis et al. measure it, with AJI of what hangs together beside it.

Intersections and unions are added over all test squares and divided once; the mean is over the
classes of nuclei, without background.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.base import LabelledImage
from wsinuc.metrics.boundaries import hausdorff
from wsinuc.metrics.pixels import PixelCounts, count_pixels
from wsinuc.metrics.segmentation import aji

ClassMap = NDArray[np.int64]
"""``(h, w)`` class of each pixel, 0 is background."""
Predict = Callable[[int, LabelledImage], ClassMap]
"""From the number of a test square and the square itself."""


def judged(square: LabelledImage) -> NDArray[np.bool_]:
    """Pixels of which the annotation says what they are."""
    known: NDArray[np.bool_] = (square.labels == 0) | (square.class_map > 0)
    if square.ignore is not None:
        known &= ~square.ignore
    return known


def pooled_counts(squares: Sequence[LabelledImage], predictions: Sequence[ClassMap], classes: int) -> PixelCounts:
    """Confusion of all judged pixels."""
    total = PixelCounts.zero(classes)
    for square, predicted in zip(squares, predictions, strict=True):
        truth = square.class_map.astype(np.int64)
        total += count_pixels(truth, predicted, classes, judged=judged(square))
    return total


def predictions(squares: Sequence[LabelledImage], predict: Predict) -> list[ClassMap]:
    """Classes of the pixels of all test squares."""
    return [predict(number, square) for number, square in enumerate(squares)]


def scores_of(squares: Sequence[LabelledImage], maps: Sequence[ClassMap], classes: Sequence[str]) -> dict[str, Any]:
    """IoU of every class and their mean; AJI of connected nuclei where there is one class."""
    counts = pooled_counts(squares, maps, len(classes))
    result: dict[str, Any] = {
        "iou": {name: rounded(value) for name, value in zip(classes, counts.iou[1:], strict=True)},
        "mean_iou": rounded(counts.mean_iou),
    }
    if len(classes) == 1:
        pairs = zip(squares, maps, strict=True)
        result["aji"] = rounded(fmean(aji(square.labels, pieces(predicted)) for square, predicted in pairs))
    return result


def outline_scores(squares: Sequence[LabelledImage], maps: Sequence[ClassMap]) -> dict[str, float | None]:
    """F1, sensitivity and precision of nuclei's pixels, pooled; the mean Hausdorff distance in um, or None."""
    binary = [(predicted > 0).astype(np.int64) for predicted in maps]
    counts = pooled_counts([one_class(square) for square in squares], binary, 1)
    distances = [
        hausdorff(square.labels > 0, predicted > 0) * square.mpp
        for square, predicted in zip(squares, maps, strict=True)
        if square.labels.any() and predicted.any()
    ]
    return {
        # Nothing annotated, or nothing predicted, counts as 0.
        "f1": rounded(np.nan_to_num(counts.dice[1])),
        "sensitivity": rounded(np.nan_to_num(counts.sensitivity[1])),
        "precision": rounded(np.nan_to_num(counts.precision[1])),
        "hausdorff_um": rounded(fmean(distances)) if distances else None,
        "hausdorff_squares": len(distances),
    }


def one_class(square: LabelledImage) -> LabelledImage:
    """The square with nuclei of one class; those of unknown class are nuclei, too."""
    return replace(square, classes=None)


def pieces(predicted: ClassMap) -> NDArray[np.int32]:
    """Nuclei that do not touch, numbered."""
    return cc3d.connected_components(predicted > 0, connectivity=4).astype(np.int32)


def rounded(value: float) -> float:
    """Four digits: more would only say how machines differ."""
    return round(float(value), 4)

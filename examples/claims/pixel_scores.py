"""IoU of pixels before anything is separated, as Alexis et al. measure it, with AJI of what hangs together beside it.

Intersections and unions are added over all test squares and divided once; the mean is over the
classes of nuclei, without background.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.base import LabelledImage
from wsinuc.metrics.pixels import PixelCounts, count_pixels
from wsinuc.metrics.segmentation import aji

ClassMap = NDArray[np.int64]
"""``(h, w)`` class of each pixel, 0 is background."""
Predict = Callable[[int, LabelledImage], ClassMap]
"""From the number of a test square and the square itself."""


def judged(square: LabelledImage) -> NDArray[np.bool_]:
    """Pixels of which the annotation says what they are."""
    known = (square.labels == 0) | (square.class_map > 0)
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


def scores(squares: Sequence[LabelledImage], predict: Predict, classes: Sequence[str]) -> dict[str, Any]:
    """IoU of every class and their mean; AJI of connected nuclei where there is one class."""
    predictions = [predict(number, square) for number, square in enumerate(squares)]
    counts = pooled_counts(squares, predictions, len(classes))
    result: dict[str, Any] = {
        "iou": {name: rounded(value) for name, value in zip(classes, counts.iou[1:], strict=True)},
        "mean_iou": rounded(counts.mean_iou),
    }
    if len(classes) == 1:
        pairs = zip(squares, predictions, strict=True)
        result["aji"] = rounded(fmean(aji(square.labels, pieces(predicted)) for square, predicted in pairs))
    return result


def pieces(predicted: ClassMap) -> NDArray[np.int32]:
    """Nuclei that do not touch, numbered."""
    return cc3d.connected_components(predicted > 0, connectivity=4).astype(np.int32)


def rounded(value: float) -> float:
    """Four digits: more would only say how machines differ."""
    return round(float(value), 4)

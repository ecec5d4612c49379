"""How well classes of pixels agree, instances left aside: confusion, and what follows from it.

Intersections and unions are **added over all images and divided once** (method A: IoU_c = I_c /
U_c), so an image counts as much as it has pixels. The mean is over the classes of nuclei, without
background. The published code divides by U_c + 1e-8, which turns a class that occurs nowhere into a
0; here it is NaN and does not enter the mean.

One pixel is enough for a class to exist; where truth has a class and the prediction lacks it, or
the reverse, its IoU is 0.0. What is a share of nothing is NaN (the code published with method D
says 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import DataError
from wsinuc.metrics.panoptic import mean_known


@dataclass(frozen=True, slots=True, eq=False)
class PixelCounts:
    """Confusion of pixels; counts of several images add up with ``+`` or ``sum``."""

    confusion: NDArray[np.int64]
    """(classes + 1, classes + 1) pixels: row the annotated class, column the predicted one, 0 is background."""

    @classmethod
    def zero(cls, classes: int) -> PixelCounts:
        """The counts of no image."""
        return cls(np.zeros((classes + 1, classes + 1), np.int64))

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(self.confusion + other.confusion)

    @property
    def iou(self) -> NDArray[np.float64]:
        """(classes + 1,) I / U of background and each class, NaN for one that occurs nowhere."""
        both = np.diagonal(self.confusion)
        union = self.confusion.sum(0) + self.confusion.sum(1) - both
        return np.where(union > 0, both / np.maximum(union, 1), np.nan)

    @property
    def dice(self) -> NDArray[np.float64]:
        """(classes + 1,) 2 I / (|truth| + |prediction|), NaN for a class that occurs nowhere."""
        both = np.diagonal(self.confusion)
        either = self.confusion.sum(0) + self.confusion.sum(1)
        return np.where(either > 0, 2 * both / np.maximum(either, 1), np.nan)

    @property
    def sensitivity(self) -> NDArray[np.float64]:
        """(classes + 1,) share of the annotated pixels of a class that are predicted as it, NaN without any."""
        return _shares(np.diagonal(self.confusion), self.confusion.sum(1))

    @property
    def precision(self) -> NDArray[np.float64]:
        """(classes + 1,) share of the pixels predicted as a class that are annotated as it, NaN without any."""
        return _shares(np.diagonal(self.confusion), self.confusion.sum(0))

    @property
    def specificity(self) -> NDArray[np.float64]:
        """(classes + 1,) share of the pixels annotated as something else that are not predicted as a class, NaN
        without any."""
        both = np.diagonal(self.confusion)
        others = self.confusion.sum() - self.confusion.sum(1)
        wrong = self.confusion.sum(0) - both
        return _shares(others - wrong, others)

    @property
    def accuracy(self) -> float:
        """Share of all pixels, background among them, whose class is right; NaN without pixels."""
        total = int(self.confusion.sum())
        return float(np.trace(self.confusion)) / total if total else math.nan

    @property
    def mean_iou(self) -> float:
        """Mean IoU of the classes of nuclei that occur, background left out; NaN when none does."""
        return float(mean_known(self.iou[1:]))

    @property
    def mean_iou_with_background(self) -> float:
        """The same with background among the classes, as many papers have it."""
        return float(mean_known(self.iou))


def _shares(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Quotients, NaN where there is nothing to divide by."""
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def count_pixels(
    truth: NDArray[np.integer | np.bool_],
    predicted: NDArray[np.integer | np.bool_],
    classes: int,
    *,
    judged: NDArray[np.bool_] | None = None,
) -> PixelCounts:
    """Confusion of the pixels of one image.

    Parameters
    ----------
    truth, predicted
        (h, w) class of each pixel, 0 is background, at most ``classes``.
    judged
        (h, w) False where the annotation does not say what a pixel is; these do not count. None judges all.

    Raises
    ------
    DataError
        Shapes differ, or a class lies outside 0 .. ``classes``.

    Examples
    --------
    >>> count_pixels(np.array([[0, 1, 1, 2]]), np.array([[0, 1, 2, 2]]), 2).iou.tolist()
    [1.0, 0.5, 0.5]
    """
    if truth.shape != predicted.shape:
        raise DataError(f"truth and prediction must have one shape, got {truth.shape} and {predicted.shape}")
    for what, values in (("annotated", truth), ("predicted", predicted)):
        if values.size and not 0 <= values.min() <= values.max() <= classes:
            raise DataError(
                f"{what} classes of pixels must lie between 0 and {classes}, got {values.min()} to {values.max()}"
            )
    size = classes + 1
    # One number per pair of classes, counted in one pass.
    cells = truth.astype(np.int64) * size + predicted
    cells = cells.ravel() if judged is None else cells[judged]
    return PixelCounts(np.bincount(cells, minlength=size * size).reshape(size, size))

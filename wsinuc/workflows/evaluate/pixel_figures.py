"""Figures of classes of pixels: from the confusion and the distances of each image to those of a data set.

Two ways of averaging stand side by side, and every name says which. ``pooled``: the confusion is added
over all images and divided once, so an image counts as much as it has pixels (method A). ``image_mean``:
the mean over the images in which a class occurs, so each of them counts the same (method D). A mean over
classes is over those of nuclei that occur, unless its name says that background is among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.metrics.boundaries import ClassDistances, class_distances
from wsinuc.metrics.panoptic import mean_known
from wsinuc.metrics.pixels import PixelCounts, count_pixels

SHARES = ("iou", "dice", "sensitivity", "precision", "specificity")
"""Figures by class that follow from a confusion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelScores:
    """What the pixels of one image scored."""

    counts: PixelCounts
    distances: ClassDistances
    unit: str
    """Of the distances: ``um``, or ``px`` where no resolution is known."""

    def row(self, classes: Sequence[str], prefix: str = "") -> dict[str, float]:
        """Figures of the image for a table, ``classes`` being those of nuclei."""
        row = {f"{prefix}miou": self.counts.mean_iou, f"{prefix}pixel_accuracy": self.counts.accuracy}
        for place, name in enumerate(classes):
            row[f"{prefix}iou_{name}"] = float(self.counts.iou[place + 1])
            row[f"{prefix}hausdorff_{self.unit}_{name}"] = float(self.distances.hausdorff[place])
            row[f"{prefix}hausdorff_95_{self.unit}_{name}"] = float(self.distances.hausdorff_95[place])
        return row


def score_pixels(
    truth: NDArray[np.integer | np.bool_],
    predicted: NDArray[np.integer | np.bool_],
    classes: int,
    *,
    judged: NDArray[np.bool_] | None,
    mpp: float | None,
) -> PixelScores:
    """Scores of two maps of classes ``(h, w)``; pixels not ``judged`` count for nothing."""
    counts = count_pixels(truth, predicted, classes, judged=judged)
    if judged is not None:
        truth = np.where(judged, truth, 0)
        predicted = np.where(judged, predicted, 0)
    distances = class_distances(truth, predicted, classes, pixel=mpp or 1.0)
    return PixelScores(counts=counts, distances=distances, unit="um" if mpp else "px")


def pixel_summary(images: Sequence[PixelScores], classes: Sequence[str]) -> dict[str, Any]:
    """Every figure by name, NaN where there is nothing to judge.

    Parameters
    ----------
    images
        At least one.
    classes
        Names of background and of the classes of nuclei.
    """
    pooled = sum([image.counts for image in images], PixelCounts.zero(len(classes) - 1))
    nuclei = classes[1:]
    each = {name: _mean_over_images([getattr(image.counts, name) for image in images]) for name in SHARES}
    summary: dict[str, Any] = {
        "miou_pooled_nuclei": pooled.mean_iou,
        "miou_pooled_with_background": pooled.mean_iou_with_background,
        "miou_image_mean_nuclei": float(mean_known(each["iou"][1:])),
        "pixel_accuracy_pooled": pooled.accuracy,
        "pixel_accuracy_image_mean": float(mean_known(np.array([image.counts.accuracy for image in images]))),
    }
    for name in SHARES:
        summary[f"{name}_pooled"] = by_name(classes, getattr(pooled, name))
        summary[f"{name}_image_mean"] = by_name(classes, each[name])
    summary |= _distances(images, nuclei)
    return summary | {"pixel_confusion": {"classes": list(classes), "rows_annotated": pooled.confusion.tolist()}}


def _distances(images: Sequence[PixelScores], nuclei: Sequence[str]) -> dict[str, Any]:
    """Means of the distances over images, where all are in one unit."""
    units = {image.unit for image in images}
    if len(units) > 1:
        return {}
    unit = units.pop()
    names = {
        f"hausdorff_{unit}_image_mean": "hausdorff",
        f"hausdorff_95_{unit}_image_mean": "hausdorff_95",
        "hausdorff_rows_image_mean": "rows",
    }
    return {
        name: by_name(nuclei, _mean_over_images([getattr(image.distances, field) for image in images]))
        for name, field in names.items()
    }


def _mean_over_images(values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    means: NDArray[np.float64] = np.asarray(mean_known(np.array(values), axis=0))
    return means


def by_name(names: Sequence[str], values: NDArray[np.float64]) -> dict[str, float]:
    """The values ``(n,)`` under their names."""
    return dict(zip(names, values.tolist(), strict=True))

"""Panoptic quality by class, averaged in the two ways that the field uses and does not tell apart by name.

**PanNuke**: each image gets a PQ per class, NaN where its annotation has no nucleus of that class (so a class invented
there is not punished); the image's mPQ is the mean of what is left; images are averaged within their tissue, then the
tissues. bPQ is the same with all nuclei as one class.

**Pooled (CoNIC, "mPQ+")**: TP, FP, FN and IoU are summed per class over all images, each class gets one PQ from its
sums, and the classes are averaged. Small images and rare classes weigh as much as they have nuclei.

A pair is found when both nuclei are of one class and their IoU exceeds one half. Nuclei do not
share pixels (label images cannot), so a nested or touching neighbour takes pixels from a nucleus'
area and nothing else. A predicted nucleus found on an annotated one of unknown class (0) is neither
right nor wrong. A class that occurs in no annotation and in no prediction has a pooled PQ of NaN
and does not enter the mean.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wsinuc.errors import DataError
from wsinuc.metrics.detection import classes_of
from wsinuc.metrics.segmentation import Overlaps


@dataclass(frozen=True, slots=True, eq=False)
class PanopticCounts:
    """What panoptic quality is made of, for each class; counts of several images add up with ``+`` or ``sum``."""

    true_positives: NDArray[np.int64]
    """(classes,) matched pairs."""
    false_positives: NDArray[np.int64]
    """(classes,) predicted nuclei in no pair."""
    false_negatives: NDArray[np.int64]
    """(classes,) annotated nuclei in no pair."""
    iou: NDArray[np.float64]
    """(classes,) sum of the IoU of the pairs."""

    @classmethod
    def zero(cls, classes: int) -> PanopticCounts:
        """The counts of no image."""
        none = np.zeros(classes, np.int64)
        return cls(true_positives=none, false_positives=none, false_negatives=none, iou=np.zeros(classes))

    def __add__(self, other: PanopticCounts) -> PanopticCounts:
        return PanopticCounts(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
            self.iou + other.iou,
        )

    @property
    def annotated(self) -> NDArray[np.int64]:
        """(classes,) annotated nuclei."""
        return self.true_positives + self.false_negatives

    @property
    def pq(self) -> NDArray[np.float64]:
        """(classes,) sum of IoU / (TP + FP / 2 + FN / 2), which is DQ * SQ; NaN for a class that occurs nowhere."""
        below = self.true_positives + (self.false_positives + self.false_negatives) / 2
        return np.where(below > 0, self.iou / np.maximum(below, 0.5), np.nan)

    @property
    def pq_pannuke(self) -> NDArray[np.float64]:
        """(classes,) the same, but NaN for a class that the annotation does not have; meant for one image."""
        return np.where(self.annotated > 0, self.pq, np.nan)


def count_panoptic(
    table: Overlaps, true_classes: NDArray[np.integer], predicted_classes: NDArray[np.integer], classes: int
) -> PanopticCounts:
    """Pairs found, missed and invented in one image, for each class.

    Parameters
    ----------
    table
        Overlaps of the two label images.
    true_classes, predicted_classes
        (label.max() + 1,) class of each label, 1 .. ``classes``, 0 where it is not known.

    Raises
    ------
    DataError
        A label has no class, or one beyond ``classes``.

    Examples
    --------
    >>> from wsinuc.metrics.segmentation import count_overlaps
    >>> table = count_overlaps(np.array([[1, 1, 2, 2]]), np.array([[1, 1, 2, 2]]))
    >>> count_panoptic(table, np.array([0, 1, 2]), np.array([0, 1, 1]), 2).pq.tolist()
    [0.6666666666666666, 0.0]
    """
    truth = classes_of(table.true_labels, true_classes)
    predicted = classes_of(table.predicted_labels, predicted_classes)
    highest = max(truth.max(initial=0), predicted.max(initial=0))
    if highest > classes:
        raise DataError(f"there are {classes} classes, but a nucleus is of class {highest}")
    true_at = table.true_index[table.matches]
    predicted_at = table.predicted_index[table.matches]
    same = truth[true_at] == predicted[predicted_at]
    # What was found on a nucleus of unknown class cannot be judged.
    judged = np.delete(predicted, predicted_at[truth[true_at] == 0])
    of_class = truth[true_at][same]
    matched = np.bincount(of_class, minlength=classes + 1)[1:]
    return PanopticCounts(
        true_positives=matched,
        false_positives=np.bincount(judged, minlength=classes + 1)[1:] - matched,
        false_negatives=np.bincount(truth, minlength=classes + 1)[1:] - matched,
        iou=np.bincount(of_class, table.ious[table.matches][same], classes + 1)[1:].astype(np.float64),
    )


def mean_by_tissue(values: ArrayLike, tissues: Sequence[Hashable]) -> tuple[float, dict[Hashable, float]]:
    """PanNuke's mean: over the images of each tissue, then over tissues; NaN values are left out, all NaN gives NaN.

    Parameters
    ----------
    values
        (n,) one per image, or (n, classes), which are first averaged within the image.
    tissues
        (n,) tissue of each image.

    Returns
    -------
    The mean over tissues, and the mean of each tissue.

    Examples
    --------
    >>> mean_by_tissue([[1.0, np.nan], [0.5, 0.0], [0.5, np.nan]], ["breast", "breast", "colon"])
    (0.5625, {'breast': 0.625, 'colon': 0.5})
    """
    table = np.asarray(values, np.float64)
    if table.ndim == 1:
        images = table
    else:
        images = mean_known(table, axis=1)
    members: dict[Hashable, list[int]] = {}
    for i, tissue in enumerate(tissues):
        members.setdefault(tissue, []).append(i)
    means = {tissue: float(mean_known(images[indices])) for tissue, indices in members.items()}
    return float(mean_known(np.array(list(means.values())))), means


def mean_known(values: NDArray[np.float64], axis: int | None = None) -> NDArray[np.float64]:
    """Mean without the NaN values; NaN where there are no others."""
    with warnings.catch_warnings():
        # NumPy warns where all is NaN, which is meant here.
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=axis) if values.size else np.nan)

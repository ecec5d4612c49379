"""How well predicted nuclei agree with annotated ones: Dice, DICE2, AJI, AJI+ and panoptic quality.

Every metric is arithmetic on one small sparse table: for each pair of a true and a predicted nucleus that share at
least one pixel, how many they share. The table is built once per image (`count_overlaps`), so images with
thousands of nuclei cost no more than sorting their pixels.

Labels are integers, 0 is background, ids need not be contiguous and their order means nothing. What the formulas
leave open is settled the same way for all metrics: **two empty label images agree perfectly (1.0); when only one is
empty the score is 0.0**.

A warning about names: some papers report an "AJI" computed on class maps, which is plain IoU; here it is on instances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import DataError
from wsinuc.metrics.assignment import assign


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """Areas of the nuclei and the pixels that each pair shares; only pairs that share any are listed."""

    true_labels: NDArray[np.int64]
    """(t,) label of each true nucleus, ascending."""
    predicted_labels: NDArray[np.int64]
    """(p,) label of each predicted nucleus, ascending."""
    true_areas: NDArray[np.int64]
    """(t,) pixels of each true nucleus."""
    predicted_areas: NDArray[np.int64]
    """(p,) pixels of each predicted nucleus."""
    true_index: NDArray[np.int64]
    """(k,) position in ``true_areas`` of each overlapping pair."""
    predicted_index: NDArray[np.int64]
    """(k,) position in ``predicted_areas`` of each overlapping pair."""
    shared: NDArray[np.int64]
    """(k,) pixels that the pair has in common, at least 1."""

    @property
    def unions(self) -> NDArray[np.int64]:
        """(k,) pixels that belong to either nucleus of the pair."""
        return self.true_areas[self.true_index] + self.predicted_areas[self.predicted_index] - self.shared

    @property
    def ious(self) -> NDArray[np.float64]:
        """(k,) intersection over union of each pair, in (0, 1]."""
        return self.shared / self.unions

    @property
    def matches(self) -> NDArray[np.bool_]:
        """(k,) whether the pair's IoU exceeds one half, which at most one pair of a nucleus can."""
        # Compared in integers, so that exactly one half never counts.
        return 2 * self.shared > self.unions

    @property
    def right(self) -> NDArray[np.bool_]:
        """(p,) whether each predicted nucleus has a partner with an IoU above one half."""
        right = np.zeros(len(self.predicted_labels), np.bool_)
        right[self.predicted_index[self.matches]] = True
        return right


@dataclass(frozen=True, slots=True)
class PanopticQuality:
    """Panoptic quality and its two factors; a pair counts as found when its IoU exceeds one half."""

    pq: float
    """``dq * sq``."""
    dq: float
    """Detection quality, the F1 score of detection: TP / (TP + FP / 2 + FN / 2)."""
    sq: float
    """Segmentation quality: mean IoU of the pairs that were found, 0.0 when none was."""
    true_positives: int
    false_positives: int
    false_negatives: int


@dataclass(frozen=True, slots=True)
class Scores:
    """All metrics of one image."""

    dice: float
    dice2: float
    aji: float
    aji_plus: float
    dq: float
    sq: float
    pq: float
    true_nuclei: int
    predicted_nuclei: int
    found: int
    """Pairs whose IoU exceeds one half."""


def score(truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> Scores:
    """All metrics of two label images of the same shape, from one pass over their pixels.

    Parameters
    ----------
    truth, predicted
        Integers ``(h, w)``: 0 is background, one number per nucleus, in any order.

    Returns
    -------
    Scores
        Dice, DICE2, AJI, AJI+, DQ, SQ and PQ, each 0 to 1, and the numbers of nuclei.

    Raises
    ------
    DataError
        Shapes differ, or the arrays are no label images: floats, negative numbers, RGB.

    Examples
    --------
    >>> import numpy as np
    >>> import wsinuc
    >>> annotated = np.array([[1, 1, 0, 2], [1, 1, 0, 2]])
    >>> predicted = np.array([[5, 5, 0, 0], [5, 5, 0, 0]])
    >>> scores = wsinuc.score(annotated, predicted)
    >>> scores.true_nuclei, scores.predicted_nuclei, scores.found, scores.dice, scores.sq
    (2, 1, 1, 0.8, 1.0)
    """
    return score_overlaps(count_overlaps(_label_image(truth), _label_image(predicted)))


def _label_image(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    array = np.asarray(labels)
    if array.ndim != 2:
        raise DataError(f"expected labels as integers (height, width), got {array.dtype} {array.shape}")
    return array


def score_overlaps(table: Overlaps) -> Scores:
    """All metrics of one image from its table of overlaps."""
    quality = _pq(table)
    return Scores(
        dice=_dice(table),
        dice2=_dice2(table),
        aji=_aji(table),
        aji_plus=_aji_plus(table),
        dq=quality.dq,
        sq=quality.sq,
        pq=quality.pq,
        true_nuclei=len(table.true_areas),
        predicted_nuclei=len(table.predicted_areas),
        found=quality.true_positives,
    )


def dice(truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> float:
    """Overlap of the two foregrounds, instances ignored: 2 |G and P| / (|G| + |P|), 0 to 1."""
    return _dice(count_overlaps(truth, predicted))


def dice2(truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> float:
    """Dice summed over all overlapping pairs of nuclei ("ensemble Dice"), 0 to 1.

    Nuclei that overlap nothing do not enter, so it says how cleanly nuclei are separated rather than whether all
    were found.
    """
    return _dice2(count_overlaps(truth, predicted))


def aji(truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> float:
    """Aggregated Jaccard index: each true nucleus takes its best prediction, which may be taken twice; 0 to 1.

    Where two predictions are equally good, the one with more shared pixels is taken, then the lower label.
    """
    return _aji(count_overlaps(truth, predicted))


def aji_plus(truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> float:
    """Aggregated Jaccard index with a one-to-one assignment of greatest total IoU, 0 to 1."""
    return _aji_plus(count_overlaps(truth, predicted))


def pq(truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> PanopticQuality:
    """Panoptic quality, all nuclei taken as one class."""
    return _pq(count_overlaps(truth, predicted))


def count_overlaps(truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> Overlaps:
    """The table of overlaps of two label images.

    Parameters
    ----------
    truth, predicted
        Integers of equal shape, 0 is background, none negative.

    Raises
    ------
    DataError
        Shapes differ, or the arrays hold no labels (floats, negative numbers).
    """
    if truth.shape != predicted.shape:
        raise DataError(f"truth and prediction must have one shape, got {truth.shape} and {predicted.shape}")
    true_at, true_labels, true_areas = _compact(truth)
    predicted_at, predicted_labels, predicted_areas = _compact(predicted)
    # One number per pair of labels, so that a single sort of the pixels counts all pairs.
    keys, shared = np.unique(true_at * len(predicted_areas) + predicted_at, return_counts=True)
    true_index, predicted_index = np.divmod(keys, len(predicted_areas))
    both = (true_index > 0) & (predicted_index > 0)
    return Overlaps(
        true_labels=true_labels[1:],
        predicted_labels=predicted_labels[1:],
        true_areas=true_areas[1:],
        predicted_areas=predicted_areas[1:],
        true_index=true_index[both] - 1,
        predicted_index=predicted_index[both] - 1,
        shared=shared[both].astype(np.int64),
    )


def _compact(labels: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Labels as 0..n without gaps, flattened; the label and the area of each; 0 is background even
    where there is none."""
    if labels.dtype.kind not in "iu":
        raise DataError(f"labels must be integers, got {labels.dtype}; an image of probabilities must be split first")
    flat = labels.ravel()
    if flat.size and flat.min() < 0:
        raise DataError(f"labels must not be negative, got {flat.min()}")
    ids, positions = np.unique(np.append(flat, flat.dtype.type(0)), return_inverse=True)
    # Without the background pixel that was added.
    positions = positions[:-1].astype(np.int64)
    return positions, ids.astype(np.int64), np.bincount(positions, minlength=len(ids)).astype(np.int64)


def _ratio(numerator: float, denominator: float, table: Overlaps) -> float:
    """The quotient, or what empty label images are agreed to score."""
    if denominator:
        return float(numerator / denominator)
    if not len(table.true_areas) and not len(table.predicted_areas):
        return 1.0
    return 0.0


def _dice(table: Overlaps) -> float:
    total = table.true_areas.sum() + table.predicted_areas.sum()
    return _ratio(2 * table.shared.sum(), total, table)


def _dice2(table: Overlaps) -> float:
    # Union and intersection together are the areas of both nuclei of a pair.
    return _ratio(2 * table.shared.sum(), (table.unions + table.shared).sum(), table)


def _aji(table: Overlaps) -> float:
    # The last key sorts first: by true nucleus, then the best IoU, then the most shared pixels, then the label.
    order = np.lexsort((table.predicted_index, -table.shared, -table.ious, table.true_index))
    _, first = np.unique(table.true_index[order], return_index=True)
    return _aggregated_jaccard(table, order[first])


def _aji_plus(table: Overlaps) -> float:
    return _aggregated_jaccard(table, assign(table.true_index, table.predicted_index, table.ious))


def _aggregated_jaccard(table: Overlaps, pairs: NDArray[np.int64]) -> float:
    """AJI of these pairs (positions in the table); nuclei in no pair add their area below the line."""
    true_alone = np.delete(table.true_areas, table.true_index[pairs]).sum()
    predicted_alone = np.delete(table.predicted_areas, table.predicted_index[pairs]).sum()
    return _ratio(table.shared[pairs].sum(), table.unions[pairs].sum() + true_alone + predicted_alone, table)


def _pq(table: Overlaps) -> PanopticQuality:
    matched = int(table.matches.sum())
    missed = len(table.true_areas) - matched
    extra = len(table.predicted_areas) - matched
    dq = _ratio(matched, matched + (missed + extra) / 2, table)
    sq = _ratio(table.ious[table.matches].sum(), matched, table)
    return PanopticQuality(
        pq=dq * sq, dq=dq, sq=sq, true_positives=matched, false_positives=extra, false_negatives=missed
    )

"""Whether nuclei are found at all, and given the right type: F_d, type accuracy and F_c of HoVer-Net.

Annotated and predicted nuclei are points (the centroids of outlines, or points that were annotated as such), paired
one-to-one within a radius, 3 um (12 px at 0.25 um/px). There are two rules for who is paired with whom:

``hovernet``
    The published one, and the default, so that figures can stand beside published ones: least total distance *over all
    nuclei of the image* (Hungarian method), then pairs beyond the radius are dropped. Nuclei at opposite ends of an
    image can decide about a pair, and a close pair can be given up to shorten a far one that is dropped anyway.
``within``
    The most pairs within the radius, and among those the least total distance. It is local, never finds fewer pairs
    than the other, and takes no longer for thousands of nuclei.

Figures are pooled over the data set: counts of images are added (`DetectionCounts` adds), then divided once.

An annotated nucleus of unknown class (0) counts for detection alone. Two empty sets agree perfectly (F_d = 1.0), when
only one is empty F_d = 0.0; what concerns a class that occurs nowhere, or types where no pair is matched, is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from wsinuc.errors import DataError
from wsinuc.metrics.assignment import assign

MATCH_RADIUS_UM = 3.0
"""Published radius of a match: 12 px at 0.25 um per pixel."""

Rule = Literal["hovernet", "within"]
"""Who is paired with whom, see above."""


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Nuclei as points."""

    places: NDArray[np.float64]
    """(n, 2) (y, x) in pixels; the centre of pixel (0, 0) is (0.5, 0.5)."""
    classes: NDArray[np.int64]
    """(n,) 1 .. classes, 0 where it is not known."""

    def __post_init__(self) -> None:
        if self.places.ndim != 2 or self.places.shape[1] != 2 or self.classes.shape != (len(self.places),):
            raise DataError(
                "points must be (n, 2) (y, x) with one class each, "
                f"got {self.places.shape} places and {self.classes.shape} classes"
            )
        if not np.isfinite(self.places).all():
            raise DataError("points must be finite numbers; the annotation holds NaN or infinity")

    @classmethod
    def of(cls, places: ArrayLike, classes: ArrayLike | None = None) -> Points:
        """Points of these places (n, 2) and classes (n,), by default all unknown; raises DataError for other shapes."""
        at = np.asarray(places, np.float64)
        if not at.size:
            at = at.reshape(0, 2)  # an empty list has the shape (0,)
        if classes is None:
            classes = np.zeros(len(at), np.int64)
        return cls(at, np.asarray(classes, np.int64))

    @classmethod
    def of_labels(cls, labels: NDArray[np.integer], classes: NDArray[np.integer] | None = None) -> Points:
        """Centroids of the nuclei of a label image (h, w), by ascending label.

        ``classes`` is (labels.max() + 1,): the class of each label; raises DataError when it is shorter.

        Examples
        --------
        >>> Points.of_labels(np.array([[0, 7, 7], [0, 7, 7]]), np.array([0] * 7 + [2])).places.tolist()
        [[1.0, 2.0]]
        """
        y, x = np.nonzero(labels)
        ids, at = np.unique(labels[y, x], return_inverse=True)
        areas = np.bincount(at, minlength=len(ids))
        # A pixel's centre lies half a pixel from its corner.
        places = np.stack([np.bincount(at, where, len(ids)) / areas for where in (y, x)], axis=1) + 0.5
        return cls.of(places, None if classes is None else classes_of(ids, classes))


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """How often nuclei of one class are found and named."""

    annotated: int
    """Nuclei of this class, found or not."""
    predicted: int
    """Nuclei that were given this class; those whose annotated class is unknown do not count."""
    right: int
    """Nuclei of this class that were found and given it."""

    @property
    def recall(self) -> float:
        """Share of the annotated ones; NaN without any."""
        return self.right / self.annotated if self.annotated else float("nan")

    @property
    def precision(self) -> float:
        """Share of the predicted ones; NaN without any."""
        return self.right / self.predicted if self.predicted else float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class DetectionCounts:
    """Matched, missed and invented nuclei by class; counts of several images add up with ``+`` or ``sum``."""

    matched: NDArray[np.int64]
    """(classes + 1, classes + 1) matched pairs: row the annotated class, column the predicted one, 0 is unknown."""
    missed: NDArray[np.int64]
    """(classes + 1,) annotated nuclei without a partner, by annotated class."""
    invented: NDArray[np.int64]
    """(classes + 1,) predicted nuclei without a partner, by predicted class."""

    @classmethod
    def zero(cls, classes: int) -> DetectionCounts:
        """The counts of no image."""
        size = classes + 1
        return cls(np.zeros((size, size), np.int64), np.zeros(size, np.int64), np.zeros(size, np.int64))

    def __add__(self, other: DetectionCounts) -> DetectionCounts:
        return DetectionCounts(self.matched + other.matched, self.missed + other.missed, self.invented + other.invented)

    @property
    def f_detection(self) -> float:
        """F_d = 2 TP / (2 TP + FP + FN), classes left aside."""
        twice = 2 * int(self.matched.sum())
        below = twice + int(self.missed.sum()) + int(self.invented.sum())
        return twice / below if below else 1.0

    @property
    def type_accuracy(self) -> float:
        """Share of the matched pairs of known annotated class that were given that class; NaN without such pairs."""
        known = int(self.matched[1:].sum())
        if known:
            return int(np.trace(self.matched[1:, 1:])) / known
        return float("nan")

    @property
    def by_class(self) -> tuple[ClassCounts, ...]:
        """How often each class is found and named, missed and invented nuclei among them."""
        annotated = self.matched[1:].sum(1) + self.missed[1:]
        predicted = self.matched[1:, 1:].sum(0) + self.invented[1:]
        right = np.diagonal(self.matched)[1:]
        columns = zip(annotated.tolist(), predicted.tolist(), right.tolist(), strict=True)
        return tuple(ClassCounts(*counts) for counts in columns)

    @property
    def f_classification(self) -> NDArray[np.float64]:
        """(classes,) F_c = 2 TP_c / (2 TP_c + 2 FP_c + 2 FN_c + FP_d + FN_d), NaN where all of these are 0.

        TP_c, FP_c, FN_c count matched pairs by type (annotated and predicted c; predicted c alone; annotated c alone),
        FP_d and FN_d the invented and the missed nuclei of type c. Pairs whose annotated class is unknown do not count.
        """
        right = np.diagonal(self.matched)[1:]
        wrongly_given = self.matched[1:, 1:].sum(0) - right
        not_given = self.matched[1:].sum(1) - right
        below = 2 * (right + wrongly_given + not_given) + self.invented[1:] + self.missed[1:]
        return np.where(below > 0, 2 * right / np.maximum(below, 1), np.nan)


def radius_px(mpp: float) -> float:
    """The published radius in pixels of an image of ``mpp`` um per pixel: 12 at 0.25, 6 at 0.5."""
    return MATCH_RADIUS_UM / mpp


def classes_of(labels: NDArray[np.integer], classes: NDArray[np.integer]) -> NDArray[np.int64]:
    """(n,) the class of each of these labels; raises DataError when ``classes`` does not reach that far."""
    if len(labels) and labels.max() >= len(classes):
        raise DataError(f"label {labels.max()} has no class: the list of classes ends at label {len(classes) - 1}")
    return np.asarray(classes[labels], np.int64)


def match_points(
    truth: NDArray[np.float64], predicted: NDArray[np.float64], radius: float, rule: Rule = "hovernet"
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which annotated point is matched with which predicted one.

    Parameters
    ----------
    truth, predicted
        (t, 2) and (p, 2), in one unit.
    radius
        Largest distance of a pair, itself included.
    rule
        ``hovernet`` needs memory and time for all (t, p) distances, ``within`` for the near ones alone.

    Returns
    -------
    Two arrays (k,): positions in ``truth``, ascending, and in ``predicted``.

    Examples
    --------
    >>> [i.tolist() for i in match_points(np.array([[0.0, 0], [0, 9]]), np.array([[0.0, 8], [50, 0]]), 12)]
    [[1], [0]]
    """
    if not len(truth) or not len(predicted):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    # Published figures come from an assignment over all pairs; far ones go only afterwards.
    if rule == "hovernet":
        distances = cdist(truth, predicted)
        i, j = linear_sum_assignment(distances)
        close = distances[i, j] <= radius
        return i[close], j[close]
    near = cKDTree(truth).sparse_distance_matrix(cKDTree(predicted), radius, output_type="ndarray")
    rows = near["i"].astype(np.int64)
    columns = near["j"].astype(np.int64)
    # One pair more always outweighs all distances that could be saved: their sum is at most pairs * radius.
    worth = (min(len(truth), len(predicted)) + 1) * max(radius, 1e-9)
    pairs = assign(rows, columns, worth - near["v"])
    pairs = pairs[np.argsort(rows[pairs])]
    return rows[pairs], columns[pairs]


def count_detections(
    truth: Points, predicted: Points, *, radius: float, classes: int = 0, rule: Rule = "hovernet"
) -> DetectionCounts:
    """Match the nuclei of one image and count by class.

    Parameters
    ----------
    truth, predicted
        Classes are 0 .. ``classes``.
    radius
        Pixels; see `radius_px`.
    rule
        Who is paired with whom.

    Raises
    ------
    DataError
        A class lies outside that range.
    """
    for points in (truth, predicted):
        if len(points.classes) and not 0 <= points.classes.min() <= points.classes.max() <= classes:
            raise DataError(
                f"classes must lie between 0 (unknown) and {classes}, "
                f"got {points.classes.min()} to {points.classes.max()}"
            )
    i, j = match_points(truth.places, predicted.places, radius, rule)
    counts = DetectionCounts.zero(classes)
    np.add.at(counts.matched, (truth.classes[i], predicted.classes[j]), 1)
    return DetectionCounts(
        matched=counts.matched,
        missed=np.bincount(np.delete(truth.classes, i), minlength=classes + 1),
        invented=np.bincount(np.delete(predicted.classes, j), minlength=classes + 1),
    )

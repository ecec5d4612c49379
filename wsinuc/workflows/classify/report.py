"""How well a segmenter that names classes does it on images with points that it has not seen.

Two questions are answered apart. Of the nuclei that are found, how many get the right class, and do the
probabilities mean what they say? And with detection included: F of each class against the points, as those
who publish point sets count it: points of a class are paired with predicted nuclei of that class alone, by
their centroids, at most 3 um apart, each once, and counts are added over images.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.exports.atomic import replacing_text
from wsinuc.exports.pictures.plots import draw_heat_map, draw_reliability
from wsinuc.metrics.calibration import Reliability, area_under_roc, reliability
from wsinuc.metrics.detection import MATCH_RADIUS_UM, Points, match_points
from wsinuc.segmenters.typed import TypedSegmenter
from wsinuc.workflows.classify.cross_validate import ClassScores
from wsinuc.workflows.classify.marked import MarkedImage, PointCounts
from wsinuc.workflows.classify.nuclei import scores_with_classes


@dataclass(frozen=True, slots=True, eq=False)
class PointScores:
    """Points and predicted nuclei of one class, or of all, added over images."""

    matched: int
    points: int
    predicted: int

    @property
    def f1(self) -> float:
        """2 matched / (points + predicted); NaN where there are neither."""
        both = self.points + self.predicted
        if both:
            return 2 * self.matched / both
        return float("nan")

    def __add__(self, other: PointScores) -> PointScores:
        return PointScores(self.matched + other.matched, self.points + other.points, self.predicted + other.predicted)


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutReport:
    """What a model makes of images that it was not trained on."""

    names: tuple[str, ...]
    """Names of the images."""
    counts: PointCounts
    scores: ClassScores
    """Of the nuclei that points mark."""
    by_class: dict[str, PointScores]
    """With detection, each class for itself."""
    detection: PointScores
    """Classes left aside."""
    probabilities: NDArray[np.float64]
    """(n, classes) of the nuclei that points mark."""
    classes: NDArray[np.intp]
    """(n,) what the points say, from 0."""

    @property
    def right(self) -> NDArray[np.bool_]:
        """(n,) nuclei that got the right class."""
        verdict: NDArray[np.bool_] = self.probabilities.argmax(axis=1) == self.classes
        return verdict

    @property
    def reliability(self) -> Reliability:
        """Probability of the class that is named against how often it is right, as classes occur here."""
        return reliability(self.probabilities.max(axis=1), self.right)

    @property
    def balanced_error(self) -> float:
        """Calibration error with every class weighing the same, for which the probabilities are meant."""
        return _weighted_error(self.probabilities.max(axis=1), self.right, self.classes)

    def as_json(self) -> dict[str, Any]:
        """All figures."""
        return {
            "images": len(self.names),
            "points": {name: getattr(self.counts, name) for name in PointCounts.__slots__},
            "nuclei_found": self.scores.as_json(),
            "calibration": {
                "error": round(self.reliability.error, 4),
                "error_classes_alike": round(self.balanced_error, 4),
                "auc_of_probability": round(area_under_roc(self.probabilities.max(axis=1), self.right), 4),
            },
            "against_points": {
                "radius_um": MATCH_RADIUS_UM,
                "f1": {name: round(each.f1, 4) for name, each in self.by_class.items()},
                "f1_detection": round(self.detection.f1, 4),
            },
        }

    def write(self, path: Path) -> None:
        """Write ``path`` (JSON), and beside it ``.confusion.png`` and ``.calibration.png``."""
        with replacing_text(path) as file:
            file.write(json.dumps(self.as_json(), indent=2) + "\n")
        draw_heat_map(
            self.scores.confusion,
            self.scores.names,
            self.scores.names,
            path.with_suffix(".confusion.png"),
            x="predicted",
            y="annotated",
            title=f"Images not trained on: balanced accuracy {self.scores.balanced_accuracy:.3f}",
        )
        draw_reliability(self.reliability, path.with_suffix(".calibration.png"), title="Classes of nuclei")


def report_held_out(marked: Sequence[MarkedImage], segmenter: TypedSegmenter) -> HeldOutReport:
    """Classify every nucleus of images that the classifier has not seen, and compare with their points."""
    assert segmenter.classifier is not None, "a segmenter without a classifier cannot classify"
    names = tuple(each.name for each in segmenter.classes)
    radius = MATCH_RADIUS_UM / segmenter.mpp
    confusion = np.zeros((len(names),) * 2, np.int64)
    by_class = {name: PointScores(0, 0, 0) for name in names}
    detection = PointScores(0, 0, 0)
    probabilities: list[NDArray[np.float64]] = []
    classes: list[NDArray[np.intp]] = []
    for image in marked:
        labels = image.segmented.labels
        described = segmenter.describe(labels, scores_with_classes(image, segmenter))
        given, _ = segmenter.classifier(described)
        predicted = given.argmax(axis=1)
        known = image.classes > 0
        np.add.at(confusion, (image.classes[known] - 1, predicted[known]), 1)
        probabilities.append(given[known])
        classes.append(image.classes[known].astype(np.intp) - 1)
        centroids = Points.of_labels(labels).places
        for number, name in enumerate(names):
            own = image.points[image.point_classes == number + 1]
            by_class[name] += _matched(own, centroids[predicted == number], radius)
        detection += _matched(image.points, centroids, radius)
    return HeldOutReport(
        names=tuple(image.name for image in marked),
        counts=sum((image.counts for image in marked), PointCounts()),
        scores=ClassScores(names, confusion),
        by_class=by_class,
        detection=detection,
        probabilities=np.concatenate(probabilities),
        classes=np.concatenate(classes),
    )


def _matched(points: NDArray[np.float64], predicted: NDArray[np.float64], radius: float) -> PointScores:
    pairs, _ = match_points(points, predicted, radius, rule="within")
    return PointScores(len(pairs), len(points), len(predicted))


_BINS = 10  # of probabilities


def _weighted_error(probabilities: NDArray[np.float64], right: NDArray[np.bool_], classes: NDArray[np.intp]) -> float:
    """Mean distance of probability and share of right ones over bins, each class weighing the same in total."""
    numbers = np.bincount(classes)
    weights = 1 / numbers[classes]
    bin_of = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    gap = np.bincount(bin_of, weights * (probabilities - right), minlength=_BINS)
    return float(np.abs(gap).sum() / weights.sum())

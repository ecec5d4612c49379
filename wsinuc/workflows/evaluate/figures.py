"""What an evaluation found: the counts of each image, and every figure that follows from them under a name of its own.

Three ways of averaging stand side by side, because papers use all of them: means over images (``means``), PanNuke's
mean over tissues (names with ``pannuke``), and sums over the whole data set divided once (names with ``pooled``, and
the detection figures, which are defined no other way).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.base import Row
from wsinuc.metrics.calibration import Verdicts, area_under_roc, reliability
from wsinuc.metrics.detection import DetectionCounts, Points, Rule, count_detections
from wsinuc.metrics.panoptic import PanopticCounts, count_panoptic, mean_by_tissue, mean_known
from wsinuc.metrics.pixels import PixelCounts
from wsinuc.metrics.segmentation import Scores, count_overlaps, score_overlaps
from wsinuc.workflows.evaluate.pixel_figures import PixelScores, by_name, pixel_summary, score_pixels

METRICS = ("dice", "dice2", "aji", "aji_plus", "dq", "sq", "pq")
COUNTS = ("true_nuclei", "predicted_nuclei", "found")
NUCLEUS = ("nucleus",)
"""The one class of pixels where classes are not scored."""
TISSUE = ("tissue", "organ")
"""Attributes that say of what tissue an image is; the first that a data set has."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledNuclei:
    """Nuclei of one image, annotated or predicted, in the classes that are scored."""

    labels: NDArray[np.integer]
    """(h, w)"""
    classes: NDArray[np.integer]
    """(labels.max() + 1,) or longer; 0 where it is not known."""
    probabilities: NDArray[np.floating] | None = None
    """(labels.max() + 1,) or longer; None where nothing says it."""
    disagreements: NDArray[np.floating] | None = None
    """As ``probabilities``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageScores:
    """What one image scored."""

    name: str
    scores: Scores | None = None
    """None where points are annotated."""
    detection: DetectionCounts | None = None
    """None where nothing says how far apart a pair may be."""
    panoptic: PanopticCounts | None = None
    """None where classes are not scored."""
    pixels: PixelScores | None = None
    """Pixels of the nuclei, by class; None where points are annotated; one class, nucleus, where classes are not
    scored."""
    semantic: PixelScores | None = None
    """The same of the classes of pixels before nuclei are separated; None where they are not scored."""
    verdicts: Verdicts | None = None
    """Which predicted nuclei are right; None where predictions come without probabilities, or points are annotated."""
    attributes: Row = field(default_factory=dict)

    @property
    def bpq(self) -> float:
        """PanNuke's PQ of all nuclei as one class: NaN where none is annotated."""
        if self.scores and self.scores.true_nuclei:
            return self.scores.pq
        return float("nan")

    def row(self, classes: Sequence[str]) -> dict[str, Any]:
        """The line of this image in a table, without its attributes."""
        row: dict[str, Any] = {"name": self.name}
        if self.scores:
            row |= asdict(self.scores)
            row["bpq_pannuke"] = self.bpq
        if self.panoptic:
            row["mpq_pannuke"] = float(mean_known(self.panoptic.pq_pannuke))
            row |= {f"pq_pannuke_{name}": v for name, v in by_name(classes, self.panoptic.pq_pannuke).items()}
        if self.detection:
            row |= {"f_detection": self.detection.f_detection} | _detected(self.detection)
        if self.detection and classes:
            row["type_accuracy"] = self.detection.type_accuracy
        names = classes or NUCLEUS
        if self.pixels:
            row |= self.pixels.row(names)
        if self.semantic:
            row |= self.semantic.row(names, "semantic_")
        return row


def score_nuclei(
    truth: LabelledNuclei,
    predicted: LabelledNuclei,
    classes: int,
    *,
    radius: float | None,
    rule: Rule = "hovernet",
    ignore: NDArray[np.bool_] | None = None,
    mpp: float | None = None,
    semantic: NDArray[np.integer] | None = None,
) -> dict[str, Any]:
    """The counts of one image whose nuclei are outlined, as fields of `ImageScores`.

    ``classes`` is 0 where they are not scored; ``radius`` (pixels) None leaves detection out. Pixels of ``ignore``
    (h, w) belong to no nucleus of either side and count for none of the figures of pixels. ``mpp`` (um per pixel) is
    the unit of distances, None are pixels. ``semantic`` (h, w) are the predicted classes of pixels, None scores none.
    """
    known = None if ignore is None else ~ignore
    table = count_overlaps(truth.labels, predicted.labels)
    counts: dict[str, Any] = {"scores": score_overlaps(table)}
    if classes:
        counts["panoptic"] = count_panoptic(table, truth.classes, predicted.classes, classes)
        true_map = truth.classes[truth.labels]
        predicted_map = predicted.classes[predicted.labels]
        # A nucleus of unknown class would pass for background; a predicted one without class is no class's pixel.
        judged = (true_map > 0) | (truth.labels == 0)
        if known is not None:
            judged &= known
    else:
        true_map = (truth.labels > 0).astype(np.int64)
        predicted_map = (predicted.labels > 0).astype(np.int64)
        judged = known
    names = max(1, classes)
    counts["pixels"] = score_pixels(true_map, predicted_map, names, judged=judged, mpp=mpp)
    if semantic is not None:
        counts["semantic"] = score_pixels(true_map, semantic, names, judged=judged, mpp=mpp)
    if predicted.probabilities is not None and predicted.disagreements is not None:
        at = table.predicted_labels
        counts["verdicts"] = Verdicts(predicted.probabilities[at], predicted.disagreements[at], table.right)
    if radius is not None:
        counts["detection"] = score_points(_points(truth, classes), _points(predicted, classes), classes, radius, rule)
    return counts


def score_points(truth: Points, predicted: Points, classes: int, radius: float, rule: Rule) -> DetectionCounts:
    """The counts of one image whose nuclei are marked."""
    return count_detections(truth, predicted, radius=radius, classes=classes, rule=rule)


def _points(nuclei: LabelledNuclei, classes: int) -> Points:
    return Points.of_labels(nuclei.labels, nuclei.classes if classes else None)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Evaluation:
    """What every image scored, and what follows for the data set."""

    images: tuple[ImageScores, ...]
    classes: tuple[str, ...] = ()
    """Classes that were scored; empty where nuclei were scored without."""
    radius: Mapping[str, float] | None = None
    """How far apart a pair of detection may be: ``{"um": 3.0}`` or ``{"px": ...}``; None where nothing says it."""
    rule: Rule = "hovernet"
    """The rule by which nuclei were paired."""
    notes: tuple[str, ...] = ()
    """What was left out, and why."""

    def __repr__(self) -> str:
        text = f"<wsinuc evaluation of {len(self.images)} image{'' if len(self.images) == 1 else 's'}"
        if self.means:
            text += f": AJI {self.means['aji']:.3f}, Dice {self.means['dice']:.3f}, PQ {self.means['pq']:.3f}"
        return f"{text}>"

    @property
    def means(self) -> dict[str, float]:
        """Mean of each metric over the images (each counts the same); empty where points are annotated."""
        scored = [image.scores for image in self.images if image.scores]
        if scored:
            return {name: fmean(getattr(s, name) for s in scored) for name in METRICS}
        return {}

    @property
    def totals(self) -> dict[str, int]:
        """Sum of each count over the images; empty where points are annotated."""
        scored = [image.scores for image in self.images if image.scores]
        if scored:
            return {name: sum(getattr(s, name) for s in scored) for name in COUNTS}
        return {}

    @property
    def detection(self) -> DetectionCounts | None:
        """Matched, missed and invented nuclei of all images."""
        counts = [image.detection for image in self.images if image.detection]
        if counts:
            return sum(counts, DetectionCounts.zero(len(self.classes)))
        return None

    @property
    def panoptic(self) -> PanopticCounts | None:
        """Pairs of each class, all images together."""
        counts = [image.panoptic for image in self.images if image.panoptic]
        if counts:
            return sum(counts, PanopticCounts.zero(len(self.classes)))
        return None

    @property
    def pixels(self) -> PixelCounts | None:
        """Confusion of the pixels of all images; without classes that of nucleus and background."""
        counts = [image.pixels.counts for image in self.images if image.pixels]
        if counts:
            return sum(counts, PixelCounts.zero(max(1, len(self.classes))))
        return None

    @property
    def verdicts(self) -> Verdicts | None:
        """Which predicted nuclei of all images are right; None where nothing says how sure the model was."""
        verdicts = [image.verdicts for image in self.images if image.verdicts]
        if verdicts:
            return sum(verdicts, Verdicts.none())
        return None

    @property
    def pixel_classes(self) -> tuple[str, ...]:
        """Names of the rows and columns of ``pixels``."""
        return ("background", *(self.classes or NUCLEUS))

    def ranked(self) -> list[int]:
        """Positions of the images from the worst to the best: by AJI, or by F_d where points are annotated."""
        return sorted(range(len(self.images)), key=lambda i: _rank(self.images[i]))

    def summary(self) -> dict[str, Any]:
        """Every figure by name; NaN where there is nothing to judge."""
        whole: dict[str, Any] = {"images": len(self.images), "classes": list(self.classes), "notes": list(self.notes)}
        if self.means:
            whole |= {"means": self.means, "totals": self.totals}
        return (
            whole
            | self._panoptic_summary()
            | self._pixel_summary()
            | self._detection_summary()
            | self._calibration_summary()
        )

    def _panoptic_summary(self) -> dict[str, Any]:
        if not self.means:
            return {}
        tissues = [_tissue(image.attributes) for image in self.images]
        bpq, by_tissue = mean_by_tissue([image.bpq for image in self.images], tissues)
        summary: dict[str, Any] = {"bpq_pannuke": bpq, "bpq_pannuke_by_tissue": by_tissue}
        pooled = self.panoptic
        if pooled is None:
            return summary
        each = np.array([image.panoptic.pq_pannuke for image in self.images if image.panoptic])
        mpq, by_tissue = mean_by_tissue(each, tissues)
        return summary | {
            "mpq_pannuke": mpq,
            "mpq_pannuke_by_tissue": by_tissue,
            "pq_pannuke": by_name(self.classes, mean_known(each, axis=0)),
            "mpq_pooled_conic": float(mean_known(pooled.pq)),
            "pq_pooled_conic": by_name(self.classes, pooled.pq),
        }

    def _pixel_summary(self) -> dict[str, Any]:
        pixels = [image.pixels for image in self.images if image.pixels]
        semantic = [image.semantic for image in self.images if image.semantic]
        summary: dict[str, Any] = {}
        if pixels:
            summary = pixel_summary(pixels, self.pixel_classes)
        if semantic:
            summary["semantic"] = pixel_summary(semantic, self.pixel_classes)
        return summary

    def _detection_summary(self) -> dict[str, Any]:
        counts = self.detection
        if counts is None:
            return {}
        summary: dict[str, Any] = {"match_radius": self.radius, "match_rule": self.rule}
        summary |= {"f_detection": counts.f_detection, "detection": _detected(counts)}
        if self.classes:
            summary["type_accuracy"] = counts.type_accuracy
            summary["f_classification"] = by_name(self.classes, counts.f_classification)
        return summary

    def _calibration_summary(self) -> dict[str, Any]:
        verdicts = self.verdicts
        if verdicts is None:
            return {}
        bins = reliability(verdicts.probabilities, verdicts.right)
        mean = float("nan")
        if len(verdicts.right):
            mean = float(verdicts.probabilities.mean())
        calibration: dict[str, Any] = {
            "nuclei": len(verdicts.right),
            "right": int(verdicts.right.sum()),
            "mean_probability": mean,
            "expected_calibration_error": bins.error,
            "reliability": bins.rows(),
        }
        areas = {f"auc_{name}": area_under_roc(doubt, ~verdicts.right) for name, doubt in verdicts.doubts.items()}
        return {"calibration": calibration | areas}


def _rank(image: ImageScores) -> float:
    if image.scores:
        return image.scores.aji
    if image.detection:
        return image.detection.f_detection
    return 0.0


def _tissue(attributes: Row) -> str:
    return next((attributes[name] for name in TISSUE if attributes.get(name)), "unknown")


def _detected(counts: DetectionCounts) -> dict[str, int]:
    return {name: int(getattr(counts, name).sum()) for name in ("matched", "missed", "invented")}

"""Measure a segmenter, or label images made by anything else, against annotated images.

Where annotation and prediction both tell nuclei apart, classes are matched by name and scored; where one of them does
not, nuclei are scored without classes, and the result says so. Sets that mark nuclei with points are scored by
detection alone: predicted nuclei are then their centroids.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from wsinuc import arguments
from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.datasets.files import matching
from wsinuc.datasets.label_values import count_notes
from wsinuc.datasets.labelled_image import name_of
from wsinuc.errors import ConfigError, DataError
from wsinuc.metrics.axes import PointsInside
from wsinuc.metrics.detection import MATCH_RADIUS_UM, Points, Rule
from wsinuc.pipeline.image import paint_level0
from wsinuc.segmenters.base import Segmenter
from wsinuc.urls import PathLike, to_path
from wsinuc.workflows.evaluate import files
from wsinuc.workflows.evaluate.classes import ClassMatch, known_classes, match_classes, without_classes
from wsinuc.workflows.evaluate.figures import Evaluation, ImageScores, LabelledNuclei, score_nuclei, score_points
from wsinuc.workflows.evaluate.ignored import counted, counted_image
from wsinuc.workflows.evaluate.predictions import (
    Predict,
    Prediction,
    PredictionFolder,
    predict_labels,
    predict_nuclei,
    read_class_names,
    read_label_image,
)

__all__ = [
    "Evaluation",
    "ImageScores",
    "Predict",
    "Prediction",
    "PredictionFolder",
    "Scoring",
    "evaluate",
    "evaluate_folders",
    "paint_level0",
    "predict_labels",
    "predict_nuclei",
    "read_class_names",
]

Report = Callable[[ImageScores], None]


def _nobody(scored: ImageScores) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """How predictions are judged."""

    classes: bool = True
    """Score classes where both sides have them."""
    rule: Rule = "hovernet"
    """The rule by which nuclei are paired for detection, see `wsinuc.metrics.detection`."""
    radius_px: float | None = None
    """Largest distance of a matched pair, pixels; None means 3 um, for which the resolution must be known."""
    semantic: bool = False
    """Score the classes of pixels before nuclei are separated as well; predictions must then have them."""

    def __post_init__(self) -> None:
        if self.radius_px is not None and not 0 < self.radius_px < np.inf:
            raise ConfigError(f"the matching radius must be a number of pixels above 0, got {self.radius_px:g}")

    def radius(self, mpp: float | None) -> float | None:
        """Largest distance of a pair in pixels of an image; None where nothing says it."""
        return self.radius_px or (None if mpp is None else MATCH_RADIUS_UM / mpp)

    def match(self, annotated: Sequence[str], predicted: Sequence[str], *, seen: bool = False) -> ClassMatch:
        """Which classes are scored, see `match_classes`; raises DataError for names that do not fit."""
        if self.classes:
            return match_classes(annotated, predicted, seen=seen)
        return without_classes(predicted)


STANDARD = Scoring()
WORST = 10
"""Images on the page of the worst."""


def evaluate(
    dataset: Dataset | PathLike,
    predict: Predict | Segmenter | PathLike,
    *,
    predicted_classes: Sequence[str] = (),
    scoring: Scoring = STANDARD,
    out: PathLike | None = None,
    overwrite: bool = False,
    worst: int = WORST,
    notes: Sequence[str] = (),
    on_image: Report = _nobody,
) -> Evaluation:
    """Score predictions for every image of a data set.

    Parameters
    ----------
    dataset
        Images and their annotation, outlines or points: a data set (`wsinuc.open_dataset`), a part of one, or its path.
    predict
        A model (`wsinuc.load_segmenter`), a folder of label images ``NAME.png`` that anything else has written, or a
        function from a `LabelledImage` to labels ``(h, w)`` or to a `Prediction`.
    predicted_classes
        Names of the classes that a function counts; a model and a folder say their own.
    scoring
        Whether classes are scored, and how far apart a pair may be.
    out
        Folder to write ``scores.csv``, ``summary.json``, ``comparison.png``, ``worst.png``, ``overlays.png``,
        ``predictions/NAME.png`` and, where predictions come with probabilities, ``reliability.png`` and ``doubt.png``,
        where classes are scored, ``confusion.png`` and ``confusion_pixels.png`` to.
    overwrite
        Replace these files in a folder that is not empty.
    worst
        Images on the page of the worst; 0 leaves it out.
    notes
        What else a reader of the figures has to know, such as that the model has learned from these images.
    on_image
        Called after each image.

    Returns
    -------
    Evaluation
        Scores of every image, and ``means``, ``totals`` and other figures of the data set.

    Raises
    ------
    OutputError
        ``out`` holds something and ``overwrite`` is False, or cannot be written.
    DataError
        An image, annotation or prediction cannot be read or has the wrong shape, or classes do not fit.
    ConfigError
        ``worst`` is negative, or ``predict`` is neither a model nor a folder nor a function.

    Examples
    --------
    >>> import wsinuc
    >>> drawn = "examples/data/CMU-1-Small-Region.nuclei.geojson"
    >>> windows = wsinuc.open_dataset("examples/data/CMU-1-Small-Region.svs", annotations=drawn)
    >>> evaluation = wsinuc.evaluate(windows[2:], lambda image: image.labels)
    >>> evaluation
    <wsinuc evaluation of 2 images: AJI 1.000, Dice 1.000, PQ 1.000>
    >>> evaluation.means["aji"], evaluation.totals["true_nuclei"]
    (1.0, 39)
    """
    if isinstance(dataset, (str, os.PathLike)):
        dataset = open_dataset(dataset)
    arguments.instance(dataset, Dataset, "a data set that wsinuc.open_dataset has opened, or a part of it", DataError)
    if worst < 0:
        raise ConfigError(f"the number of worst images to show must be 0 or more, got {worst}")
    if isinstance(predict, Segmenter):
        predicted_classes = [each.name for each in predict.classes]
        predict = partial(predict_nuclei, segmenter=predict)
    elif isinstance(predict, (str, os.PathLike)):
        predict = PredictionFolder(to_path(predict))
    if isinstance(predict, PredictionFolder):
        predicted_classes = predict.class_names
    if not callable(predict):
        raise ConfigError(
            f"expected a model, a folder of label images or a function that gives labels, got {predict!r:.80}: "
            "wsinuc.load_segmenter loads a model"
        )
    if out is not None:
        out = to_path(out)
    marked = dataset.layout.kind == "points"
    if marked and scoring.semantic:
        raise DataError("the data set marks nuclei with points, which say no pixel's class: leave --semantic out")
    names = [c.name for c in dataset.classes]
    match = scoring.match(names, predicted_classes, seen=dataset.layout.open_classes)
    if isinstance(predict, PredictionFolder):
        # Before any is read: what is missing should not show one by one, after the work on those before it.
        wanted = [name_of(row["name"], box) for row, box in zip(dataset.rows, dataset.boxes, strict=True)]
        predict.check(wanted, semantic=scoring.semantic)
    if out is not None:
        files.make_output_folder(out, overwrite)
    scored = []
    annotated: dict[str, tuple[str, ...]] = {}
    predictions = []
    inside = PointsInside()
    for annotated_image in dataset:
        image = counted_image(annotated_image)
        predicted = _as_prediction(predict(image), image)
        # By the whole image's name: patches of one image share its notes, which should be told once.
        annotated[image.attributes["name"]] = image.notes
        predictions.append(predicted.notes)
        score = _score_marked if marked else _score_outlined
        judged = replace(predicted, labels=counted(predicted.labels, image.ignore))
        scored.append(score(image, judged, match, scoring))
        if image.points is not None:
            inside += PointsInside.of(image.points + 0.5, judged.labels)
        if out is not None:
            files.write_prediction(out, image.name, predicted, predicted_classes)
        on_image(scored[-1])
    all_notes = [*notes, *(f"annotation: {line}" for line in dataset.layout.notes)]
    all_notes += _label_notes(annotated.values(), predictions, dataset.layout.annotated)
    if inside.doubt is not None:
        all_notes.append(inside.doubt)
    evaluation = _evaluation(scored, match, scoring, mpp=dataset[0].mpp if scored else None, notes=all_notes)
    if out is not None:
        files.write_tables(evaluation, out)
        files.write_pages(evaluation, dataset, out, worst=worst)
    return evaluation


def evaluate_folders(
    predictions: PathLike,
    truth: PathLike,
    *,
    mpp: float | None = None,
    scoring: Scoring = STANDARD,
    out: PathLike | None = None,
    overwrite: bool = False,
    on_image: Report = _nobody,
) -> Evaluation:
    """Score each label PNG of ``truth`` against the file of the same name in ``predictions``.

    Each folder may have classes: ``classes.csv`` and ``classes/NAME.csv`` in it, or beside it where
    it is the ``labels`` of a data set of one's own. Without ``mpp`` (um per pixel) and
    ``scoring.radius_px`` detection is not scored. Parameters and errors are otherwise those of
    `evaluate`; without images there are no pages.
    """
    predictions = to_path(predictions)
    truth = to_path(truth)
    if out is not None:
        out = to_path(out)
    names = sorted(file.stem for file in matching(truth, "*.png"))
    if not names:
        raise DataError(f"{truth} holds no PNG files; expected one label image per annotated image")
    match = scoring.match(read_class_names(truth), read_class_names(predictions))
    PredictionFolder(truth).check(names)
    PredictionFolder(predictions).check(names, semantic=scoring.semantic)
    if out is not None:
        files.make_output_folder(out, overwrite)
    scored = []
    notes = []
    for name in names:
        annotated = read_label_image(truth, name)
        predicted = read_label_image(predictions, name)
        notes.append((annotated.notes, predicted.notes))
        _check_shapes(name, annotated.labels, predicted.labels)
        nuclei = LabelledNuclei(annotated.labels, known_classes(annotated.classes, annotated.labels))
        prediction = _translated(predicted, match)
        counts = score_nuclei(
            nuclei,
            prediction,
            len(match.names),
            radius=scoring.radius(mpp),
            rule=scoring.rule,
            mpp=mpp,
            semantic=_semantic(predicted, name, match, scoring),
        )
        scored.append(ImageScores(name=name, **counts))
        on_image(scored[-1])
    label_notes = _label_notes((of_truth for of_truth, _ in notes), (of_prediction for _, of_prediction in notes))
    evaluation = _evaluation(scored, match, scoring, mpp=mpp, notes=label_notes)
    if out is not None:
        files.write_tables(evaluation, out)
    return evaluation


def _score_outlined(image: LabelledImage, predicted: Prediction, match: ClassMatch, scoring: Scoring) -> ImageScores:
    truth = LabelledNuclei(image.labels, known_classes(image.classes, image.labels))
    prediction = _translated(predicted, match)
    radius = scoring.radius(image.mpp)
    counts = score_nuclei(
        truth,
        prediction,
        len(match.names),
        radius=radius,
        rule=scoring.rule,
        ignore=image.ignore,
        mpp=image.mpp,
        semantic=_semantic(predicted, image.name, match, scoring),
    )
    return ImageScores(name=image.name, attributes=image.attributes, **counts)


def _semantic(predicted: Prediction, name: str, match: ClassMatch, scoring: Scoring) -> NDArray[np.int64] | None:
    """Predicted classes of pixels in the numbers of the annotation, where they are scored; raises DataError."""
    if not scoring.semantic:
        return None
    if predicted.semantic is None:
        raise DataError(
            f"{name}: the prediction has no classes of pixels, which --semantic scores: a folder of predictions has "
            "them in semantic/NAME.png, as wsinuc evaluate --semantic -o writes them"
        )
    _check_shapes(name, predicted.labels, predicted.semantic)
    return match.translate_map(predicted.semantic)


def _score_marked(image: LabelledImage, predicted: Prediction, match: ClassMatch, scoring: Scoring) -> ImageScores:
    if image.points is None:
        raise DataError(f"{image.name}: its data set marks nuclei with points, but this image has none to read")
    prediction = _translated(predicted, match)
    counts = score_points(
        # Annotated points count from the centre of the first pixel, centroids from its corner.
        Points.of(image.points + 0.5, image.point_classes if match.names else None),
        Points.of_labels(prediction.labels, prediction.classes if match.names else None),
        len(match.names),
        radius=scoring.radius(image.mpp) or 0.0,
        rule=scoring.rule,
    )
    return ImageScores(name=image.name, attributes=image.attributes, detection=counts)


def _label_notes(
    annotated: Iterable[tuple[str, ...]], predicted: Iterable[tuple[str, ...]], files: str = "label images"
) -> list[str]:
    """What was done to the annotation, which lies in ``files``, and to the predictions, a line for each kind."""
    return [f"annotation: {line}" for line in count_notes(annotated, files)] + [
        f"predictions: {line}" for line in count_notes(predicted)
    ]


def _evaluation(
    scored: Sequence[ImageScores], match: ClassMatch, scoring: Scoring, *, mpp: float | None, notes: Sequence[str] = ()
) -> Evaluation:
    radius = None
    if scoring.radius_px:
        radius = {"px": scoring.radius_px}
    elif mpp:
        radius = {"um": MATCH_RADIUS_UM}
    all_notes = [*notes]
    if match.note:
        all_notes.append(match.note)
    if radius is None:
        all_notes.append("detection (F_d) is not scored: 3 um are not known in pixels; give --mpp or --radius-px")
    return Evaluation(
        images=tuple(scored), classes=match.names, radius=radius, rule=scoring.rule, notes=tuple(all_notes)
    )


def _as_prediction(predicted: Prediction | NDArray[np.integer], image: LabelledImage) -> Prediction:
    if isinstance(predicted, Prediction):
        prediction = predicted
    else:
        prediction = Prediction(predicted)
    _check_shapes(image.name, image.labels, prediction.labels)
    return prediction


def _check_shapes(name: str, truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> None:
    if truth.shape != predicted.shape:
        raise DataError(
            f"{name}: the annotation is {truth.shape} (h, w), the prediction {predicted.shape}: predict at the size of "
            "the image, or resize the labels without interpolation"
        )


def _translated(predicted: Prediction, match: ClassMatch) -> LabelledNuclei:
    """The prediction in the classes of the annotation."""
    classes = predicted.classes
    return LabelledNuclei(
        predicted.labels,
        known_classes(None, predicted.labels) if classes is None else match.translate(classes),
        predicted.probabilities,
        predicted.disagreements,
    )

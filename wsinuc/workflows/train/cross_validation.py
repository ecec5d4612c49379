"""How good a training on few windows is: each window predicted by a model that has not seen it.

The windows are parted into folds, those of one patient in one (`wsinuc.workflows.training.folds`). For each
fold a model learns from the others and scores the fold's windows; with few windows every one is a fold of
its own. Threshold, height of markers and the meaning
of probabilities are then fitted to these scores: for the figures of a fold to the windows of the other
folds, for the model that is kept to all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.base import LabelledImage
from wsinuc.metrics.calibration import Verdicts, reliability
from wsinuc.metrics.detection import MATCH_RADIUS_UM, ClassCounts
from wsinuc.progress_line import ProgressLine
from wsinuc.segmenters.base import Certainty
from wsinuc.segmenters.tiled import TiledSegmenter
from wsinuc.separation.settings import WatershedSettings
from wsinuc.workflows.evaluate.classes import known_classes
from wsinuc.workflows.evaluate.figures import Evaluation, ImageScores, LabelledNuclei, score_nuclei
from wsinuc.workflows.evaluate.ignored import counted, counted_image
from wsinuc.workflows.evaluate.predictions import Prediction
from wsinuc.workflows.train.held_out_window import HeldOutWindow, hold_out
from wsinuc.workflows.train.window_settings import (
    UNCORRECTED,
    corrected,
    fit_probabilities,
    fit_watershed,
    merits_of_windows,
)
from wsinuc.workflows.training.folds import Kin, fold_of, kin_of

BINS = 5
"""Bins of the calibration: some hundred nuclei fill no more."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgedWindow:
    """A window beside what a model predicts that has not seen it."""

    image: LabelledImage
    prediction: Prediction
    """At the window's own resolution; probabilities as they are before correction."""
    doubt: NDArray[np.uint8]
    """``(h, w)`` disagreement at the model's resolution, 255 is the most."""
    scores: ImageScores
    """Its verdicts have the corrected probabilities."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CrossValidation:
    """What was found, and the settings that follow for a model of all windows."""

    windows: tuple[JudgedWindow, ...]
    """In the order in which they were given."""
    folds: int
    kin: Kin
    """What was held out together."""
    watershed: WatershedSettings
    """Threshold and height of markers, fitted to all windows."""
    certainty: Certainty
    """Correction of probabilities, fitted to all windows."""
    classes: tuple[str, ...] = ()
    """Classes that were scored; empty where nuclei have none."""

    def __repr__(self) -> str:
        means = self.evaluation.means
        figures = f"AJI {means['aji']:.3f}, Dice {means['dice']:.3f}"
        return f"<wsinuc cross-validation of {len(self.windows)} windows in {self.folds} folds: {figures}>"

    @property
    def evaluation(self) -> Evaluation:
        """All figures, as ``evaluate`` has them."""
        scores = tuple(window.scores for window in self.windows)
        return Evaluation(images=scores, classes=self.classes, radius={"um": MATCH_RADIUS_UM})

    @property
    def by_class(self) -> dict[str, ClassCounts]:
        """How often each class is found and named on windows that were held out; empty where nuclei have none."""
        counts = self.evaluation.detection
        if counts is None or not self.classes:
            return {}
        return dict(zip(self.classes, counts.by_class, strict=True))

    @property
    def windows_with(self) -> dict[str, int]:
        """In how many windows each class is annotated."""
        present = [_present(window.image) for window in self.windows]
        return {name: sum(number in each for each in present) for number, name in enumerate(self.classes, start=1)}

    def as_json(self) -> dict[str, Any]:
        """The figures that a checkpoint keeps."""
        means = self.evaluation.means
        figures = {name: round(means[name], 4) for name in ("dice", "aji", "pq")}
        if self.calibration_error is not None:
            figures["expected_calibration_error"] = round(self.calibration_error, 4)
        by_class = {name: asdict(counts) for name, counts in self.by_class.items()}
        counts = {"windows": len(self.windows), "folds": self.folds, "held_out": self.kin.level}
        measured: dict[str, Any] = {**counts, **figures}
        if by_class:
            measured["by_class"] = by_class
        return measured

    @property
    def calibration_error(self) -> float | None:
        """Expected calibration error of the corrected probabilities, 0 to 1; None where no nucleus was predicted."""
        verdicts = self.evaluation.verdicts
        if verdicts is None or not len(verdicts.right):
            return None
        return reliability(verdicts.probabilities, verdicts.right, bins=BINS).error


def cross_validate(
    images: Sequence[LabelledImage],
    learn: Callable[[NDArray[np.bool_]], TiledSegmenter],
    *,
    folds: int,
    seed: int,
    on_event: Callable[[str], None] = lambda message: None,
) -> CrossValidation:
    """Predict every image by a model that has not seen it, and fit the settings that models do not learn.

    Parameters
    ----------
    images
        Annotated windows, at least two of them with nuclei.
    learn
        A model of the images that are marked ``(images,)``.
    folds
        At least 2; no more than there are patients, slides or images to hold out are used.
    """
    shows = [bool(image.labels.any()) for image in images]
    kin = kin_of([image.attributes for image in images], shows)
    fold = fold_of(kin, shows, folds, seed)
    held_out: dict[int, HeldOutWindow] = {}
    count = int(fold.max()) + 1
    for number in range(count):
        model = learn(fold != number)
        for index in np.flatnonzero(fold == number).tolist():
            held_out[index] = hold_out(images[index], model, number)
        text = f"cross-validation: fold {number + 1} of {count}"
        on_event(ProgressLine(text, stage="cross-validation", unit="folds", done=number + 1, total=count))
    windows = [held_out[index] for index in range(len(images))]
    heights = model.config.separation == "distance"
    start = model.config.watershed

    merit = merits_of_windows(windows)
    nuclear = frozenset(number for number, window in enumerate(windows) if window.labels.any())

    def fitted_to(numbers: Sequence[int]) -> WatershedSettings:
        return fit_watershed(numbers, merit, start, nuclear=nuclear, heights=heights)

    def settings_without(fold_number: int) -> WatershedSettings:
        return fitted_to([number for number, window in enumerate(windows) if window.fold != fold_number])

    settings = [settings_without(number) for number in range(count)]
    predictions = [window.predict(settings[window.fold]) for window in windows]
    classes: tuple[str, ...] = ()
    if any(image.classes is not None for image in images):
        classes = tuple(each.name for each in model.classes)
    raw = [_scored(window, each, len(classes)) for window, each in zip(windows, predictions, strict=True)]
    lines = [_line(raw, [window.fold != number for window in windows]) for number in range(count)]
    return CrossValidation(
        windows=tuple(
            JudgedWindow(window.image, prediction, window.doubt, _with_line(scores, lines[window.fold]))
            for window, prediction, scores in zip(windows, predictions, raw, strict=True)
        ),
        folds=count,
        kin=kin,
        watershed=fitted_to(range(len(windows))),
        certainty=_line(raw, [True] * len(raw)),
        classes=classes,
    )


def _scored(window: HeldOutWindow, prediction: Prediction, classes: int) -> ImageScores:
    """What a window scored, its nuclei without classes where ``classes`` is 0."""
    image = counted_image(window.image)
    labels = counted(prediction.labels, image.ignore)
    truth = LabelledNuclei(image.labels, known_classes(image.classes, image.labels))
    predicted = LabelledNuclei(
        labels,
        known_classes(prediction.classes, prediction.labels),
        prediction.probabilities,
        prediction.disagreements,
    )
    counts = score_nuclei(truth, predicted, classes, radius=MATCH_RADIUS_UM / image.mpp, ignore=image.ignore)
    return ImageScores(name=image.name, attributes=image.attributes, **counts)


def _present(image: LabelledImage) -> set[int]:
    """The classes of its nuclei, without those that are ignored."""
    if image.classes is None:
        return set()
    whole = counted_image(image)
    return set(known_classes(whole.classes, whole.labels)[np.unique(whole.labels)].tolist())


def _line(scores: Sequence[ImageScores], used: Sequence[bool]) -> Certainty:
    """The correction of probabilities that suits the windows that are used."""
    verdicts = [each.verdicts for each, use in zip(scores, used, strict=True) if use and each.verdicts]
    if not verdicts:
        return UNCORRECTED
    return fit_probabilities(sum(verdicts, Verdicts.none()))


def _with_line(scores: ImageScores, line: Certainty) -> ImageScores:
    if scores.verdicts is None:
        return scores
    return replace(scores, verdicts=corrected(scores.verdicts, line))

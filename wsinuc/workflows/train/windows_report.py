"""The cross-validation of a training on few windows as a table of lines and as a page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wsinuc.exports.atomic import replacing
from wsinuc.exports.report.windows_page import ClassFacts, TrainingFacts, WindowFacts, windows_page
from wsinuc.shown import shown
from wsinuc.workflows.evaluate.ignored import faded
from wsinuc.workflows.train.cross_validation import CrossValidation, JudgedWindow

SUFFIX = ".windows.html"
"""Ending of the page, in place of that of the checkpoint."""


FOUND_SHARE = 0.5
"""Share of a class's nuclei below which the training warns."""


def write_windows_page(measured: CrossValidation, model: Path, command: str) -> Path:
    """Write the page beside the model.

    Parameters
    ----------
    model
        The checkpoint.
    command
        What the page names as the next step.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    windows = [_facts(window) for window in measured.windows]
    means = measured.evaluation.means
    training = TrainingFacts(
        model=model.name,
        nuclei=sum(window.annotated_nuclei for window in windows),
        folds=measured.folds,
        held_out=str(measured.kin),
        dice=means["dice"],
        aji=means["aji"],
        calibration_error=measured.calibration_error,
        threshold=measured.watershed.foreground_threshold,
        marker_height=measured.watershed.marker_height,
        command=command,
        classes=tuple(
            ClassFacts(shown(name), counts.annotated, counts.predicted, counts.recall, counts.precision)
            for name, counts in measured.by_class.items()
        ),
        warnings=tuple(class_warnings(measured)),
    )
    path = model.with_suffix(SUFFIX)
    with replacing(path) as stream:
        stream.write(windows_page(training, windows).encode())
    return path


def window_lines(measured: CrossValidation) -> Iterator[str]:
    """The table of windows for a terminal, in the order in which they were given, and their means."""
    facts = [_facts(window) for window in measured.windows]
    width = max(6, *(len(shown(each.name)) for each in facts))
    yield f"{'window':{width}}  annotated  predicted   Dice    AJI  right  probability"
    for each in facts:
        yield (
            f"{shown(each.name):{width}}{each.annotated_nuclei:>11,}{each.predicted_nuclei:>11,}{each.dice:7.3f}"
            f"{each.aji:7.3f}{_number(each.right):>7}{_number(each.probability):>13}"
        )
    means = measured.evaluation.means
    totals = measured.evaluation.totals
    verdicts = measured.evaluation.verdicts
    right = probability = None
    if verdicts is not None and len(verdicts.right):
        right = float(verdicts.right.mean())
        probability = float(verdicts.probabilities.mean())
    yield (
        f"{'all':{width}}{totals['true_nuclei']:>11,}{totals['predicted_nuclei']:>11,}{means['dice']:7.3f}"
        f"{means['aji']:7.3f}{_number(right):>7}{_number(probability):>13}"
    )


def class_lines(measured: CrossValidation) -> Iterator[str]:
    """The table of classes for a terminal, and a warning for each that is rarely found; nothing without classes."""
    figures = measured.by_class
    if not figures:
        return
    width = max(6, *(len(shown(name)) for name in figures))
    yield f"{'class':{width}}  annotated  predicted  right  recall  precision"
    for name, counts in figures.items():
        yield (
            f"{shown(name):{width}}{counts.annotated:>11,}{counts.predicted:>11,}{counts.right:>7,}"
            f"{_number(counts.recall):>8}{_number(counts.precision):>11}"
        )
    yield from class_warnings(measured)


def class_warnings(measured: CrossValidation) -> Iterator[str]:
    """A sentence for each class that fewer than `FOUND_SHARE` of its nuclei were given."""
    windows = measured.windows_with
    for name, counts in measured.by_class.items():
        if not counts.annotated or counts.recall >= FOUND_SHARE:
            continue
        if windows[name] == 1:
            remedy = (
                "it is in one window alone, and the model that is tested there has not seen it: annotate another one"
            )
        else:
            remedy = f"annotate more of it, best in more than {windows[name]} windows"
        yield (
            f"Warning: {shown(name)} was named in {counts.right:,} of its {counts.annotated:,} nuclei, fewer than "
            f"{FOUND_SHARE:.0%}; {remedy}"
        )


def _facts(window: JudgedWindow) -> WindowFacts:
    scores = window.scores.scores
    assert scores is not None  # outlines are scored, which windows have
    verdicts = window.scores.verdicts
    right = probability = None
    if verdicts is not None and len(verdicts.right):
        right = float(np.mean(verdicts.right))
        probability = float(np.mean(verdicts.probabilities))
    return WindowFacts(
        name=window.image.name,
        image=faded(window.image.image, window.image.ignore),
        truth=window.image.labels,
        predicted=window.prediction.labels,
        doubt=window.doubt,
        annotated_nuclei=scores.true_nuclei,
        predicted_nuclei=scores.predicted_nuclei,
        dice=scores.dice,
        aji=scores.aji,
        right=right,
        probability=probability,
    )


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.2f}"

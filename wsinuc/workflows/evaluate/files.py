"""The files of an evaluation: tables, predictions, confusion and the pages that people look at first."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsinuc.datasets.base import Dataset
from wsinuc.errors import OutputError
from wsinuc.exports.atomic import replacing_text
from wsinuc.exports.pictures.comparison import Comparison, write_comparisons, write_mistakes, write_overlays
from wsinuc.exports.pictures.plots import draw_detector, draw_heat_map, draw_reliability
from wsinuc.metrics.calibration import Verdicts, area_under_roc, reliability, roc_curve, share_by_group
from wsinuc.metrics.detection import DetectionCounts
from wsinuc.own_files import check_folder
from wsinuc.workflows.evaluate.figures import Evaluation, ImageScores
from wsinuc.workflows.evaluate.ignored import counted, counted_image, faded
from wsinuc.workflows.evaluate.predictions import Prediction, read_written, write_label_image

MOST_OVERLAYS = 24


def make_output_folder(out: Path, overwrite: bool) -> None:
    """Make the output folder, before any time is spent; raises OutputError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        occupied = any(out.iterdir())
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror}; choose another folder with -o") from error
    if occupied and not overwrite:
        raise OutputError(f"{out} is not empty and will not be written into without --overwrite")


def write_prediction(out: Path, name: str, prediction: Prediction, class_names: Sequence[str]) -> None:
    """Write ``predictions/NAME.png`` and the classes of its nuclei; raises DataError for too many nuclei."""
    check_folder(out / "predictions")
    write_label_image(prediction, out / "predictions", name, class_names)


def write_tables(evaluation: Evaluation, out: Path) -> None:
    """Write ``scores.csv`` (a line per image), ``summary.json`` and the confusion of classes, where they are scored.

    Where predictions come with probabilities, also ``reliability.png`` and ``doubt.png``.
    """
    rows = [image.row(evaluation.classes) for image in evaluation.images]
    attributes = [name for name in evaluation.images[0].attributes if name != "name"]
    # Names of images are names of files, which may be no Unicode.
    with replacing_text(out / "scores.csv", errors="backslashreplace") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*rows[0], *attributes])
        for row, image in zip(rows, evaluation.images, strict=True):
            values = ["" if _unknown(value) else value for value in row.values()]
            writer.writerow([*values, *(image.attributes[name] for name in attributes)])
    write_json(evaluation.summary(), out / "summary.json")
    if evaluation.classes:
        _draw_confusion(evaluation, out)
    verdicts = evaluation.verdicts
    if verdicts is not None and len(verdicts.right):
        _draw_calibration(verdicts, out)


def write_json(figures: Mapping[str, Any], path: Path) -> None:
    """Figures by name as JSON, null for NaN."""
    with replacing_text(path) as file:
        file.write(json.dumps(_without_nan(figures), indent=2, allow_nan=False) + "\n")


def write_pages(evaluation: Evaluation, dataset: Dataset, out: Path, *, worst: int) -> None:
    """Write ``comparison.png`` (worst, median, best), ``overlays.png`` (all, or 24 evenly from
    worst to best), ``worst.png``."""
    ranked = evaluation.ranked()
    ranks = {"worst": ranked[0], "median": ranked[len(ranked) // 2], "best": ranked[-1]}
    rows = [_shown(f"{rank}: {_caption(evaluation.images[i])}", i, dataset, out) for rank, i in ranks.items()]
    write_comparisons(rows, out / "comparison.png")
    count = min(len(ranked), MOST_OVERLAYS)
    # Evenly over the ranking, so that the page shows the whole range and not only failures.
    chosen = [ranked[round(at)] for at in np.linspace(0, len(ranked) - 1, count)]
    cells = (_shown(_short_caption(evaluation.images[i]), i, dataset, out) for i in chosen)
    write_overlays(cells, count, out / "overlays.png")
    if worst:
        # Generators: one image is in memory at a time.
        shown = (_shown(_long_caption(evaluation.images[i]), i, dataset, out) for i in ranked[:worst])
        write_mistakes(shown, min(worst, len(ranked)), out / "worst.png")


def _shown(caption: str, index: int, dataset: Dataset, out: Path) -> Comparison:
    image = counted_image(dataset[index])
    predicted = counted(read_written(out / "predictions", image.name), image.ignore)
    return Comparison(
        caption=caption,
        image=faded(image.image, image.ignore),
        truth=image.labels,
        predicted=predicted,
        true_points=image.points,
    )


def _caption(image: ImageScores) -> str:
    s = image.scores
    if s is None:
        return f"{_short_caption(image)}  annotated green, predicted magenta"
    return (
        f"{image.name}  Dice {s.dice:.3f}  AJI {s.aji:.3f}  PQ {s.pq:.3f}  "
        f"nuclei {s.true_nuclei} annotated (green), {s.predicted_nuclei} predicted (magenta)"
    )


def _short_caption(image: ImageScores) -> str:
    s = image.scores
    if s is not None:
        counts = f"{s.true_nuclei} annotated, {s.predicted_nuclei} predicted"
        return f"{image.name}  AJI {s.aji:.3f}  PQ {s.pq:.3f}  {counts}"
    assert image.detection is not None, "a set of points is scored by detection"
    d = image.detection
    matched = int(d.matched.sum())
    missed = int(d.missed.sum())
    invented = int(d.invented.sum())
    return f"{image.name}  F_d {d.f_detection:.3f}  found {matched}, missed {missed}, invented {invented}"


def _long_caption(image: ImageScores) -> str:
    s = image.scores
    if s is None:
        return _short_caption(image)
    missed = s.true_nuclei - s.found
    wrong = s.predicted_nuclei - s.found
    return (
        f"{image.name}  Dice {s.dice:.3f}  AJI {s.aji:.3f}  PQ {s.pq:.3f}  {s.true_nuclei} annotated, "
        f"{s.predicted_nuclei} predicted: {s.found} match, {missed} missed, {wrong} wrong"
    )


def _draw_calibration(verdicts: Verdicts, out: Path) -> None:
    draw_reliability(
        reliability(verdicts.probabilities, verdicts.right),
        out / "reliability.png",
        title=f"Detection probability of {len(verdicts.right):,} predicted nuclei",
    )
    wrong = ~verdicts.right
    names = {"disagreement": "disagreement", "one_minus_probability": "1 - probability"}
    draw_detector(
        {
            f"{names[name]} (AUC {area_under_roc(doubt, wrong):.3f})": (
                share_by_group(doubt, wrong)[1],
                roc_curve(doubt, wrong),
            )
            for name, doubt in verdicts.doubts.items()
        },
        out / "doubt.png",
        title=f"Which of {len(wrong):,} predicted nuclei are wrong ({wrong.mean():.1%})?",
    )


def _draw_confusion(evaluation: Evaluation, out: Path) -> None:
    names = evaluation.classes
    counts = evaluation.detection
    if counts is not None:
        if _has_unknown(counts):
            unknown = ["class unknown"]
        else:
            unknown = []
        draw_heat_map(
            _nucleus_table(counts, bool(unknown)),
            [*names, *unknown, "no nucleus"],
            [*names, *unknown, "missed"],
            out / "confusion.png",
            x="predicted",
            y="annotated",
            title="Nuclei: matched pairs, missed and invented",
        )
    pixels = evaluation.pixels
    if pixels is not None:
        # Shares of each row: background has most pixels and would outshine all else.
        of_row = pixels.confusion.sum(1, keepdims=True)
        draw_heat_map(
            np.where(of_row > 0, pixels.confusion / np.maximum(of_row, 1), np.nan),
            evaluation.pixel_classes,
            evaluation.pixel_classes,
            out / "confusion_pixels.png",
            x="predicted",
            y="annotated",
            title="Pixels: share of the annotated class",
        )


def _has_unknown(counts: DetectionCounts) -> bool:
    parts = (counts.matched[0], counts.matched[:, 0], counts.missed[:1], counts.invented[:1])
    return any(bool(part.any()) for part in parts)


def _nucleus_table(counts: DetectionCounts, unknown: bool) -> np.ndarray:
    """Known classes first, then the unknown class if wanted, then those without a partner; nothing is in neither."""
    order = [*range(1, len(counts.missed)), *([0] if unknown else [])]
    # The corner stays NaN: what nobody annotated and nobody predicted cannot be counted.
    table = np.full((len(order) + 1, len(order) + 1), np.nan)
    table[:-1, :-1] = counts.matched[np.ix_(order, order)]
    table[:-1, -1] = counts.missed[order]
    table[-1, :-1] = counts.invented[order]
    return table


def _unknown(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _without_nan(value: Any) -> Any:
    """A value with None in place of NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_nan(each) for each in value]
    return None if _unknown(value) else value

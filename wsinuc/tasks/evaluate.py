"""Measure a segmenter, or label images made by anything else, against annotated images.

The model's path is the one that ``segment`` takes: the image becomes a slide held in memory, is read at the model's
resolution, goes through the block task as one block, and the outlines that would be written are painted back at the
image's own resolution. So the numbers include resampling, tiling, ownership and tracing, and are those of the product.
Only the search for tissue is left out: annotated fields are taken whole.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.draw import polygon

from wsinuc import tissue
from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.datasets.files import read_labels
from wsinuc.errors import DataError, OutputError
from wsinuc.exports.comparison import Comparison, write_comparisons
from wsinuc.grid import Block, Box
from wsinuc.metrics.segmentation import Scores, score
from wsinuc.nuclei import Nuclei
from wsinuc.pipeline.block import process_block
from wsinuc.pipeline.calibrate import calibrated
from wsinuc.segmenters.base import Segmenter
from wsinuc.slides.array import ArraySlide

METRICS = ("dice", "dice2", "aji", "aji_plus", "dq", "sq", "pq")
COUNTS = ("true_nuclei", "predicted_nuclei", "found")

Predict = Callable[[LabelledImage], NDArray[np.integer]]
"""From an annotated image to predicted labels (h, w) of the same shape; it must not look at the annotation."""


@dataclass(frozen=True, slots=True)
class ImageScores:
    """What one image scored."""

    name: str
    scores: Scores
    attributes: Mapping[str, str] = field(default_factory=dict)


Report = Callable[[ImageScores], None]


def _nobody(scored: ImageScores) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What every image scored, and the means over images (each image counts the same)."""

    images: tuple[ImageScores, ...]

    @property
    def means(self) -> dict[str, float]:
        """Mean of each metric over the images."""
        return {name: fmean(getattr(image.scores, name) for image in self.images) for name in METRICS}

    @property
    def totals(self) -> dict[str, int]:
        """Sum of each count over the images."""
        return {name: sum(getattr(image.scores, name) for image in self.images) for name in COUNTS}

    def ranked(self) -> list[int]:
        """Positions of the images from the worst AJI to the best."""
        return sorted(range(len(self.images)), key=lambda i: self.images[i].scores.aji)


def evaluate(
    dataset: Dataset,
    predict: Predict,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    on_image: Report = _nobody,
) -> Evaluation:
    """Score predictions for every image of a data set.

    Parameters
    ----------
    dataset
        Images and their annotation.
    predict
        `predict_labels` bound to a segmenter, or `read_prediction` bound to a folder.
    out
        Folder to write ``scores.csv``, ``summary.json``, ``comparison.png`` and ``predictions/NAME.png`` to.
    overwrite
        Replace these files in a folder that is not empty.
    on_image
        Called after each image.

    Raises
    ------
    OutputError
        ``out`` holds something and ``overwrite`` is False, or cannot be written.
    DataError
        An image, annotation or prediction cannot be read or has the wrong shape.
    """
    if out is not None:
        _prepare(out, overwrite)
    scored = []
    for image in dataset:
        predicted = predict(image)
        scored.append(ImageScores(image.name, _score(image.name, image.labels, predicted), image.attributes))
        if out is not None:
            _write_labels(predicted, _prediction_path(out, image.name))
        on_image(scored[-1])
    evaluation = Evaluation(tuple(scored))
    if out is not None:
        _write_scores(evaluation, out)
        _write_page(evaluation, dataset, out)
    return evaluation


def evaluate_folders(
    predictions: Path, truth: Path, *, out: Path | None = None, overwrite: bool = False, on_image: Report = _nobody
) -> Evaluation:
    """Score each label PNG of ``truth`` against the file of the same name in ``predictions``.

    Parameters and errors are those of `evaluate`; without images there is no ``comparison.png``.
    """
    files = sorted(truth.glob("*.png"))
    if not files:
        raise DataError(f"{truth} holds no PNG files; expected one label image per annotated image")
    if out is not None:
        _prepare(out, overwrite)
    scored = []
    for file in files:
        scored.append(
            ImageScores(file.stem, _score(file.stem, read_labels(file), read_labels(predictions / file.name)))
        )
        on_image(scored[-1])
    evaluation = Evaluation(tuple(scored))
    if out is not None:
        _write_scores(evaluation, out)
    return evaluation


def _score(name: str, truth: NDArray[np.integer], predicted: NDArray[np.integer]) -> Scores:
    if truth.shape != predicted.shape:
        raise DataError(f"{name}: the annotation is {truth.shape} (h, w), the prediction {predicted.shape}")
    return score(truth, predicted)


def read_prediction(image: LabelledImage, *, folder: Path) -> NDArray[np.int32]:
    """Labels (h, w) that something else predicted for this image: ``folder/NAME.png``; raises DataError."""
    return read_labels(folder / f"{image.name}.png")


def predict_labels(image: LabelledImage, *, segmenter: Segmenter, batch_size: int | None = None) -> NDArray[np.int32]:
    """What ``segment`` finds in an image, painted at the image's own resolution: labels (h, w), 0 is background."""
    with ArraySlide(image.image, mpp=image.mpp) as slide:
        view = slide.at(segmenter.mpp)
        whole = Box.of_shape(view.shape)
        block = Block(index=0, core=whole, read=whole)
        size, mask = batch_size or segmenter.batch_size, tissue.whole(view)
        fitted = calibrated(view, segmenter, mask)
        result = process_block(view, block, fitted, batch_size=size, tissue=mask, gate=Lock())
    return paint_level0(result.nuclei, image.labels.shape)


def paint_level0(nuclei: Nuclei, shape: tuple[int, int]) -> NDArray[np.int32]:
    """Labels (h, w) in level-0 pixels: a pixel belongs to the nucleus whose outline holds its centre.

    Where the view is the image itself or a whole multiple coarser, this repeats exactly the pixels that were found.
    """
    labels = np.zeros(shape, np.int32)
    scale = np.asarray(nuclei.frame.downsample)
    for number, (start, stop) in zip(nuclei.ids, pairwise(nuclei.offsets), strict=True):
        # Outlines run along pixel edges; polygon() has pixel centres at whole numbers.
        ring = nuclei.outlines[start:stop] * scale - 0.5
        labels[polygon(ring[:, 0], ring[:, 1], shape)] = number
    return labels


def _write_scores(evaluation: Evaluation, out: Path) -> None:
    """Write ``scores.csv`` (a line per image) and ``summary.json`` (means and totals)."""
    attributes = [name for name in evaluation.images[0].attributes if name != "name"]
    with (out / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", *(f.name for f in fields(Scores)), *attributes])
        for image in evaluation.images:
            values = asdict(image.scores).values()
            writer.writerow([image.name, *values, *(image.attributes[name] for name in attributes)])
    summary = {"images": len(evaluation.images), "means": evaluation.means, "totals": evaluation.totals}
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def _prepare(out: Path, overwrite: bool) -> None:
    """Make the output folder, before any time is spent."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        occupied = any(out.iterdir())
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror}; choose another folder with -o") from error
    if occupied and not overwrite:
        raise OutputError(f"{out} is not empty and will not be written into without --overwrite")


def _prediction_path(out: Path, name: str) -> Path:
    return out / "predictions" / f"{name}.png"


def _write_labels(labels: NDArray[np.integer], path: Path) -> None:
    if labels.size and labels.max() > np.iinfo(np.uint16).max:
        raise DataError(f"{path.name}: {labels.max()} nuclei do not fit a 16-bit PNG; evaluate smaller fields")
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(labels.astype(np.uint16)).save(path)


def _write_page(evaluation: Evaluation, dataset: Dataset, out: Path) -> None:
    """The worst, the median and the best image by AJI, annotation against prediction."""
    ranked = evaluation.ranked()
    places = {"worst": ranked[0], "median": ranked[len(ranked) // 2], "best": ranked[-1]}
    rows = [_comparison(place, evaluation.images[i], dataset[i], out) for place, i in places.items()]
    write_comparisons(rows, out / "comparison.png")


def _comparison(place: str, scored: ImageScores, image: LabelledImage, out: Path) -> Comparison:
    s = scored.scores
    caption = (
        f"{place}: {scored.name}  Dice {s.dice:.3f}  AJI {s.aji:.3f}  PQ {s.pq:.3f}  "
        f"nuclei {s.true_nuclei} annotated (green), {s.predicted_nuclei} predicted (magenta)"
    )
    predicted = read_labels(_prediction_path(out, scored.name))
    return Comparison(caption=caption, image=image.image, truth=image.labels, predicted=predicted)

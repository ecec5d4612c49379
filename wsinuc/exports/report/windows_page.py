"""The page of a training on few windows: annotation, what a model predicts that has not seen the window, and doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import wsinuc
from wsinuc.exports.pictures.comparison import PREDICTION, TRUTH
from wsinuc.exports.pictures.drawing import boundaries
from wsinuc.exports.report.encoding import Embedded, embed
from wsinuc.exports.report.template import render

SIDE = 320
"""Longer side of a picture in pixels."""
MOST_WINDOWS = 64
"""Windows that one page shows, the worst ones."""
FULL_DOUBT = 51
"""Disagreement, of 255, in full colour: members that have learned from the same pixels differ by little."""
_DOUBT = np.array([217, 72, 15], np.float32)
_VIEWS = ("image", "annotation", "prediction", "doubt")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class WindowFacts:
    """One window and what a model that has not seen it makes of it."""

    name: str
    image: NDArray[np.uint8]
    """RGB ``(h, w, 3)``."""
    truth: NDArray[np.integer]
    """``(h, w)`` annotated nuclei."""
    predicted: NDArray[np.integer]
    """``(h, w)`` predicted nuclei."""
    doubt: NDArray[np.uint8]
    """Disagreement at any resolution, 255 is the most."""
    annotated_nuclei: int
    predicted_nuclei: int
    dice: float
    aji: float
    right: float | None
    """Share of the predicted nuclei that are right; None without any."""
    probability: float | None
    """Their mean probability."""


@dataclass(frozen=True, slots=True)
class ClassFacts:
    """One class of nuclei on windows that were held out."""

    name: str
    annotated: int
    predicted: int
    recall: float
    """Share of the annotated nuclei that were found and given the class; NaN without any."""
    precision: float
    """Share of the nuclei with the class that are annotated so; NaN without any."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TrainingFacts:
    """What the page says of the training as a whole."""

    model: str
    """Name of the model's file."""
    nuclei: int
    folds: int
    held_out: str
    """What was held out together, in words."""
    dice: float
    aji: float
    calibration_error: float | None
    """Mean distance of probabilities from the share that is right."""
    threshold: float
    marker_height: float
    command: str
    """What segments a slide with the model."""
    classes: tuple[ClassFacts, ...] = ()
    """Of the nuclei; empty where they have none."""
    warnings: tuple[str, ...] = ()
    """What a reader should know of the classes."""


def windows_page(training: TrainingFacts, windows: Sequence[WindowFacts]) -> str:
    """The page as HTML: one file that loads nothing. The worst windows come first."""
    ranked = sorted(windows, key=lambda window: window.aji)[:MOST_WINDOWS]
    pictures = {f"{i} {view}": picture for i, window in enumerate(ranked) for view, picture in _pictures(window)}
    embedded = embed(pictures)
    rows: list[dict[str, Any]] = [
        {"facts": window, "pictures": _of_window(embedded, i)} for i, window in enumerate(ranked)
    ]
    values = {
        "version": wsinuc.__version__,
        "training": training,
        "windows": rows,
        "count": len(windows),
        "alone": training.folds == len(windows),
        "colors": {"truth": _css(TRUTH), "prediction": _css(PREDICTION), "doubt": _css(_DOUBT)},
    }
    return render("windows.html", values)


def _pictures(window: WindowFacts) -> list[tuple[str, Image.Image]]:
    """The four pictures of a window under their names."""
    scale = SIDE / max(window.truth.shape)
    height, width = (max(1, round(n * scale)) for n in window.truth.shape)
    image = Image.fromarray(window.image).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    views = (
        pixels,
        _outlined(pixels, window.truth, TRUTH),
        _outlined(pixels, window.predicted, PREDICTION),
        _shaded(image, window.doubt),
    )
    return [(name, Image.fromarray(view)) for name, view in zip(_VIEWS, views, strict=True)]


def _outlined(pixels: NDArray[np.uint8], labels: NDArray[np.integer], color: Sequence[int]) -> NDArray[np.uint8]:
    """The picture with the outlines of labels of another size."""
    height, width = pixels.shape[:2]
    # Nearest neighbours: numbers of nuclei cannot be averaged.
    rows = (np.arange(height) * labels.shape[0] // height)[:, None]
    columns = np.arange(width) * labels.shape[1] // width
    drawn = pixels.copy()
    drawn[boundaries(labels[rows, columns])] = color
    return drawn


def _shaded(image: Image.Image, doubt: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture in pale grey, the more coloured the more doubt there is."""
    pale = 128 + np.asarray(image.convert("L"), np.float32)[..., None] / 2
    shown = Image.fromarray(doubt).resize(image.size, Image.Resampling.BILINEAR)
    opacity = np.minimum(np.asarray(shown, np.float32) / FULL_DOUBT, 1)[..., None]
    mixed: NDArray[np.uint8] = np.rint(pale + opacity * (_DOUBT - pale)).clip(0, 255).astype(np.uint8)
    return mixed


def _of_window(embedded: dict[str, Embedded], number: int) -> dict[str, Embedded]:
    return {view: embedded[f"{number} {view}"] for view in _VIEWS}


def _css(color: Sequence[float] | NDArray[np.floating]) -> str:
    return "rgb({}, {}, {})".format(*(int(value) for value in color))

"""Can the numbers be trusted? Focus and stain of the fields that were read, and the smallest nuclei in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsinuc.exports.pictures.slide_pictures import FieldPictures
from wsinuc.exports.report.distributions import AREA, PROBABILITY, Distributions
from wsinuc.exports.report.facts import Finding
from wsinuc.exports.report.template import percent
from wsinuc.tissue.focus import BLURRED, FINE_UM, SHARP, sharpness
from wsinuc.tissue.kinds import densities

SMALL_UM2 = 15.0
"""Area below which a nucleus is called small: a circle of 4.4 um, half as wide as a lymphocyte's nucleus."""
MANY = 0.25
"""Share of all nuclei from which small or doubtful ones are a reason to look closely."""
STRANGE = 10.0
"""Spreads of the training's pixels from which a stain is unlike any: of 15 images each of TNBC, MoNuSeg and NuInsSeg
the model `fast` sees 43 below it (0.2 to 1.2, 1.3 to 9.5, 4.9 to 13.5)."""

_WHITE = (255.0, 255.0, 255.0)
_LN_10 = math.log(10)


@dataclass(frozen=True, slots=True)
class Colours:
    """Optical densities (natural logarithm) of red, green and blue light in tissue."""

    mean: tuple[float, float, float]
    spread: tuple[float, float, float]
    """Standard deviations over pixels."""


def focus_finding(fields: Sequence[tuple[str, FieldPictures]]) -> Finding:
    """How sharp the fields are, by the measure that the search for tissue uses.

    Parameters
    ----------
    fields
        Names and pictures.
    """
    measured = [(name, _sharpness(field)) for name, field in fields]
    known = [(name, value) for name, value in measured if value is not None]
    if not known:
        return Finding("Focus", "The fields have too little structure to judge it.")
    values = ", ".join(f"{value:.2f} ({name})" for name, value in known)
    worst = min(value for _, value in known)
    if worst < BLURRED:
        verdict = "At least one field is out of focus: nuclei there may be missed or fused."
    elif worst < SHARP:
        verdict = "At least one field is softer than sharp tissue is: look whether borders of nuclei can be seen."
    else:
        verdict = "The fields are as sharp as tissue in focus."
    text = (
        f"{verdict} Structure at 2 µm over that at 4 µm is {values}; sharp tissue has {SHARP:g} and more, behind a "
        f"blur of 5 µm it has less than {BLURRED:g}."
    )
    return Finding("Focus", text, is_doubtful=worst < SHARP)


def stain_finding(slide: Colours | None, training: Colours | None) -> Finding:
    """How far the stain of the fields is from that of the images that the model was trained on.

    Parameters
    ----------
    slide
        Of the fields; None where they hold too little tissue.
    training
        Of the training images; None where the model records none.
    """
    if training is None:
        return Finding("Stain", "The model does not record the colours of its training images, so none are compared.")
    if slide is None:
        return Finding("Stain", "The fields hold too little tissue to compare colours with the training images.")
    away = max(abs(a - b) / s for a, b, s in zip(slide.mean, training.mean, training.spread, strict=True))
    if away >= STRANGE:
        verdict = "The stain is unlike that of any images that the measure was tried on: compare outlines and tissue."
    elif away >= 1:
        verdict = "The stain differs from that of the training images, as that of other laboratories does."
    else:
        verdict = "The stain is that of the training images."
    text = (
        f"{verdict} Mean optical density of red, green and blue light: {_triple(slide.mean)} in the fields, "
        f"{_triple(training.mean)} in the training images. The largest difference is {away:.1f} times the spread of "
        "their pixels; the model brings a slide's colours a part of the way before it looks."
    )
    return Finding("Stain", text, is_doubtful=away >= STRANGE)


def small_finding(distributions: Distributions) -> Finding:
    """How many nuclei are so small that they may be debris or fragments."""
    if not distributions.all or not distributions.of(AREA).counts.any():
        return Finding("Small nuclei", "There are no nuclei.")
    areas = distributions.of(AREA)
    count = areas.below(SMALL_UM2)
    share = count / int(areas.counts.sum())
    diameter = 2 * math.sqrt(SMALL_UM2 / math.pi)
    if not count:
        text = f"None is smaller than {SMALL_UM2:g} µm²; the smallest of the fields are shown enlarged."
        return Finding("Small nuclei", text)
    text = (
        f"{count:,} ({percent(share)}) are smaller than {SMALL_UM2:g} µm², a circle of {diameter:.1f} µm. They may be "
        "lymphocytes cut at their edge, fragments, or debris; the smallest of the fields are shown enlarged."
    )
    return Finding("Small nuclei", text, is_doubtful=share >= MANY)


def probability_finding(distributions: Distributions) -> Finding:
    """How many nuclei are more likely none, by the model's own word."""
    probabilities = distributions.of(PROBABILITY)
    count = probabilities.below(0.5)
    share = count / max(1, int(probabilities.counts.sum()))
    if not count:
        return Finding("Doubtful nuclei", "None has a probability below 0.5.")
    text = (
        f"{count:,} ({percent(share)}) have a probability below 0.5. The most doubtful field shows what they are "
        "drawn on; leaving them out is a condition on the column probability of the table."
    )
    return Finding("Doubtful nuclei", text, is_doubtful=share >= MANY)


def _sharpness(field: FieldPictures) -> float | None:
    width = max(1, round(field.plain.width * field.mpp / FINE_UM))
    height = max(1, round(field.plain.height * field.mpp / FINE_UM))
    pixels: NDArray[np.uint8] = np.asarray(field.plain.resize((width, height), Image.Resampling.BOX))
    return sharpness(densities(pixels, _WHITE)[..., 1].astype(np.float64))


def _triple(values: tuple[float, float, float]) -> str:
    return ", ".join(f"{value / _LN_10:.2f}" for value in values)

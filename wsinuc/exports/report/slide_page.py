"""The page of one slide: pictures, counts, distributions, what was left out, quality, settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import wsinuc
from wsinuc.exports.atomic import replacing
from wsinuc.exports.pictures.drawing import mark_field, scale_bar
from wsinuc.exports.pictures.fields import DENSEST, DOUBTFUL, TYPICAL
from wsinuc.exports.pictures.slide_pictures import FieldPictures, Overview
from wsinuc.exports.pictures.small_nuclei import SIDE_UM, smallest_nuclei
from wsinuc.exports.report.charts import chart
from wsinuc.exports.report.distributions import AREA, PROBABILITY, Distributions
from wsinuc.exports.report.encoding import embed
from wsinuc.exports.report.facts import Finding, SlideFacts
from wsinuc.exports.report.template import render
from wsinuc.nuclei.classes import hex_color

_ORDER = (TYPICAL, DENSEST, DOUBTFUL)
_WHY = {
    TYPICAL: "How many nuclei it has, how large and how probable they are, is nearest to the medians of the slide.",
    DENSEST: "No other field of its size has more nuclei.",
    DOUBTFUL: "Of all fields with at least half as many nuclei as usual, these have the lowest mean probability.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideReport:
    """Everything that the page of a slide shows."""

    facts: SlideFacts
    overview: Overview
    fields: Sequence[tuple[str, FieldPictures]]
    """Names (``pictures.fields``) and pictures."""
    findings: Sequence[Finding]
    """What to know before trusting the numbers; the smallest nuclei are shown behind the last."""
    distributions: Distributions
    has_region: bool
    """Whether a region of interest is drawn."""


def write_slide_page(report: SlideReport, path: Path) -> None:
    """Write the page; raises OutputError when it cannot be written."""
    with replacing(path) as stream:
        stream.write(slide_page(report).encode())


def slide_page(report: SlideReport) -> str:
    """The page as HTML: one file that loads nothing."""
    fields = sorted(report.fields, key=lambda field: _ORDER.index(field[0]))
    colors = tuple(each.color for each in report.facts.classes)
    charts = [chart(each, colors) for each in report.distributions.all]
    values: dict[str, Any] = {
        "version": wsinuc.__version__,
        "facts": report.facts,
        "classes": _classes(report),
        "hatched": [(entry.label, hex_color(entry.color)) for entry in report.overview.legend],
        "has_region": report.has_region,
        "findings": report.findings,
        "fields": [_field(number, name, field) for number, (name, field) in enumerate(fields, 1)],
        "charts": [each for each in charts if each is not None],
        "pictures": embed(_pictures(report, fields)),
        "small_um": f"{SIDE_UM:g}",
    }
    return render("slide.html", values)


def _pictures(report: SlideReport, fields: Sequence[tuple[str, FieldPictures]]) -> dict[str, Any]:
    whole = report.overview.picture.copy()
    pictures = {}
    for number, (_, field) in enumerate(fields, 1):
        mark_field(whole, field.box, report.overview.scale, str(number))
        for kind, picture in (("plain", field.plain), ("outlined", field.outlined)):
            copy = picture.copy()
            scale_bar(copy, field.mpp)
            pictures[f"{kind} {number}"] = copy
    scale_bar(whole, report.overview.mpp)
    small = smallest_nuclei([field for _, field in fields])
    if small is not None:
        pictures["small"] = small
    return {"slide": whole, **pictures}


def _classes(report: SlideReport) -> list[dict[str, Any]]:
    """A row of the table of counts for each class."""
    facts = report.facts
    rows = []
    for kind, each in enumerate(facts.classes):
        area = _median(report.distributions, AREA, kind)
        probability = _median(report.distributions, PROBABILITY, kind)
        rows.append(
            {
                "name": each.name,
                "hex": hex_color(each.color),
                "count": each.count,
                "share": each.count / max(1, facts.nuclei),
                "per_mm2": facts.per_mm2(each.count),
                "area": "–" if area is None else f"{area:.3g} µm²",
                "probability": "–" if probability is None else f"{probability:.2f}",
            }
        )
    return rows


def _median(distributions: Distributions, quantity: Any, kind: int) -> float | None:
    if not distributions.all:
        return None
    return distributions.of(quantity).quantile(0.5, kind)


def _field(number: int, name: str, field: FieldPictures) -> dict[str, Any]:
    height, width = field.box.shape
    mpp = field.mpp * field.plain.width / width
    inside = [part.select(part.owned_by(field.box)) for part in field.nuclei]
    probabilities = np.concatenate([part.probabilities for part in inside] or [np.zeros(0, np.float32)])
    mean = f"Mean probability {probabilities.mean():.2f}. " if len(probabilities) else ""
    size = f"{width * mpp:.0f} × {height * mpp:.0f} µm, at {field.mpp:.3g} µm per pixel."
    return {
        "number": number,
        "title": f"{name.capitalize()} field",
        "nuclei": len(probabilities),
        "plain": f"plain {number}",
        "outlined": f"outlined {number}",
        "text": f"{_WHY[name]} {mean}{size}",
    }

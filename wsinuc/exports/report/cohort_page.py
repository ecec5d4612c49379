"""The page of a cohort: its slides compared, with links to their own pages."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import wsinuc
from wsinuc.exports.pictures.drawing import round_length
from wsinuc.exports.report.cohort_facts import CohortSlide
from wsinuc.exports.report.template import render

MOST_SLIDES = 1000
"""Slides that one page shows; more are in ``summary.csv``."""
MOST_CLASSES = 8
"""Classes that are compared; further ones are added up."""

_STRIP = 600  # width of the strips in units of the SVG
# Colours that people with any colour vision tell apart (Okabe and Ito); the last is what is added up.
_PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7f7f7f")


@dataclass(frozen=True, slots=True)
class _Group:
    """A class that is compared, or the rest of them."""

    title: str
    names: tuple[str, ...]
    color: str


def cohort_page(slides: Sequence[CohortSlide]) -> str:
    """The page as HTML: one file that loads nothing."""
    done = [each for each in slides if each.state == "done"]
    groups = _groups(done)
    values: dict[str, Any] = {
        "version": wsinuc.__version__,
        "slides": len(slides),
        "states": [(state, count) for state, count in _states(slides)],
        "nuclei": sum(each.nuclei for each in done),
        "tissue_mm2": sum(each.tissue_mm2 for each in done),
        "groups": groups,
        "strips": _strips(done, groups),
        "rows": _rows(done[:MOST_SLIDES], groups),
        "not_shown": max(0, len(done) - MOST_SLIDES),
        "failed": [each for each in slides if each.state == "failed"][:MOST_SLIDES],
    }
    return render("cohort.html", values)


def _states(slides: Sequence[CohortSlide]) -> list[tuple[str, int]]:
    states = [each.state for each in slides]
    return [(state, states.count(state)) for state in dict.fromkeys(states)]


def _groups(done: Sequence[CohortSlide]) -> list[_Group]:
    names = list(dict.fromkeys(name for each in done for name in each.counts))
    own = names
    rest: tuple[str, ...] = ()
    if len(names) > MOST_CLASSES:
        own = names[: MOST_CLASSES - 1]
        rest = tuple(names[MOST_CLASSES - 1 :])
    groups = [_Group(name, (name,), color) for name, color in zip(own, _PALETTE, strict=False)]
    if rest:
        groups.append(_Group(f"{len(rest)} other classes", rest, _PALETTE[-1]))
    return groups


def _strips(done: Sequence[CohortSlide], groups: Sequence[_Group]) -> list[dict[str, Any]]:
    """A line of dots for all nuclei and for each class: nuclei per mm2 of every slide."""
    every = _Group("all nuclei", tuple(name for group in groups for name in group.names), "#495057")
    strips = []
    for group in [every, *groups] if len(groups) > 1 else [every]:
        measured = [(each.name, each.per_mm2(group.names)) for each in done]
        known = [(name, density) for name, density in measured if density is not None]
        if known:
            strips.append(_strip(group, known))
    return strips


def _strip(group: _Group, known: Sequence[tuple[str, float]]) -> dict[str, Any]:
    """Names and densities as dots, ticks and a median in units of the SVG."""
    densities = [density for _, density in known]
    # Where no slide has any, the axis still needs a length.
    high = max(densities) or 1.0
    step = round_length(high / 3)
    median = statistics.median(densities)
    return {
        "title": group.title,
        "color": group.color,
        "dots": [(density / high * _STRIP, name, density) for name, density in known[:MOST_SLIDES]],
        "median": median,
        "median_at": median / high * _STRIP,
        "ticks": [(i * step / high * _STRIP, f"{i * step:,g}") for i in range(int(high / step + 1e-9) + 1)],
    }


def _rows(done: Sequence[CohortSlide], groups: Sequence[_Group]) -> list[dict[str, Any]]:
    every = tuple(name for group in groups for name in group.names)
    densities = [each.per_mm2(every) for each in done]
    highest = max([density for density in densities if density is not None], default=0.0) or 1.0
    return [
        {
            "slide": each,
            "href": _address(each),
            "density": density,
            "bar": 100 * (density or 0.0) / highest,
            "shares": [(group, _share(each, group)) for group in groups],
        }
        for each, density in zip(done, densities, strict=True)
    ]


def _share(each: CohortSlide, group: _Group) -> float:
    return sum(each.counts.get(name, 0) for name in group.names) / max(1, each.nuclei)


def _address(each: CohortSlide) -> str:
    """Of the slide's own page relative to this one, or of the folder where it has none."""
    # A name may be no UTF-8, hold a colon or a hash, or look like another address: all of that is quoted.
    folder = "./" + quote(f"{each.name}.wsinuc", safe="", errors="surrogateescape")
    if each.has_page:
        return f"{folder}/report.html"
    return f"{folder}/"

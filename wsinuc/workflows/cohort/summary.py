"""The slides of an output folder together: ``summary.csv`` for programs, ``summary.md`` and ``report.html`` for people.

All are made from the states of all slides that were ever given to this folder, in the order of
their names, and are written anew as slides end: after each one in a cohort of hundreds, every few
seconds in one of many thousands, and at the end.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsinuc.errors import OutputError
from wsinuc.exports.atomic import replacing
from wsinuc.exports.report.cohort_facts import BEGIN, CohortSlide
from wsinuc.shown import shown
from wsinuc.urls import Place
from wsinuc.workflows.cohort.state import STATES, SlideState

CSV = "summary.csv"
MARKDOWN = "summary.md"
REPORT = "report.html"
_FIRST = ("slide", "result", "state", "nuclei", "tissue_mm2", "nuclei_per_mm2")
_LAST = ("seconds", "seconds_per_mm2", "attempts", "notes", "error")
_TITLE = "# wsinuc: slides and their nuclei"
_FIGURES = (
    "nuclei",
    "counts",
    "tissue_mm2",
    "slide_mm2",
    "nuclei_per_mm2",
    "seconds",
    "seconds_per_mm2",
    "notes",
    "resumed_blocks",
    "at_edge",
    "unreadable_share",
)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CohortSummary:
    """How one run over several slides ended."""

    out: Place
    slides: tuple[SlideState, ...]
    """States of the slides, in the order in which they were given."""
    before: tuple[str, ...]
    """Names of those that an earlier run had done with the same settings."""

    def __repr__(self) -> str:
        counts = f"{len(self.results)} done, {len(self.failed)} failed, {len(self.unfinished)} unfinished"
        return f"<wsinuc cohort in {self.out}: {len(self.slides)} slides, {counts}>"

    @property
    def results(self) -> tuple[Place, ...]:
        """Where the results of the slides that are done lie, for `wsinuc.read`."""
        return tuple(self.out / f"{state.name}.wsinuc" for state in self.slides if state.state == "done")

    @property
    def failed(self) -> tuple[SlideState, ...]:
        """Slides without a result, with the reason in ``error``."""
        return tuple(state for state in self.slides if state.state == "failed")

    @property
    def unfinished(self) -> tuple[SlideState, ...]:
        """Slides that were not reached or not finished, because the run stopped before."""
        return tuple(state for state in self.slides if state.state not in ("done", "failed"))


def figures_of(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a result's summary that a cohort's tables show."""
    return {key: summary.get(key) for key in _FIGURES}


def check_ours(out: Path, *, report: bool = True) -> None:
    """Raise OutputError when ``out`` holds a file of somebody else under one of our names."""
    for name, begin in ((CSV, ",".join(_FIRST)), (MARKDOWN, _TITLE), (REPORT, BEGIN)):
        path = out / name
        if not path.is_file() or (name == REPORT and not report):
            continue
        with path.open("rb") as file:
            head = file.read(200)
        if head and not head.startswith(begin.encode()):
            raise OutputError(
                f"{path} was not made by wsinuc and would be replaced: move it away, or choose another folder with -o"
            )


def write_summaries(states: Sequence[SlideState], out: Path, *, report: bool = True) -> None:
    """Write the files, each whole or not at all, the page only with ``report``.

    Raises
    ------
    OutputError
        One cannot be written.
    """
    texts = {CSV: to_csv(states), MARKDOWN: to_markdown(states)}
    if report:
        texts[REPORT] = to_html(states, out)
    for name, text in texts.items():
        with replacing(out / name) as stream:
            stream.write(text.encode())


def to_html(states: Sequence[SlideState], out: Path) -> str:
    """The slides as a page that compares them, with links to the pages of those that have one in ``out``."""
    # Takes jinja2, which cohorts without a report do without.
    from wsinuc.exports.report.cohort_page import cohort_page

    return cohort_page([_as_slide(state, out) for state in states])


def _as_slide(state: SlideState, out: Path) -> CohortSlide:
    figures = state.figures
    return CohortSlide(
        name=state.name,
        slide=state.slide,
        state=state.state,
        error=state.error or "",
        nuclei=figures.get("nuclei") or 0,
        counts=dict(figures.get("counts") or {}),
        tissue_mm2=figures.get("tissue_mm2") or 0.0,
        notes=tuple(figures.get("notes") or ()),
        has_page=os.path.isfile(out / f"{state.name}.wsinuc" / REPORT),
    )


def to_csv(states: Sequence[SlideState]) -> str:
    """A line per slide: areas in mm2, times in s, a column ``nuclei: <class>`` for each class."""
    classes = _classes(states)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*_FIRST, *(f"nuclei: {name}" for name in classes), *_LAST])
    for state in states:
        figures = state.figures
        counts = figures.get("counts") or {}
        first = [state.slide, f"{state.name}.wsinuc", state.state, *(figures.get(key) for key in _FIRST[3:])]
        last = [_total_s(figures), figures.get("seconds_per_mm2"), state.attempts, _notes(figures), state.error]
        writer.writerow([_cell(value) for value in (*first, *(counts.get(name) for name in classes), *last)])
    return stream.getvalue()


def to_markdown(states: Sequence[SlideState]) -> str:
    """The slides as a page in Markdown: how many are done, a table of these, then what went wrong with the others."""
    classes = _classes(states)
    done = [state for state in states if state.state == "done"]
    counts = {name: sum(state.state == name for state in states) for name in STATES}
    nuclei = sum(state.figures.get("nuclei") or 0 for state in done)
    area = sum(state.figures.get("tissue_mm2") or 0 for state in done)
    by_state = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    lines = [_TITLE, "", f"{len(states)} slides: {by_state}.", ""]
    if done:
        names = ("slide", "nuclei", "mm2", "per mm2", *classes, "s per mm2", "notes")
        lines += [f"{nuclei:,} nuclei on {area:.4g} mm2 of tissue.", ""]
        lines += [_row(names), _row(["---"] * len(names))]
        lines += [*(_row(_page_cells(state, classes)) for state in done), ""]
    errors = [shown(f"- {state.name} ({state.slide}): {state.error}") for state in states if state.state == "failed"]
    if errors:
        lines += ["## Failed", "", *errors, "", "Run the same command again when the cause is mended.", ""]
    return "\n".join(lines)


def _page_cells(state: SlideState, classes: Sequence[str]) -> list[str]:
    figures = state.figures
    counts = figures.get("counts") or {}
    return [
        state.name,
        f"{figures.get('nuclei') or 0:,}",
        _number(figures.get("tissue_mm2")),
        _number(figures.get("nuclei_per_mm2")),
        *(f"{counts.get(name) or 0:,}" for name in classes),
        _number(figures.get("seconds_per_mm2")),
        _notes(figures),
    ]


def _classes(states: Sequence[SlideState]) -> list[str]:
    """Names of classes in the order in which the slides bring them up."""
    return list(dict.fromkeys(name for state in states for name in state.figures.get("counts") or {}))


def _total_s(figures: Mapping[str, Any]) -> float | None:
    seconds: Mapping[str, float] = figures.get("seconds") or {}
    return seconds.get("total")


def _notes(figures: Mapping[str, Any]) -> str:
    return "; ".join(figures.get("notes") or ())


def _cell(value: object) -> object:
    """A value for a spreadsheet, which must not take a text for a formula."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if not isinstance(value, str):
        return value
    text = shown(value)
    # An apostrophe is how spreadsheets are told that a cell is text.
    if value.startswith(("=", "+", "-", "@", "\t")):
        return f"'{text}"
    return text


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4g}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(shown(cell).replace("|", "\\|") for cell in cells) + " |"

"""What a run over several slides looks like while it goes on: each slide in work, and all of them together.

Slides are named as ``wsinuc status`` and the tables of a cohort name them.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import Self

from rich.console import Console
from rich.progress import TaskID as RowID

from wsinuc.shown import shown
from wsinuc.workflows.cohort.events import CohortEvent, SlideFailed, SlideProgress
from wsinuc_cli.progress.bars import live_bars
from wsinuc_cli.progress.slide import Lines, Reporter, move_bar, reporter


class CohortReporter(AbstractContextManager["CohortReporter"]):
    """Takes events of many slides and shows nothing; the others show more."""

    def __call__(self, event: CohortEvent) -> None:
        """Show an event."""

    def __exit__(self, *exc_info: object) -> None:
        return None


class OneSlide(CohortReporter):
    """A single slide, shown as `wsinuc_cli.progress.slide.reporter` shows it."""

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        self._quiet = quiet
        self._verbose = verbose
        self._show: Reporter | None = None

    def __exit__(self, *exc_info: object) -> None:
        self._close()

    def __call__(self, event: CohortEvent) -> None:
        """Open the bar with the first event, close it with the last."""
        if not isinstance(event, SlideProgress):
            return self._close()
        if self._show is None:
            self._show = reporter(event.job.stem, quiet=self._quiet, verbose=self._verbose)
            self._show.__enter__()
        self._show(event.event)

    def _close(self) -> None:
        if self._show is not None:
            self._show.__exit__(None, None, None)
            self._show = None


class CohortLines(CohortReporter):
    """Plain lines, each with its slide's name."""

    def __init__(self) -> None:
        self._lines: dict[str, Lines] = {}

    def __call__(self, event: CohortEvent) -> None:
        """Pass an event on to its slide's lines."""
        if isinstance(event, SlideProgress):
            name = event.job.stem
            if name not in self._lines:
                self._lines[name] = Lines(name)
            self._lines[name](event.event)
        else:
            self._lines.pop(event.job.stem, None)


class CohortBars(CohortReporter):
    """A live bar per slide in work, and one for all slides."""

    def __init__(self, slides: int, console: Console | None = None) -> None:
        # Results that go to a file stay there: only what goes to the terminal is printed above the bars.
        self._progress = live_bars(console, redirect_stdout=sys.stdout.isatty())
        self._all = self._progress.add_task("", name="all slides", total=slides)
        self._rows: dict[str, RowID] = {}
        self._failed = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._progress.stop()

    def __call__(self, event: CohortEvent) -> None:
        """Move the bars."""
        stem = event.job.stem
        if isinstance(event, SlideProgress):
            if stem not in self._rows:
                self._rows[stem] = self._progress.add_task("opening", name=shown(stem), total=None)
            return move_bar(self._progress, self._rows[stem], event.event)
        if stem in self._rows:
            self._progress.remove_task(self._rows.pop(stem))
        # A slide that will be tried again is not over.
        if not (isinstance(event, SlideFailed) and event.again):
            self._failed += isinstance(event, SlideFailed)
            text = ""
            if self._failed:
                text = f"{self._failed} failed"
            self._progress.update(self._all, advance=1, description=text)


def cohort_reporter(slides: int, *, quiet: bool, verbose: bool) -> CohortReporter:
    """The reporter that fits the number of slides and the terminal."""
    if slides == 1:
        return OneSlide(quiet=quiet, verbose=verbose)
    if quiet:
        return CohortReporter()
    if sys.stderr.isatty() and not verbose:
        return CohortBars(slides)
    return CohortLines()

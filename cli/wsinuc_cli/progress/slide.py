"""What a run looks like while it goes on: a live bar on a terminal, a line every few seconds elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Self

from rich.console import Console
from rich.progress import Progress
from rich.progress import TaskID as RowID

from wsinuc.shown import shown
from wsinuc.workflows.segment.events import BlockDone, Event, Planned, StageStarted
from wsinuc_cli.progress.bars import live_bars
from wsinuc_cli.terminal import echo
from wsinuc_cli.texts.duration import duration

EVERY_S = 5.0
"""Seconds between two plain lines."""
STAGES = {
    "input": "reading all of the slide",
    "numbering": "numbering the nuclei",
    "image": "copying the slide",
    "labels": "writing the label image",
    "geojson": "writing the file for QuPath",
    "preview": "drawing the preview",
    "report": "writing the report",
    "upload": "uploading the result",
    "formats": "writing other formats",
}


class Reporter(AbstractContextManager["Reporter"]):
    """Takes events of one run and shows nothing; the others show more."""

    def __call__(self, event: Event) -> None:
        """Show an event."""

    def __exit__(self, *exc_info: object) -> None:
        return None


class Lines(Reporter):
    """Plain lines on stderr for logs and pipes."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._begin = self._last = clock()
        self._resumed = 0

    def __call__(self, event: Event) -> None:
        """Print a line for the plan, for each stage, and for blocks at most every few seconds."""
        if isinstance(event, Planned):
            self._begin = self._last = self._clock()
            self._resumed = event.resumed
            self._say(describe_plan(event))
        elif isinstance(event, StageStarted) and event.name in STAGES:
            self._say(STAGES[event.name])
        elif isinstance(event, BlockDone):
            now = self._clock()
            if now - self._last >= EVERY_S or event.done == event.total:
                self._last = now
                self._say(self._blocks(event, now))

    def _blocks(self, event: BlockDone, now: float) -> str:
        # Blocks that an interrupted run did say nothing about the speed of this one.
        new = event.done - self._resumed
        left = (now - self._begin) / max(1, new) * (event.total - event.done)
        wait = ""
        if event.done < event.total:
            wait = f", about {duration(left)} left"
        return f"{event.done} of {event.total} blocks, {event.nuclei:,} nuclei{wait}"

    def _say(self, text: str) -> None:
        echo(f"{self._name}: {text}", err=True)


class Bar(Reporter):
    """A live bar: blocks, nuclei so far, time left."""

    def __init__(self, name: str, console: Console | None = None) -> None:
        self._progress = live_bars(console)
        self._task = self._progress.add_task("opening", name=shown(name), total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Move the bar."""
        move_bar(self._progress, self._task, event)


def move_bar(progress: Progress, row: RowID, event: Event) -> None:
    """Show on a slide's bar what has happened."""
    if isinstance(event, Planned):
        progress.reset(row, total=event.blocks, completed=event.resumed)
        progress.update(row, description=f"{event.nuclei:,} nuclei")
    elif isinstance(event, BlockDone):
        progress.update(row, completed=event.done, description=f"{event.nuclei:,} nuclei")
    elif isinstance(event, StageStarted) and event.name in STAGES:
        progress.update(row, description=STAGES[event.name])


def reporter(name: str, *, quiet: bool, verbose: bool) -> Reporter:
    """The reporter that fits: a bar needs a terminal that no log messages disturb."""
    if quiet:
        return Reporter()
    if sys.stderr.isatty() and not verbose:
        return Bar(name)
    return Lines(name)


def describe_plan(event: Planned) -> str:
    """The first line of a run."""
    if event.blocks == 1:
        blocks = "1 block"
    else:
        blocks = f"{event.blocks} blocks"
    resumed = ""
    if event.resumed:
        resumed = f", {event.resumed} done before ({event.nuclei:,} nuclei)"
    return f"{blocks} with tissue{resumed}"

"""How bars look: their columns, their times, and over how long speed is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

SPEED_S = 3600.0
"""Seconds over which speed is measured. With rich's 30 s there is no time left to show where a block takes longer."""


def live_bars(console: Console | None = None, *, redirect_stdout: bool = True) -> Progress:
    """Bars of slides: name, bar, blocks, nuclei or stage, times."""
    # The name may be broken into lines, so that it is whole on a narrow terminal; markup off: [/] is no instruction.
    name = TextColumn("{task.fields[name]}", markup=False, table_column=Column(overflow="fold", min_width=12))
    text = TextColumn("{task.description}", markup=False)
    return _bars(
        name,
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        text,
        console=console,
        transient=True,
        redirect_stdout=redirect_stdout,
    )


def training_bars(console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> Progress:
    """Bars of a training: stage, bar, counts, loss, times. They stay when the training is over."""
    stage = TextColumn("{task.description}", markup=False)
    counts = TextColumn("{task.fields[counts]}", markup=False)
    loss = TextColumn("{task.fields[loss]}", markup=False)
    return _bars(stage, BarColumn(bar_width=None), counts, loss, console=console, get_time=clock)


def _bars(*columns: ProgressColumn, console: Console | None, **settings: Any) -> Progress:
    """Bars with labelled times after their own columns."""
    return Progress(
        *columns,
        TextColumn("elapsed", markup=False),
        TimeElapsedColumn(),
        TextColumn("left", markup=False),
        TimeRemainingColumn(),
        console=console or Console(stderr=True),
        speed_estimate_period=SPEED_S,
        expand=True,
        **settings,
    )

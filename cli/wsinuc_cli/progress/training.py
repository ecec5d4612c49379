"""What a training looks like while it goes on: bars on a terminal, else a line per report; and a log, if wanted.

Workflows tell lines (``on_event``). Those that are a ``ProgressLine`` move a bar with the present
loss and the time left; all others are printed above it. Without a terminal, in CI or under
``nohup``, every line is printed as it is; an empty ``ProgressLine`` only moves the bar.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from wsinuc.own_files import append, check_place
from wsinuc.progress_line import ProgressLine
from wsinuc.shown import shown
from wsinuc_cli.terminal import echo

if TYPE_CHECKING:
    from rich.console import Console

    from wsinuc.models.training.loop import Progress

Tell = Callable[[str], None]
_LOG = re.compile(rb"\d{4}-\d\d-\d\dT")  # each line begins with its time


def log_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--log``."""
    return click.option(
        "--log",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Append every report to this file, a line each with its time.",
    )(command)


@contextmanager
def telling(log: Path | None = None, *, bars: bool | None = None, plain: Tell = echo) -> Iterator[Tell]:
    """What shows the lines of a training for the length of a block, and appends them to a log.

    Parameters
    ----------
    log
        File for all lines, each after the time at which it came; None keeps none.
    bars
        Draw bars on stderr; None draws them when both stderr and stdout are terminals.
    plain
        What prints a line where no bars are drawn.

    Raises
    ------
    OutputError
        The log cannot be written.
    """
    if bars is None:
        # Lines go to stdout: whoever sends that to a file or through a pipe wants them there, and no bars.
        bars = sys.stderr.isatty() and sys.stdout.isatty()
    record = None if log is None else _recorder(log)
    with ExitStack() as stack:
        drawn = None
        if bars:
            drawn = stack.enter_context(TrainingBars())

        def tell(line: str) -> None:
            if record is not None and line:
                record(line)
            if drawn is not None:
                drawn(line)
            elif line:
                plain(line)

        yield tell


def _recorder(log: Path) -> Tell:
    """What appends lines to a log; raises OutputError for one that cannot be written."""

    def record(line: str) -> None:
        with append(log) as stream:
            stream.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')}  {shown(line)}\n".encode())

    # What is no log would be damaged by lines at its end.
    check_place(log, is_ours=lambda head: _LOG.match(head) is not None)
    append(log).close()  # so that it fails now, and not at the first report
    return record


class TrainingBars(AbstractContextManager["TrainingBars"]):
    """A bar for each stage: how far it is, the present loss, the times."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        from wsinuc_cli.progress.bars import training_bars

        self._progress = training_bars(console, clock)
        # Models are loaded and images read before the first report; a bar without an end says that work goes on.
        self._row = self._progress.add_task("starting", total=None, counts="", loss="")
        self._stage: str | None = None
        self._done = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._stage is None:
            self._progress.remove_task(self._row)
        self._progress.stop()

    def __call__(self, line: str) -> None:
        """Move the bar of the line's stage, or print the line above the bars."""
        if not isinstance(line, ProgressLine):
            self._progress.console.print(shown(line), markup=False, highlight=False, soft_wrap=True)
            return
        if line.stage != self._stage or line.done < self._done:
            self._begin(line)
        self._done = line.done
        counts = f"{line.done:,}/{line.total:,} {line.unit}"
        loss = ""
        if line.loss is not None:
            loss = f"loss {line.loss:.4f}"
        self._progress.update(self._row, completed=line.done, counts=counts, loss=loss)

    def _begin(self, line: ProgressLine) -> None:
        """A row for a new stage; the one that is over stays where it is."""
        # From nothing done, whatever an interrupted run did: rich measures speed from the first report on, and
        # leaves out what that one brings.
        name = shown(line.stage)
        if self._stage is None:
            self._progress.update(self._row, description=name, total=line.total)
        else:
            self._row = self._progress.add_task(name, total=line.total, counts="", loss="")
        self._stage = line.stage


def training_reports(tell: Tell, stage: str, steps: int) -> Callable[[Progress], None]:
    """What turns the reports of ``models.training.loop`` into lines for ``tell``."""

    def report(progress: Progress) -> None:
        held_out = ""
        if progress.validation is not None:
            held_out = f"  held out {progress.validation:.4f}"
        text = (
            f"{progress.images:10,} images  loss {progress.loss:.4f}{held_out}  {progress.images_per_s:6.1f} images/s  "
            f"{progress.seconds:6.0f} s"
        )
        tell(ProgressLine(text, stage=stage, unit="steps", done=progress.step, total=steps, loss=progress.loss))

    return report

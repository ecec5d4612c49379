"""What a run over several slides writes down as it goes: the states of slides, and the tables over all of them."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsinuc.errors import LockedError, OutputError, WsinucError
from wsinuc.own_files import check_folder
from wsinuc.store import ResultStore, disk_errors
from wsinuc.workflows.cohort.slide_list import SlideJob
from wsinuc.workflows.cohort.state import SlideState, StateFolder, here_and_now, timestamp
from wsinuc.workflows.cohort.status import is_held
from wsinuc.workflows.cohort.summary import CohortSummary, check_ours, write_summaries
from wsinuc.workflows.segment.summary import versions

_log = logging.getLogger(__name__)
_REST = 30
"""After writing the tables, how many times as long they are left alone: else many slides would cost
with their square."""


class CohortRecords:
    """States of slides, in memory for this run and in ``<out>/.wsinuc`` for everyone; safe from several threads.

    A state is written when it changes, in time that does not depend on the number of slides. The tables over all slides
    are written so often that this takes a thirtieth of the time at most, and at the end.

    A slide that another run holds is that run's to write about: its file is left as it is.
    """

    def __init__(
        self, out: Path, *, keep: bool, report: bool = True, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.out = out
        self._keep = keep
        self._report = report
        self._clock = clock
        self._tables_from = -math.inf
        """Reading of the clock from which the tables may be written again."""
        self._files = StateFolder(out)
        self._folder_states: dict[str, SlideState] = {}
        """States of all slides of the folder, as their files say."""
        self._run_states: dict[str, SlideState] = {}
        """States of the slides of this run."""
        self._earlier: list[str] = []
        self._interrupted: set[str] = set()
        """Slides whose work was broken off."""
        self._lock = threading.Lock()

    def begin(self, jobs: Sequence[SlideJob]) -> None:
        """All slides of this run wait; raises OutputError when the folder cannot be written or is somebody else's."""
        if self._keep:
            with disk_errors(self.out):
                self.out.mkdir(parents=True, exist_ok=True)
            check_ours(self.out, report=self._report)
            check_folder(self._files.path)
            self._folder_states = self._files.all()
        for job in jobs:
            record = self._folder_states.get(job.stem)
            self._run_states[job.stem] = replace(
                record or SlideState(name=job.stem, slide=str(job.slide)),
                slide=str(job.slide),
                state="waiting",
                error=None,
            )
            # Nothing is written over the state of a finished slide, nor of one that another run is at.
            is_done = record is not None and record.state == "done"
            if self._keep and not is_done and self._run_states[job.stem] != record and not self._is_held(job, record):
                self._put(self._run_states[job.stem])

    def running(self, job: SlideJob, blocks: int) -> None:
        """Its work begins: called when the lock is held."""
        state = self._run_states[job.stem]
        self._write_tables()
        self._put(
            replace(
                state,
                state="running",
                attempts=state.attempts + 1,
                blocks=blocks,
                error=None,
                figures={},
                versions=versions(),
                **here_and_now(),
            )
        )

    def done(self, job: SlideJob, figures: dict[str, Any], *, before: bool = False) -> None:
        """It is complete, now or since ``before``."""
        state = replace(self._run_states[job.stem], state="done", error=None, figures=figures)
        if before:
            self._earlier.append(job.stem)
            # The tables can wait for the end: this slide took no time.
            self._put(state)
        else:
            self._put(replace(state, ended=timestamp()))
            self._write_tables()

    def failed(self, job: SlideJob, error: Exception) -> None:
        """It could not be finished. That a full disk keeps us from writing so down is no further error."""
        text = " ".join(str(error).split())
        if not isinstance(error, WsinucError):
            text = f"unexpected {type(error).__name__}: {text}"
        state = replace(self._run_states[job.stem], state="failed", error=text, ended=timestamp())
        # The run that holds the lock writes down how its slide is; here it only ends in this run's list.
        if isinstance(error, LockedError):
            self._run_states[job.stem] = state
            return
        if state.begun is None:
            state = replace(state, **{**here_and_now(), "ended": timestamp()})
        self._put_if_possible(state)

    def interrupted(self, job: SlideJob) -> None:
        """It was left before its end, and waits for the next run."""
        self._interrupted.add(job.stem)
        self._put_if_possible(replace(self._run_states[job.stem], state="waiting", ended=timestamp()))

    def finish(self, jobs: Sequence[SlideJob]) -> CohortSummary:
        """The end of the run; the tables take up what other runs have written meanwhile."""
        if self._keep:
            self._folder_states = self._files.all()
            self._write_tables(at_once=True)
        return CohortSummary(
            out=self.out, slides=tuple(self._run_states[job.stem] for job in jobs), before=tuple(self._earlier)
        )

    def skip_waiting(self) -> None:
        """Mark what was never begun, because an error ended the run."""
        # A copy, because writing a state changes the dictionary.
        for state in list(self._run_states.values()):
            if state.state == "waiting" and state.name not in self._interrupted:
                self._put_if_possible(replace(state, state="skipped"))

    def _is_held(self, job: SlideJob, record: SlideState | None) -> bool:
        if record is None or record.state != "running":
            return False
        return is_held(ResultStore(job.folder(self.out)).holder())

    def _put_if_possible(self, state: SlideState) -> None:
        try:
            self._put(state)
            self._write_tables()
        except OutputError as error:
            self._run_states[state.name] = state
            _log.warning("cannot note down that %s is %s: %s", state.name, state.state, error)

    def _put(self, state: SlideState) -> None:
        with self._lock:
            self._run_states[state.name] = state
            self._folder_states[state.name] = state
            if self._keep:
                self._files.write(state)

    def _write_tables(self, *, at_once: bool = False) -> None:
        """Write the tables unless that was done a moment ago; ``finish`` writes what is then missing."""
        if not self._keep:
            return
        with self._lock:
            begin = self._clock()
            if begin < self._tables_from and not at_once:
                return
            write_summaries([state for _, state in sorted(self._folder_states.items())], self.out, report=self._report)
            # The next time follows from how long it took: in a cohort of thousands the tables grow with it.
            end = self._clock()
            self._tables_from = end + _REST * (end - begin)

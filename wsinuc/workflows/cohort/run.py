"""Many slides by one command: one model, two slides in flight, and no slide's error stops the others.

While the last blocks of a slide are numbered, rendered and exported, the blocks of the next one run
already, so the network does not wait. Which slide's turn the blocks are is a token (``_Turn``):
with local threads one slide has it at a time, which bounds the blocks alive, and with an executor
the next slide gets it when the rest of the blocks no longer fills the executor. What comes out does
not depend on any of that: each slide's result has the bytes that it would have alone.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from wsinuc import segmenters
from wsinuc.arguments import came
from wsinuc.config import DEFAULTS, SegmentConfig, check_config
from wsinuc.errors import (
    CheckpointError,
    ConfigError,
    DamageError,
    DataError,
    DeviceError,
    LockedError,
    MppError,
)
from wsinuc.pipeline.executor import Executor
from wsinuc.segmenters.base import Segmenter
from wsinuc.slides.isolation.isolated import open_isolated
from wsinuc.store import ResultStore
from wsinuc.urls import PathLike, Place, PlaceLike, to_output, to_place
from wsinuc.workflows.cohort.done_before import differences
from wsinuc.workflows.cohort.events import CohortEvent, SlideDone, SlideFailed, SlideProgress
from wsinuc.workflows.cohort.records import CohortRecords
from wsinuc.workflows.cohort.slide_list import SlideJob, check_distinct, list_slides
from wsinuc.workflows.cohort.summary import CohortSummary, figures_of
from wsinuc.workflows.segment import run as segment
from wsinuc.workflows.segment.also import check_also, write_missing
from wsinuc.workflows.segment.events import BlockDone, Event, Planned, StageStarted

SLIDES_IN_FLIGHT = 2
_HOPELESS = (CheckpointError, ConfigError, DamageError, DataError, DeviceError, LockedError, MppError)
"""Errors that another attempt would only repeat."""


def segment_cohort(
    slides: Iterable[PlaceLike | SlideJob],
    out: PlaceLike,
    config: SegmentConfig = DEFAULTS,
    *,
    executor: Executor | None = None,
    on_event: Callable[[CohortEvent], None] | None = None,
    skip_errors: bool = True,
    attempts: int = 1,
    records: bool = True,
) -> CohortSummary:
    """Segment every slide into ``<out>/<stem>.wsinuc``.

    Parameters
    ----------
    slides
        What to work on, in this order: slides, folders of DICOM files, tables of slides (CSV with a column ``slide``,
        see `wsinuc.workflows.cohort.slide_list`), or jobs, which may differ in their settings.
    out
        Folder of the results, created if need be.
    config
        Settings of all slides, but for those in which a job differs.
    executor
        Where blocks run (``pipeline.executor``), shared by all slides; None: ``config.workers`` local threads.
    on_event
        Called on this thread with what has happened (``workflows.segment.events.CohortEvent``).
    skip_errors
        Go on with the other slides when one fails; False stops at the first.
    attempts
        How often a slide is tried, when what went wrong may pass. It comes again after the others.
    records
        Take a complete result of the same settings for done, and keep ``<out>/.wsinuc``, ``summary.csv``,
        ``summary.md`` and, with ``config.report``, ``report.html`` (not at a URL). Without, the folder holds the
        results alone, and a complete result is an error.

    Returns
    -------
    CohortSummary
        The state of every slide. A slide's error does not raise: it is in its state and in its event.

    Raises
    ------
    ConfigError
        Two slides would share a result, or ``attempts`` is below 1.
    CheckpointError, DeviceError
        The model that all slides share cannot be loaded.
    OutputError
        The records cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import wsinuc
    >>> config = wsinuc.SegmentConfig(mpp=0.499, model="student")
    >>> out = tempfile.mkdtemp()
    >>> cohort = wsinuc.segment_cohort(["examples/data/field.png", "no_such.svs"], out, config)
    >>> [(slide.name, slide.state) for slide in cohort.slides]
    [('field', 'done'), ('no_such', 'failed')]
    >>> [result.name for result in cohort.results], cohort.failed[0].error
    (['field.wsinuc'], 'no_such.svs: no such file')
    """
    if attempts < 1:
        raise ConfigError(f"attempts must be at least 1, got {attempts}")
    check_config(config)
    place = to_output(out)
    jobs = _jobs(slides)
    check_distinct(jobs, place)
    run = _Cohort(place, config, executor, skip_errors=skip_errors, attempts=attempts, records=records)
    return run.execute(jobs, on_event or (lambda event: None))


def _jobs(slides: Iterable[PlaceLike | SlideJob]) -> tuple[SlideJob, ...]:
    """Jobs of slides that are named in whatever way."""
    # A text is an iterable as well, of its letters.
    if not isinstance(slides, Iterable) or isinstance(slides, (str, bytes, os.PathLike)):
        raise ConfigError(f"expected several slides, got {came(slides)}: put one into a list")
    jobs: list[SlideJob] = []
    for slide in slides:
        if isinstance(slide, SlideJob):
            jobs.append(slide)
        else:
            jobs += list_slides([to_place(slide)])
    if not jobs:
        raise ConfigError("there is no slide to segment: does the pattern match any file?")
    return tuple(jobs)


def _is_there(slide: Place) -> bool:
    # os.path.exists and not Path.exists: it raises nothing, whatever the name.
    return not isinstance(slide, Path) or os.path.exists(slide)


class _Stopped(BaseException):
    """Ends work on a slide between two events, after Ctrl-C or another slide's error; its blocks are kept."""


class _Cohort:
    """One run over several slides."""

    def __init__(
        self,
        out: Place,
        config: SegmentConfig,
        executor: Executor | None,
        *,
        skip_errors: bool,
        attempts: int,
        records: bool,
    ) -> None:
        self.out = out
        self.config = config
        self.executor = executor
        self.skip_errors = skip_errors
        self.attempts = attempts
        self.compare = records
        # Tables and states need a file system; results on an object store have none beside them.
        folder = out if isinstance(out, Path) else Path()
        self.records = CohortRecords(folder, keep=records and isinstance(out, Path), report=config.report)
        self.models = _Models(config.device)
        self.stop = threading.Event()
        self.turn = _Turn(self.stop, tail=executor.parallel if executor else 0)
        self.queue: deque[SlideJob] = deque()
        self.tries: Counter[str] = Counter()
        self.emit: Callable[[CohortEvent], None] = lambda event: None

    def execute(self, jobs: tuple[SlideJob, ...], on_event: Callable[[CohortEvent], None]) -> CohortSummary:
        """Look at all slides, so that what is wrong shows at once; then work on them."""
        self.emit = on_event
        self.records.begin(jobs)
        try:
            for job in jobs:
                if not self.stop.is_set() and self._guarded(job, self._look_at):
                    self.queue.append(job)
            if self.queue and not self.stop.is_set():
                self._work(on_event)
        finally:
            if self.stop.is_set() and not self.skip_errors:
                self.records.skip_waiting()
            summary = self.records.finish(jobs)
        return dataclasses.replace(summary, out=self.out)

    def _look_at(self, job: SlideJob) -> bool:
        """Whether there is work to do; raises what stands in its way and is found out quickly."""
        config = job.config(self.config)
        store = ResultStore(job.folder(self.out), config.work)
        # A result may be kept whose slide has been taken away; then there is nothing to compare it with.
        compares = self.compare and not config.overwrite and _is_there(job.slide)
        summary = store.made() if compares else {}
        if summary:
            changes = differences(summary, job.slide, store.out, config, self.models.get(config.model))
            if changes:
                raise ConfigError(
                    f"{store.out} holds a complete result made with other settings ({', '.join(changes)}): "
                    "add --overwrite to redo it, or choose another -o"
                )
            store.clear_up()
            write_missing(store.out, config)
            self.records.done(job, figures_of(summary), before=True)
            self.emit(SlideDone(job=job, summary=None))
            return False
        check_also(store.out, config)
        with open_isolated(job.slide, reader=config.reader, mpp=config.mpp) as slide:
            slide.require_mpp()
        return True

    def _work(self, on_event: Callable[[CohortEvent], None]) -> None:
        # A model that all slides share is loaded before any work: what is wrong with it is no slide's error.
        if any(job.model is None for job in self.queue):
            self.models.get(self.config.model)
        if len(self.queue) == 1:
            # On the caller's thread, so that Ctrl-C reaches it wherever it is.
            return self._worker()
        self._work_in_threads(on_event)

    def _work_in_threads(self, on_event: Callable[[CohortEvent], None]) -> None:
        """Slides on threads of their own; their events, and an error that is no slide's, come back to this one."""
        mail: SimpleQueue[CohortEvent | BaseException | None] = SimpleQueue()
        self.emit = mail.put

        def work() -> None:
            try:
                self._worker()
            except BaseException as error:
                mail.put(error)
            mail.put(None)

        count = min(SLIDES_IN_FLIGHT, len(self.queue))
        threads = [threading.Thread(target=work, name=f"wsinuc-slide-{i}", daemon=True) for i in range(count)]
        for thread in threads:
            thread.start()
        try:
            while count:
                item = mail.get()
                if item is None:
                    count -= 1
                elif isinstance(item, BaseException):
                    raise item
                else:
                    on_event(item)
        except BaseException:
            # Ctrl-C reaches the main thread alone; the others look at the event between two steps.
            self.stop.set()
            raise
        finally:
            for thread in threads:
                thread.join()

    def _worker(self) -> None:
        while not self.stop.is_set():
            try:
                job = self.queue.popleft()
            except IndexError:
                return
            self._guarded(job, self._segment)

    def _guarded(self, job: SlideJob, step: Callable[[SlideJob], bool]) -> bool:
        """What ``step`` returns; False when it failed, which is remembered and perhaps tried again."""
        try:
            return step(job)
        # _Stopped is no Exception, so that nothing below takes it for an error of the slide.
        except _Stopped:
            self.records.interrupted(job)
        except Exception as error:
            self._failed(job, error)
        except BaseException:
            self.records.interrupted(job)
            raise
        finally:
            # Whatever happened, or the other slides would wait for ever.
            self.turn.give(job)
        return False

    def _failed(self, job: SlideJob, error: Exception) -> None:
        self.tries[job.stem] += 1
        again = self.tries[job.stem] < self.attempts and not isinstance(error, _HOPELESS)
        if again:
            self.queue.append(job)
        elif not self.skip_errors:
            self.stop.set()
        self.records.failed(job, error)
        self.emit(SlideFailed(job=job, error=error, again=again))

    def _segment(self, job: SlideJob) -> bool:
        config = job.config(self.config)
        summary = segment.segment_slide(
            job.slide,
            job.folder(self.out),
            config,
            segmenter=self.models.get(config.model),
            executor=self.executor,
            on_event=lambda event: self._on_slide_event(job, event),
        )
        self.records.done(job, figures_of(dataclasses.asdict(summary)))
        self.emit(SlideDone(job=job, summary=summary))
        return True

    def _on_slide_event(self, job: SlideJob, event: Event) -> None:
        """Called on the slide's thread, between two of its steps."""
        if self.stop.is_set():
            raise _Stopped
        if isinstance(event, StageStarted) and event.name == "blocks":
            self.turn.take(job)
        elif (isinstance(event, BlockDone) and self.turn.is_over(event)) or isinstance(event, StageStarted):
            self.turn.give(job)
        # From here on the slide's lock is ours, and so is its state.
        if isinstance(event, Planned):
            self.records.running(job, event.blocks)
        self.emit(SlideProgress(job=job, event=event))


@dataclass(slots=True)
class _Turn:
    """Whose turn the blocks are: one slide's, until no more than ``tail`` of them are left."""

    stop: threading.Event
    tail: int
    _holder: SlideJob | None = None
    _free: threading.Condition = dataclasses.field(default_factory=threading.Condition)

    def take(self, job: SlideJob) -> None:
        """Wait for the turn."""
        with self._free:
            while self._holder is not None:
                # With a time-out, because nobody notifies when the run stops.
                self._free.wait(0.2)
                if self.stop.is_set():
                    raise _Stopped
            self._holder = job

    def give(self, job: SlideJob) -> None:
        """Pass the turn on, if ``job`` has it."""
        with self._free:
            if self._holder is job:
                self._holder = None
                self._free.notify_all()

    def is_over(self, event: BlockDone) -> bool:
        """Whether the blocks that are left do not fill the executor."""
        return event.total - event.done <= self.tail


class _Models:
    """Each model once, loaded when it is first needed."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._loaded: dict[PathLike, Segmenter] = {}
        self._lock = threading.Lock()

    def get(self, model: PathLike) -> Segmenter:
        """Raises CheckpointError or DeviceError."""
        # Under the lock: two slides that need one model at once load it once.
        with self._lock:
            if model not in self._loaded:
                self._loaded[model] = segmenters.load_segmenter(model, device=self._device)
            return self._loaded[model]

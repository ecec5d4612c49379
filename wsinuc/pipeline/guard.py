"""What surrounds a task inside a worker process: a limit in time, and knowing which tasks still run.

A task that hangs inside a decoder or a network file system cannot be interrupted by Python.
``faulthandler``'s own thread, which needs no interpreter lock, ends the whole process instead and
leaves the tracebacks in the worker's log; the nanny starts another process and the scheduler gives
the task to it.

A client that stops cancels its tasks, but those that run go on to their end. It asks ``end_run``
how many these are, and no task of that run begins afterwards: when there are none, the result's
folder is nobody's.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from wsinuc.errors import ClusterError

_lock = threading.Lock()
_running: Counter[str] = Counter()
_deadlines: dict[object, float] = {}
_ended: deque[str] = deque(maxlen=1000)


@dataclass(frozen=True, slots=True)
class Guarded:
    """A task with its run's name and its limit in seconds; what is sent to the workers."""

    task: Callable[[Any], Any]
    run: str
    limit_s: float | None

    def __dask_tokenize__(self) -> tuple[str, str]:
        # Unique, and at once: dask would pickle the task to find a name for it.
        return "wsinuc", self.run

    def __call__(self, item: Any) -> Any:
        """``task(item)``; the process ends when that takes longer than the limit."""
        with _counted(self.run), _limited(self.limit_s):
            return self.task(item)


def end_run(run: str) -> int:
    """Let no further task of ``run`` begin in this process; returns how many are still at work."""
    with _lock:
        if run not in _ended:
            _ended.append(run)
        return _running[run]


@contextmanager
def _counted(run: str) -> Iterator[None]:
    with _lock:
        if run in _ended:
            raise ClusterError("the client has stopped this run")
        _running[run] += 1
    try:
        yield
    finally:
        with _lock:
            _running[run] -= 1
            if not _running[run]:
                del _running[run]


@contextmanager
def _limited(limit_s: float | None) -> Iterator[None]:
    if limit_s is None:
        yield
        return
    me = object()
    with _lock:
        _deadlines[me] = time.monotonic() + limit_s
        _arm()
    try:
        yield
    finally:
        with _lock:
            del _deadlines[me]
            _arm()


def _arm() -> None:
    """Set the process' one alarm to the earliest deadline of its threads."""
    if _deadlines:
        # There is one alarm for the process: whichever thread begins or ends sets it to the next deadline of all.
        left = max(0.001, min(_deadlines.values()) - time.monotonic())
        faulthandler.dump_traceback_later(left, exit=True, file=sys.__stderr__ or 2)
    else:
        faulthandler.cancel_dump_traceback_later()

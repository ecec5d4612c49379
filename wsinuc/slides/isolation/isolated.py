"""Slides that a process of its own opens and decodes, so that one slide costs one slide.

The libraries that read slides are written in C, and a damaged or hostile file can make them abort,
loop, or take memory without end. ``open_isolated`` gives a ``Slide`` like any other, but what
touches the file runs in a reader process with limits on memory and time. When that dies, the slide
raises SlideError, now and at every later read; the process that asked goes on with the next slide.

Starting a reader process takes 0.2 s of CPU, so one that has served a slide well serves another. Its death is
then no proof against the slide it had last: only a fresh process that dies is.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc import errors
from wsinuc.errors import ReadError, SlideError, WsinucError
from wsinuc.grid import Box
from wsinuc.slides import check_reader, check_slide_file, open_slide
from wsinuc.slides.base import Slide, SlideHeader
from wsinuc.slides.isolation.messages import Connection, place_to_text
from wsinuc.typed_json import from_json
from wsinuc.urls import Place, Url, place

SPARE = 2
"""Reader processes that are kept for the next slide: as many as a cohort has slides in flight."""
# Each thread reserves address space, of which a process on a machine with many cores would run out.
_FEW_THREADS = {
    "MALLOC_ARENA_MAX": "4",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TIFFFILE_NUM_THREADS": "4",
}
_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from wsinuc.slides.isolation.reader_process import serve; serve(sys.argv[2:])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderLimits:
    """What a reader process may take before it is ended."""

    memory_bytes: int = 8 * 2**30
    """Address space. The largest plain image that is taken needs about half of it."""
    cpu_s: int = 120
    """CPU seconds for opening a slide, and for each read. A block of a slide takes less than one."""
    wall_s: float = 600.0
    """Seconds for the same, waiting for disks and networks included."""


def open_isolated(
    path: str | Place, *, reader: str = "auto", mpp: float | None = None, limits: ReaderLimits | None = None
) -> Slide:
    """The slide in a file, as ``open_slide`` gives it, opened and decoded by a process of its own.

    Parameters
    ----------
    path, reader, mpp
        As for ``open_slide``.
    limits
        Of the process; None takes the usual ones.

    Raises
    ------
    SlideError
        What ``open_slide`` raises; also when the reader process dies, or takes more than the limits.
    ConfigError, RemoteError, MppError
        As ``open_slide``.
    """
    where = place(path)
    if not hasattr(socket, "send_fds"):  # Windows
        return open_slide(where, reader=reader, mpp=mpp)
    check_reader(reader)
    check_slide_file(where)
    return IsolatedSlide(where, mpp=mpp, reader=reader, limits=limits or ReaderLimits())


class IsolatedSlide(Slide):
    """A slide whose file only a reader process touches; see ``open_isolated``."""

    reader = "isolated"

    def __init__(self, path: Place, *, mpp: float | None, reader: str, limits: ReaderLimits) -> None:
        self._asked, self._limits = reader, limits
        self._deaths: list[str] = []  # shared by duplicates: whoever comes later need not see it happen again
        super().__init__(path, mpp=mpp)

    def close(self) -> None:
        """Let go of the file; a reader process that served well stays for the next slide."""
        handle = self._handle
        super().close()
        if handle is not None:
            handle.close()

    def _describe(self) -> SlideHeader:
        session = self._acquire()
        self.reader = session.facts["reader"]  # type: ignore[misc]  # who reads is known only now
        self._asked = self.reader
        return from_json(SlideHeader, session.facts["header"], error=SlideError, subject="the reader's answer")

    def _open(self) -> _Session:
        self._refuse_if_dead()
        assert self.path is not None
        try:
            return _open_session(self.path, self._asked, self._limits)
        except _DiedError as death:
            raise self._died(f"{death} while opening it") from death

    def _read_inside(self, box: Box, level: int) -> NDArray[np.uint8]:
        self._refuse_if_dead()
        session = self._acquire()
        try:
            return session.read(box, level)
        except _DiedError as death:
            self._discard(session)
            if self._deaths or session.process.fresh:
                raise self._died(f"{death} while decoding {_where(box, level)}") from death
        return self._read_inside(box, level)  # in a fresh process, whose death would be the slide's fault

    def _decode(self, handle: Any, box: Box, level: int) -> NDArray[np.uint8]:
        return handle.read(box, level)

    def _refuse_if_dead(self) -> None:
        if self._deaths:
            raise SlideError(self._deaths[0])

    def _died(self, what: str) -> SlideError:
        self._deaths.append(f"{self.name}: {what}: the file is damaged or hostile; it is left out")
        return SlideError(self._deaths[0])


class _DiedError(Exception):
    """The reader process has ended; says how."""


class _Process:
    """A reader process, and the socket over which it takes connections."""

    def __init__(self, limits: ReaderLimits) -> None:
        self.limits = limits
        self.fresh = True
        self.surroundings = _surroundings()
        self._late = False
        ours, theirs = socket.socketpair()
        with theirs:
            self._popen = _start(theirs, limits)
        self._control = ours
        self.end = weakref.finalize(self, _end, self._popen, ours)

    def connect(self) -> Connection:
        """A connection of its own for one thread; raises _DiedError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(self._control, [b"c"], [theirs.fileno()])
            except OSError:
                raise self.death() from None
        connection = Connection(ours)
        connection.limit(self.limits.wall_s)
        return connection

    def ask(self, connection: Connection, question: dict[str, Any], into: memoryview | None = None) -> dict[str, Any]:
        """The answer to a question; raises what the reader raised, or _DiedError."""
        try:
            connection.send(question)
            answer = connection.receive(into)
        except TimeoutError:
            self._late = True
            raise self.death() from None
        except (EOFError, OSError, ValueError):
            raise self.death() from None
        if answer.get("error") == "MemoryError":
            self.end()
            raise _DiedError(f"the reader needs more than the {self.limits.memory_bytes / 2**30:.3g} GiB it may take")
        if "error" in answer:
            raise _error(answer)
        return answer

    def death(self) -> _DiedError:
        """How it ended, or that it is ended now."""
        try:
            code = self._popen.wait(0 if self._late else 5)
        except subprocess.TimeoutExpired:
            code = None
        self.end()
        return _DiedError(_how(code, self.limits))


class _Session:
    """A slide that is open in a reader process; threads ask over connections of their own."""

    def __init__(self, process: _Process, where: Place, reader: str) -> None:
        self.process = process
        self._idle: list[Connection] = []
        self._busy = 0
        self._lock = threading.Lock()
        question = {"ask": "open", "place": place_to_text(where), "url": isinstance(where, Url), "reader": reader}
        self.facts = self._ask(question)

    def read(self, box: Box, level: int) -> NDArray[np.uint8]:
        """Pixels of a box inside the level; raises ReadError, or _DiedError."""
        pixels = np.empty((*box.shape, 3), np.uint8)
        question = {"ask": "read", "box": [box.y0, box.x0, box.y1, box.x1], "level": level}
        answer = self._ask(question, pixels.data.cast("B"))
        if not answer["filled"]:
            raise ReadError(f"the reader sent no pixels of {_where(box, level)}")
        return pixels

    def close(self) -> None:
        """Give the process back, unless another thread still reads from it."""
        with self._lock:
            connections, self._idle = self._idle, []
            busy = self._busy
        try:
            if not busy and connections:
                self.process.ask(connections[-1], {"ask": "close"})
                _keep(self.process)
        except (_DiedError, WsinucError):
            self.process.end()
        for connection in connections:
            connection.close()

    def _ask(self, question: dict[str, Any], into: memoryview | None = None) -> dict[str, Any]:
        connection = self._take()
        try:
            answer = self.process.ask(connection, question, into)
        except WsinucError:
            self._give_back(connection)
            raise
        except BaseException:  # a Ctrl-C, say: half an answer may lie in it
            self._give_back(None)
            connection.close()
            raise
        self._give_back(connection)
        return answer

    def _take(self) -> Connection:
        with self._lock:
            connection = self._idle.pop() if self._idle else self.process.connect()
            self._busy += 1
        return connection

    def _give_back(self, connection: Connection | None) -> None:
        with self._lock:
            self._busy -= 1
            if connection is not None:
                self._idle.append(connection)


def _open_session(where: Place, reader: str, limits: ReaderLimits) -> _Session:
    """Raises what the reader raises, and _DiedError when a fresh process dies of the file."""
    process = _spare(limits) or _Process(limits)
    try:
        return _Session(process, where, reader)
    except _DiedError:
        if process.fresh:
            raise
    except WsinucError:
        process.end()
        raise
    return _Session(_Process(limits), where, reader)


_idle_processes: list[_Process] = []
_idle_lock = threading.Lock()


def _spare(limits: ReaderLimits) -> _Process | None:
    with _idle_lock:
        for process in _idle_processes:
            if process.limits == limits and process.surroundings == _surroundings():
                _idle_processes.remove(process)
                return process
    return None


def _surroundings() -> tuple[object, ...]:
    """What a process takes along when it starts: credentials, say; and whose it is, for a fork has none of ours."""
    return os.getpid(), dict(os.environ), tuple(sys.path)


def _keep(process: _Process) -> None:
    process.fresh = False
    with _idle_lock:
        if len(_idle_processes) < SPARE:
            _idle_processes.append(process)
            return
    process.end()


def _start(theirs: socket.socket, limits: ReaderLimits) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-c", _START, json.dumps([str(entry) for entry in sys.path])]
    environment = {**os.environ, **_FEW_THREADS}
    try:
        return subprocess.Popen(
            [*command, str(limits.memory_bytes), str(limits.cpu_s)],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # what C libraries say of hostile files goes to no terminal
            start_new_session=True,  # Ctrl-C is for the process that asks
            env=environment,
        )
    except OSError as error:
        raise SlideError(
            f"cannot start the process that reads slides ({error}): are there too many processes?"
        ) from error


def _end(popen: subprocess.Popen[bytes], control: socket.socket) -> None:
    control.close()
    popen.kill()
    popen.wait()


def _how(code: int | None, limits: ReaderLimits) -> str:
    if code is None:
        return f"the reader did not answer for {limits.wall_s:g} s"
    if code == -signal.SIGXCPU:
        return f"the reader took more than {limits.cpu_s} s of CPU"
    if code == -signal.SIGKILL:
        return "the reader was killed, most likely because memory ran out,"
    if code < 0:
        name = signal.strsignal(-code) or "unknown"
        return f"the reader ended with signal {-code} ({name.lower()})"
    return f"the reader ended with exit code {code}"


def _where(box: Box, level: int) -> str:
    return f"rows {box.y0}-{box.y1}, columns {box.x0}-{box.x1} of level {level}"


def _error(answer: dict[str, Any]) -> WsinucError:
    """The error that the reader raised, of the same kind and with the same text."""
    kind = getattr(errors, str(answer["error"]), SlideError)
    if not (isinstance(kind, type) and issubclass(kind, WsinucError)):
        kind = SlideError
    error = kind(str(answer["message"]))
    if answer["cause"]:
        error.__cause__ = SlideError(str(answer["cause"]))
    return error

"""Reader processes: started with limits on memory and time, asked questions, kept for the next slide.

Starting one takes 0.2 s of CPU, so one that has served a slide well, or refused it, serves another. Its death is then
no proof against the slide it had last: only a fresh process that dies is.
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

from wsinuc import errors
from wsinuc.errors import SlideError, WsinucError
from wsinuc.slides.isolation.messages import Connection

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


class DiedError(Exception):
    """The reader process has ended; says how."""


class ReaderProcess:
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
        """A connection of its own for one thread; raises DiedError."""
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
        """The answer to a question; raises what the reader raised, or DiedError."""
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
            raise DiedError(f"the reader needs more than the {self.limits.memory_bytes / 2**30:.3g} GiB it may take")
        if "error" in answer:
            raise _error(answer)
        return answer

    def death(self) -> DiedError:
        """How it ended, or that it is ended now."""
        try:
            # A process whose socket closed is about to end and says how; one that is late will not.
            code = self._popen.wait(0 if self._late else 5)
        except subprocess.TimeoutExpired:
            code = None
        self.end()
        return DiedError(_how(code, self.limits))


_idle: list[ReaderProcess] = []
_idle_lock = threading.Lock()


def spare_process(limits: ReaderLimits) -> ReaderProcess | None:
    """A process that has served before, with these limits and in these surroundings; None without one."""
    with _idle_lock:
        for process in _idle:
            if process.limits == limits and process.surroundings == _surroundings():
                _idle.remove(process)
                return process
    return None


def _surroundings() -> tuple[object, ...]:
    """What a process takes along when it starts: credentials, say; and whose it is, for a fork has none of ours."""
    return os.getpid(), dict(os.environ), tuple(sys.path)


def keep_process(process: ReaderProcess) -> None:
    """Let a process serve the next slide, or end it when enough are waiting."""
    process.fresh = False
    with _idle_lock:
        _let_go_of_strangers()
        if len(_idle) < SPARE:
            _idle.append(process)
            return
    process.end()


def _let_go_of_strangers() -> None:
    """Processes of other surroundings serve no slide any more, and would take the places of those that do."""
    here = _surroundings()
    for process in [process for process in _idle if process.surroundings != here]:
        _idle.remove(process)
        if process.surroundings[0] == here[0]:
            process.end()
        else:
            # After a fork it is another's, who goes on using it.
            process.end.detach()


def _start(theirs: socket.socket, limits: ReaderLimits) -> subprocess.Popen[bytes]:
    # -P: the current folder stays off the path, where a file named like a module would be run.
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


def _error(answer: dict[str, Any]) -> WsinucError:
    """The error that the reader raised, of the same kind and with the same text."""
    # The name comes from a process that a hostile file may have taken over: nothing but our own errors is made.
    kind = getattr(errors, str(answer["error"]), SlideError)
    if not (isinstance(kind, type) and issubclass(kind, WsinucError)):
        kind = SlideError
    error = kind(str(answer["message"]))
    if answer["cause"]:
        error.__cause__ = SlideError(str(answer["cause"]))
    return error

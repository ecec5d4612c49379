"""A process that opens and decodes slides for another one, with little memory and time.

``isolated`` starts it. It takes connections over the socket that is its standard input, serves each
on a thread of its own, and ends when that socket closes. It has one slide at a time, and whatever C
libraries do with it (abort, loop, take memory without end) ends this process and nothing else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import signal
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsinuc.errors import WsinucError
from wsinuc.grid import Box
from wsinuc.slides import open_slide
from wsinuc.slides.base import Slide, one_line
from wsinuc.slides.isolation.messages import Connection, text_to_place

STACK_BYTES = 8 * 2**20
"""Stack of a thread; some batch systems give each a gigabyte of address space."""
FIRST_TO_GO = "1000"
"""For the kernel when memory runs out: this process, before the one that holds hours of work."""


def serve(arguments: Sequence[str]) -> None:
    """Answer until the other side has gone. Arguments: bytes of memory, seconds of CPU per question."""
    memory_bytes, cpu_s = (int(text) for text in arguments)
    control = _take_standard_input()
    threading.stack_size(STACK_BYTES)
    _limit_memory(memory_bytes)
    desk = _Desk(cpu_s)
    while True:
        _, handles, _, _ = socket.recv_fds(control, 1, 1)
        if not handles:
            os._exit(0)  # threads may hang in a decoder
        connection = Connection(socket.socket(fileno=handles[0]))
        threading.Thread(target=desk.answer, args=(connection,), daemon=True).start()


def _take_standard_input() -> socket.socket:
    """The socket that lies there; the terminal's and the batch system's signals are the other side's business."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Nothing that a decoder starts or reads may find the socket as its standard input.
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    return control


def _limit_memory(memory_bytes: int) -> None:
    # Gigabytes of core dump for every damaged slide.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY:
        wanted = memory_bytes
    else:
        wanted = min(memory_bytes, most)
    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (wanted, most))
    with contextlib.suppress(OSError):  # Linux only
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)


class _Desk:
    """One slide, and the questions about it."""

    def __init__(self, cpu_s: int) -> None:
        self._cpu_s = cpu_s
        self._slide: Slide | None = None

    def answer(self, connection: Connection) -> None:
        """Answer the questions of one connection until it closes."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                question = connection.receive()
                self._renew_cpu()
                answer, pixels = self._reply(question)
                connection.send(answer, pixels)

    def _renew_cpu(self) -> None:
        """Whoever asks nothing more does not leave a loop behind."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        _, most = resource.getrlimit(resource.RLIMIT_CPU)
        limit = int(used.ru_utime + used.ru_stime) + self._cpu_s
        if most == resource.RLIM_INFINITY or limit < most:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, most))

    def _reply(self, question: dict[str, Any]) -> tuple[dict[str, Any], memoryview | bytes]:
        try:
            if question["ask"] == "open":
                return self._open(question), b""
            if question["ask"] == "read":
                return {}, self._read(question)
            self._close()
            return {}, b""
        except Exception as error:
            return _describe(error), b""

    def _open(self, question: dict[str, Any]) -> dict[str, Any]:
        self._close()
        if question["folder"] is not None:
            os.chdir(question["folder"])
        path = text_to_place(question["place"], url=question["url"])
        self._slide = open_slide(path, reader=question["reader"])
        return {"reader": self._slide.reader, "header": dataclasses.asdict(self._slide.header)}

    def _read(self, question: dict[str, Any]) -> memoryview:
        assert self._slide is not None
        pixels = self._slide.read(Box(*question["box"]), question["level"])
        return np.ascontiguousarray(pixels).data.cast("B")

    def _close(self) -> None:
        slide = self._slide
        self._slide = None
        if slide is not None:
            slide.close()


def _describe(error: Exception) -> dict[str, Any]:
    """An error as data; the other side makes the same of it."""
    if isinstance(error, MemoryError):
        return {"error": "MemoryError", "message": "", "cause": None}
    if isinstance(error, WsinucError):
        kind = type(error).__name__
        message = str(error)
    else:
        kind = "SlideError"
        message = one_line(error)
    cause = None
    if error.__cause__ is not None:
        cause = one_line(error.__cause__)
    return {"error": kind, "message": message, "cause": cause}

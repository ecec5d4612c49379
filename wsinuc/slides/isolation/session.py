"""A slide that is open in a reader process, asked by any number of threads."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import ReadError, WsinucError
from wsinuc.grid import Box
from wsinuc.slides.isolation.messages import Connection, place_to_text
from wsinuc.slides.isolation.processes import DiedError, ReaderLimits, ReaderProcess, keep_process, spare_process
from wsinuc.urls import Place, Url


class Session:
    """A slide that is open in a reader process; threads ask over connections of their own."""

    def __init__(self, process: ReaderProcess, where: Place, reader: str) -> None:
        self.process = process
        self._idle: list[Connection] = []
        self._busy = 0
        self._lock = threading.Lock()
        question = {
            "ask": "open",
            "place": place_to_text(where),
            "url": isinstance(where, Url),
            "folder": _folder_of(where),
            "reader": reader,
        }
        try:
            self.facts = self._ask(question)
        except WsinucError:
            self._let_go(self._idle)
            raise

    def read(self, box: Box, level: int) -> NDArray[np.uint8]:
        """Pixels of a box inside the level; raises ReadError, or DiedError."""
        pixels = np.empty((*box.shape, 3), np.uint8)
        question = {"ask": "read", "box": [box.y0, box.x0, box.y1, box.x1], "level": level}
        answer = self._ask(question, pixels.data.cast("B"))
        # The array was made empty: without pixels from the reader it holds whatever lay in memory.
        if not answer["filled"]:
            raise ReadError(f"the reader sent no pixels of {box_in_words(box, level)}")
        return pixels

    def close(self) -> None:
        """Give the process back, unless another thread still reads from it."""
        with self._lock:
            connections = self._idle
            self._idle = []
            busy = self._busy
        try:
            if not busy and connections:
                self.process.ask(connections[-1], {"ask": "close"})
                keep_process(self.process)
        except (DiedError, WsinucError):
            self.process.end()
        self._let_go(connections)

    @staticmethod
    def _let_go(connections: list[Connection]) -> None:
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
            if self._idle:
                connection = self._idle.pop()
            else:
                connection = self.process.connect()
            self._busy += 1
        return connection

    def _give_back(self, connection: Connection | None) -> None:
        with self._lock:
            self._busy -= 1
            if connection is not None:
                self._idle.append(connection)


def open_session(where: Place, reader: str, limits: ReaderLimits) -> Session:
    """The slide open in a process that has served before, or in a fresh one.

    Raises
    ------
    WsinucError
        What the reader raises for the file.
    DiedError
        A fresh process died of the file.
    """
    # A process that has served before saves starting another.
    process = spare_process(limits) or ReaderProcess(limits)
    try:
        return Session(process, where, reader)
    except DiedError:
        if process.fresh:
            raise
    except WsinucError:  # it refused the file, and serves the next one
        keep_process(process)
        raise
    # An old process may have died of an earlier slide; a fresh one decides whether this one is to blame.
    return Session(ReaderProcess(limits), where, reader)


def _folder_of(where: Place) -> str | None:
    """Where a relative path starts: the process may have begun in another folder."""
    if isinstance(where, Url) or where.is_absolute():
        return None
    return os.getcwd()


def box_in_words(box: Box, level: int) -> str:
    """What messages call a box of a level."""
    return f"rows {box.y0}-{box.y1}, columns {box.x0}-{box.x1} of level {level}"

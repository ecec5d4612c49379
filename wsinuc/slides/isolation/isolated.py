"""Slides that a process of its own opens and decodes, so that one slide costs one slide.

The libraries that read slides are written in C, and a damaged or hostile file can make them abort,
loop, or take memory without end. ``open_isolated`` gives a ``Slide`` like any other, but what
touches the file runs in a reader process with limits on memory and time. When that dies, the slide
raises SlideError, now and at every later read; the process that asked goes on with the next slide.
"""

from __future__ import annotations

import os
import socket

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import SlideError
from wsinuc.grid import Box
from wsinuc.slides import check_reader, check_slide_file, open_slide
from wsinuc.slides.base import Slide, SlideHeader
from wsinuc.slides.isolation.processes import DiedError, ReaderLimits
from wsinuc.slides.isolation.session import Session, box_in_words, open_session
from wsinuc.typed_json import from_json
from wsinuc.urls import Place, PlaceLike, to_place


def open_isolated(
    path: PlaceLike, *, reader: str = "auto", mpp: float | None = None, limits: ReaderLimits | None = None
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
    where = to_place(path)
    if not hasattr(socket, "send_fds"):  # Windows
        return open_slide(where, reader=reader, mpp=mpp)
    check_reader(reader)
    check_slide_file(where)
    return IsolatedSlide(where, mpp=mpp, reader=reader, limits=limits or ReaderLimits())


class IsolatedSlide(Slide):
    """A slide whose file only a reader process touches; see ``open_isolated``."""

    reader = "isolated"

    def __init__(self, path: Place, *, mpp: float | None, reader: str, limits: ReaderLimits) -> None:
        self._asked = reader
        self._limits = limits
        # Shared by duplicates: whoever comes later need not see it happen again.
        self._deaths: list[str] = []
        super().__init__(path, mpp=mpp)

    def close(self) -> None:
        """Let go of the file; a reader process that served well stays for the next slide."""
        handle = self._handle
        super().close()
        # In a fork the reader process is the parent's, who may be reading from it.
        if handle is not None and self._process == os.getpid():
            handle.close()

    def _describe(self) -> SlideHeader:
        session: Session = self._acquire()
        self.reader = session.facts["reader"]  # type: ignore[misc]  # who reads is known only now
        self._asked = self.reader
        return from_json(SlideHeader, session.facts["header"], error=SlideError, subject="the reader's answer")

    def _open(self) -> Session:
        self._refuse_if_dead()
        assert self.path is not None
        try:
            return open_session(self.path, self._asked, self._limits)
        except DiedError as death:
            raise self._died(f"{death} while opening it") from death

    def _read_inside(self, box: Box, level: int) -> NDArray[np.uint8]:
        self._refuse_if_dead()
        session: Session = self._acquire()
        try:
            return session.read(box, level)
        except DiedError as death:
            self._discard(session)
            # A process that served other slides may have died of what those left behind.
            if self._deaths or session.process.fresh:
                raise self._died(f"{death} while decoding {box_in_words(box, level)}") from death
        # Once more in a fresh process, whose death would be the slide's fault.
        return self._read_inside(box, level)

    def _decode(self, handle: Session, box: Box, level: int) -> NDArray[np.uint8]:
        return handle.read(box, level)

    def _refuse_if_dead(self) -> None:
        if self._deaths:
            raise SlideError(self._deaths[0])

    def _died(self, what: str) -> SlideError:
        self._deaths.append(f"{self.name}: {what}: the file is damaged or hostile; it is left out")
        return SlideError(self._deaths[0])

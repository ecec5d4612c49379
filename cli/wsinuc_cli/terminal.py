"""What commands print goes through here: names and texts from files cannot steer a terminal or forge a line.

What is no character to be shown is written out, as ``\\x1b`` or ``\\u202e`` (``wsinuc.shown``).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO

import click

from wsinuc.shown import shown


def as_text(lines: Iterable[object]) -> str:
    """Lines as one text for ``echo_text``; each stays one line."""
    return "\n".join(shown(line) for line in lines)


def echo(line: object = "", *, err: bool = False) -> None:
    """Print one line, on stderr if wanted."""
    _write(shown(line), err=err)


def echo_text(text: str, *, err: bool = False) -> None:
    """Print several lines: a text made by ``as_text``, or one in which a forged line does no harm."""
    _write(shown(text, keep="\n\t"), err=err)


def echo_json(value: Any) -> None:
    """Print JSON for programs, in ASCII."""
    text = json.dumps(value, indent=2, default=str)
    _write(text.replace("\x7f", "\\u007f"), err=False)


def _write(text: str, *, err: bool) -> None:
    try:
        # click would look below a live display for the terminal itself, and write into the midst of its bars.
        click.echo(text, file=_live_display(err), err=err)
    except BrokenPipeError:
        # Nobody listens any more. The work goes on all the same, and later lines must not fail, either.
        stream = sys.stderr if err else sys.stdout
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_RDWR), stream.fileno())


def _live_display(err: bool) -> TextIO | None:
    """What stands in for a standard stream while rich draws bars: it prints above them; else None."""
    # Commands that draw no bars do not import it.
    module = sys.modules.get("rich.file_proxy")
    stream = sys.stderr if err else sys.stdout
    drawn_over = module is not None and isinstance(stream, module.FileProxy)
    return stream if drawn_over else None


class LogHandler(logging.Handler):
    """Messages of logs go through here, too, so that they stand above bars."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message on stderr."""
        try:
            _write(self.format(record), err=True)
        except Exception:
            self.handleError(record)


class LogFormatter(logging.Formatter):
    """Messages of logs on one line each, tracebacks on theirs."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The message, written out."""
        return shown(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        """The traceback, written out but for its lines."""
        return shown(super().formatException(ei), keep="\n\t")


def open_closed_streams() -> None:
    """Give standard streams that are closed to nobody: else the next file that is opened would take their place.

    Python leaves ``sys.stdout`` None then, and what is printed, also by libraries, would end up in a result.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            _give_to_nobody(number)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _give_to_nobody(number: int) -> None:
    descriptor = os.open(os.devnull, os.O_RDWR)
    if descriptor != number:
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.set_inheritable(number, True)

"""What commands print goes through here: names and texts from files cannot steer a terminal or forge a line.

File names, headers of slides, class names and messages of other libraries may hold escape sequences, carriage returns or
marks that turn the direction of text. All of these are shown as ``\\x1b`` or ``\\u202e``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import unicodedata
from collections.abc import Iterable
from typing import Any

import click

_JOINERS = "\u200c\u200d"  # hold emoji and letters of some scripts together
_UNSHOWN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def escaped(text: object, keep: str = "") -> str:
    """Text on one line, with everything that a terminal would obey instead of show written out.

    Parameters
    ----------
    keep
        Control characters that stay what they are.

    Examples
    --------
    >>> print(escaped("a\\x1b[2Jb\\nc\\u202e"), escaped("sl\\udcffide.png"))
    a\\x1b[2Jb\\nc\\u202e sl\\xffide.png
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(char if char in keep or _is_shown(char) else _written_out(char) for char in shown)


def _is_shown(char: str) -> bool:
    return char in _JOINERS or unicodedata.category(char) not in _UNSHOWN


def _written_out(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def as_text(lines: Iterable[object]) -> str:
    """Lines as one text for ``echo_text``; each stays one line."""
    return "\n".join(escaped(line) for line in lines)


def echo(line: object = "", *, err: bool = False) -> None:
    """Print one line, on stderr if wanted."""
    _write(escaped(line), err=err)


def echo_text(text: str, *, err: bool = False) -> None:
    """Print several lines: a text made by ``as_text``, or one in which a forged line does no harm."""
    _write(escaped(text, keep="\n\t"), err=err)


def echo_json(value: Any) -> None:
    """Print JSON for programs, in ASCII."""
    text = json.dumps(value, indent=2, default=str)
    _write(text.replace("\x7f", "\\u007f"), err=False)


def _write(text: str, *, err: bool) -> None:
    try:
        click.echo(text, err=err)
    except BrokenPipeError:  # nobody listens any more; the work goes on all the same
        stream = sys.stderr if err else sys.stdout
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_RDWR), stream.fileno())


class LogFormatter(logging.Formatter):
    """Messages of logs on one line each, tracebacks on theirs."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The message, written out."""
        return escaped(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        """The traceback, written out but for its lines."""
        return escaped(super().formatException(ei), keep="\n\t")


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
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    os.set_inheritable(number, True)

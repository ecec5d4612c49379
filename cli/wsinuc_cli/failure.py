"""The end of a command that fails: one line on stderr, exit code 1, a traceback only on request."""

from __future__ import annotations

import errno
import logging
import traceback
from typing import Any

import click

from wsinuc.errors import WsinucError
from wsinuc.urls import redact
from wsinuc_cli.terminal import echo, echo_text

_REFUSALS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space, or choose another place"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "choose a place that you may read and write"),
}
"""What a file system says, and what to do."""


class Failure(click.ClickException):
    """Ends the program with one line on stderr and exit code 1."""

    def show(self, file: Any = None) -> None:
        """Print ``error: message``."""
        echo(f"error: {self.format_message()}", err=True)


def describe_error(error: BaseException) -> str:
    """One line for the user; the traceback too, on stderr, when ``-v`` is on and the error is none of ours."""
    text = redact(" ".join(str(error).split()))
    if isinstance(error, WsinucError):
        return text
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        # A log, a folder: nothing that is wrong with wsinuc, and nothing to report.
        subject = error.filename or "a file"
        return f"{redact(str(subject))}: {error.strerror}: {_REFUSALS[error.errno]}"
    if logging.getLogger("wsinuc").isEnabledFor(logging.DEBUG):
        echo_text(redact("".join(traceback.format_exception(error))), err=True)
        return f"unexpected {type(error).__name__}: {text}"
    return f"unexpected {type(error).__name__}: {text} (run with -v for the traceback, and please report it)"

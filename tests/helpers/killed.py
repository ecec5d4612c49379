"""Writes that end in their middle: in a process of its own, by the kernel, at the same byte each time.

The kernel ends a process that writes beyond the largest size that a file may have (RLIMIT_FSIZE), whatever library
writes, and a process that ignores the signal for it is refused as by a full disk. What a name is given at the end is
counted, so that a process can be ended right before it or right after.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import click

from wsinuc import durable
from wsinuc.errors import WsinucError
from wsinuc_cli.failure import describe_error

Work = Callable[[], object]
DONE = 0
REFUSED = 3
"""Exit code of a process whose work has raised."""
NAMED = 9
"""Exit code of a process that was ended at a rename."""
PATIENCE_S = 240
"""For what takes a fraction of a second on a machine that has nothing else to do."""


@dataclass(frozen=True)
class End:
    """How a process has ended."""

    code: int
    """Exit code, or the signal with a minus sign."""
    message: str
    """What it would have told its user, or the traceback of what no user should see."""


def in_child(work: Work, prepare: Work = lambda: None) -> End:
    """Do work in a process of its own, after it has prepared itself for its end."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = DONE
        try:
            # A library that does not survive the fork is an error and no test without an end. The handler of
            # pytest-timeout, inherited, would wait for an interpreter that the library does not come back to.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(PATIENCE_S)
            prepare()
            work()
        except BaseException as error:
            code = REFUSED
            os.write(writer, _message(error).encode())
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        message = stream.read().decode()
    return End(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), message)


def _message(error: BaseException) -> str:
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, (WsinucError, OSError)):
        return describe_error(error)
    return traceback.format_exc()


def killed_beyond(size: int) -> None:
    """End this process when a file of it grows beyond ``size`` bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def refused_beyond(size: int) -> None:
    """Refuse to let a file of this process grow beyond ``size`` bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def killed_at_name(number: int, *, after: bool) -> None:
    """End this process at the rename of this number, counted from 1, before or after it is done."""
    left = number

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if left == 0 and not after:
                os._exit(NAMED)
            done = function(*arguments, **options)
            if left == 0:
                os._exit(NAMED)
            return done

        return call

    os.replace = counted(os.replace)
    durable.exchange = counted(durable.exchange)  # type: ignore[assignment]


def without_rights() -> None:
    """Let folders that nobody may write to be closed to this process, too, when it is the administrator's."""
    libc = ctypes.CDLL(None, use_errno=True)
    # capset(2), version 3, this process: no capability at all.
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    if libc.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "capset")

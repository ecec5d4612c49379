"""Whether a path that a user or a table names is a file that may be opened: looked at, never opened.

Opening a named pipe waits for ever, reading ``/dev/zero`` never ends, and opening some devices does
something. So whatever reads a file that somebody named asks here first.
"""

from __future__ import annotations

import stat
from pathlib import Path

from wsinuc.errors import DataError, OutputError, WsinucError

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def require_regular(path: Path, error: type[WsinucError] = DataError) -> None:
    """Raise ``error`` unless the path leads to an ordinary file.

    Parameters
    ----------
    path
        Symbolic links are followed.
    error
        What to raise: the kind of error that the caller's own reading raises.

    Examples
    --------
    >>> require_regular(Path("/dev/null"))
    Traceback (most recent call last):
    wsinuc.errors.DataError: /dev/null is a device: expected a file
    """
    try:
        refuse_special(path, error)
    except FileNotFoundError:
        raise error(f"{path}: no such file") from None
    except (OSError, ValueError) as reason:  # ValueError: a NUL in the name
        if isinstance(reason, WsinucError):
            raise
        raise error(f"{path} cannot be read ({getattr(reason, 'strerror', None) or reason})") from reason


def refuse_special(path: Path, error: type[WsinucError] = DataError) -> None:
    """Raise ``error`` for a directory, pipe, socket or device; OSError for what is not there or cannot be seen."""
    mode = path.stat().st_mode
    for is_kind, name in _KINDS:
        if is_kind(mode):
            raise error(f"{path} is {name}: expected a file")


def require_parent(path: Path) -> None:
    """Raise OutputError unless the folder that is to hold ``path`` exists: checked before hours of work.

    Examples
    --------
    >>> require_parent(Path("/no/such/model.safetensors"))
    Traceback (most recent call last):
    wsinuc.errors.OutputError: cannot write /no/such/model.safetensors: there is no folder /no/such, make it first
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {folder}, make it first")


def make_folder(path: Path) -> None:
    """Make a folder for what is written, with those above it; raises OutputError where something else is there.

    Examples
    --------
    >>> make_folder(Path("/dev/null"))
    Traceback (most recent call last):
    wsinuc.errors.OutputError: cannot write into /dev/null (it is no folder): choose another one
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            reason = "it is no folder"
        raise OutputError(f"cannot write into {path} ({reason}): choose another one") from error

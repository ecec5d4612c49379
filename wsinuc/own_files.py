"""Files of our own in folders where others may write, too: created anew, and never written through a link.

Whoever may write to a folder can put a symbolic link, a pipe or a folder where a program is about to write its
own file. A plain ``open`` for writing follows the link and destroys what it points to. So files are created
here, never opened: what lies under the name is removed first (a link itself, not what it points to) and the new
file must be the first of its name. A rename over a link replaces the link, so a file that is written elsewhere
and then renamed needs no more than that.

Until it is whole, a file lies beside its name under one that no other writer has. The usual ones belong to the file
and to this machine, ``<name>.<machine>-0.partial`` and so on, so that what a killed process has left is cleared away by
whoever writes the same file here next. A writer holds a lock (``flock``) on its partial file, which the system takes
back whatever becomes of the process. So a partial file without a lock is one that nobody writes any more. One that is
locked belongs to a writer at work: then the next name is taken, both files become whole, and the last one to get the
name keeps it. Locks are asked within one machine alone, because many file systems of clusters do not carry them from
one to the other. Where all usual names are in use, on file systems without such locks and on Windows a random name is
taken; a killed process then leaves its partial file.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from wsinuc.errors import OutputError
from wsinuc.regular import require_parent, require_regular

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PARTIAL = ".partial"
"""Ending of a file that is being written."""

# Systems without these flags have no such links either, or leave them to administrators.
_PLAIN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | _PLAIN
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
_BUFFER = 1 << 20
_RANDOM_BYTES = 8
_MACHINE_DIGITS = 8
_USUAL = 4
"""Writers of one file that have a usual name at once."""
_MARK = b"wsinuc"  # checkpoints, splits, maps and contact sheets have it in their headers
_HEAD = 4096  # first bytes of a file, in which the mark stands
_LONGEST_NAME = 255
"""Bytes that file systems allow a name."""
_LONGEST = 220
"""Bytes of a name that leave room for what is added to it."""


def create(path: Path) -> BinaryIO:
    """Open a new file for writing bytes; what lay there is removed.

    Raises
    ------
    OutputError
        A folder lies there.
    OSError
        The file cannot be created.
    """
    _clear(path)
    return _create_new(path)


@contextmanager
def partial_file(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside ``path`` and its stream, which is the caller's to close; nobody else writes it meanwhile.

    Raises
    ------
    OutputError
        A folder lies under the usual name.
    OSError
        The file cannot be created.
    """
    # All are looked at, so that nothing of killed processes is left.
    free = [each for each in usual_names(path) if _is_free(each)]
    stream = None
    if free:
        partial = free[0]
        stream = _claim(partial)
    if stream is None:
        partial = beside(path)
        stream = create(partial)
    # A second descriptor of the open file keeps its lock when the stream is closed, until the file has its name.
    lock = os.dup(stream.fileno())
    try:
        yield partial, stream
    finally:
        os.close(lock)


def usual_names(path: Path) -> list[Path]:
    """The names that partial files of ``path`` have on this machine, one for each of the first writers."""
    # As a hash, because names of machines may be long, and those of files may not.
    machine = hashlib.sha256(os.fsencode(socket.gethostname())).hexdigest()[:_MACHINE_DIGITS]
    return [path.with_name(f"{_beginning(path)}.{machine}-{number}{PARTIAL}") for number in range(_USUAL)]


def _claim(path: Path) -> BinaryIO | None:
    """A new, locked file of this name; None while another writer has it, or where nobody could tell."""
    try:
        stream = _create_new(path)
    except FileExistsError:  # another writer was quicker
        return None
    if _lock(stream.fileno()) and _is_at(path, stream.fileno()):
        return stream
    # Here no file is locked, or another writer took this one for abandoned in the moment before it was.
    with suppress(OSError):
        if _is_at(path, stream.fileno()):
            path.unlink()
    stream.close()
    return None


def _is_free(path: Path) -> bool:
    """Whether nothing lies under the name, after what a killed process has left there is removed."""
    if fcntl is None:
        return False
    kind = what_is(path)
    if not kind:
        return True
    if kind != "file":
        # Links and pipes are none of ours.
        _clear(path)
        return True
    try:
        descriptor = os.open(path, os.O_RDWR | _NO_LINK | _NO_WAIT)
    except FileNotFoundError:  # it has got its final name
        return True
    except OSError:  # another user's
        return False
    try:
        # Under the lock nobody else removes it, so the name still means this file.
        if not (_lock(descriptor) and _is_at(path, descriptor)):
            return False
        path.unlink(missing_ok=True)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _lock(descriptor: int) -> bool:
    """Lock an open file until its last descriptor is closed; False where another has, or the file system cannot."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether a name still means the open file."""
    try:
        return os.path.samestat(os.lstat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _create_new(path: Path) -> BinaryIO:
    # "x" fails at a link, too, even at one that points nowhere.
    return open(path, "xb", buffering=_BUFFER)


def append(path: Path) -> BinaryIO:
    """Open a file, new or there already, for adding bytes at its end.

    Raises
    ------
    OutputError
        What lies there is a symbolic link, no file, or a file of several names (hard links).
    OSError
        The file cannot be opened.
    """
    check_file(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_LINK | _NO_WAIT, 0o666)
    return os.fdopen(descriptor, "ab")


def read(path: Path, *, follow: bool = False, limit: int | None = None) -> bytes:
    """The content of a file, with ``follow`` also through links; a pipe is never waited for.

    Raises
    ------
    OSError
        There is no such file, something else lies there, or it holds more than ``limit`` bytes.
    """
    flags = _PLAIN if follow else _NO_LINK
    descriptor = os.open(path, os.O_RDONLY | flags | _NO_WAIT)
    with os.fdopen(descriptor, "rb") as file:
        # Asked of the descriptor: whatever lay under the name a moment ago, this is what will be read.
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no file")
        if limit is not None and os.fstat(descriptor).st_size > limit:
            raise OSError(f"{path} holds more than {limit} bytes")
        return file.read()


def beside(path: Path) -> Path:
    """A name in the folder of ``path`` that nobody can guess, for what will take its place."""
    return path.with_name(f"{_beginning(path)}.{secrets.token_hex(_RANDOM_BYTES)}{PARTIAL}")


def named_beside(path: Path) -> list[Path]:
    """What lies in the folder of ``path`` under a name that `beside` has given, for it or for a name as long."""
    pattern = re.compile(rf"{re.escape(_beginning(path))}\.[0-9a-f]{{{2 * _RANDOM_BYTES}}}{re.escape(PARTIAL)}")
    return sorted(each for each in path.parent.iterdir() if pattern.fullmatch(each.name))


def _beginning(path: Path) -> str:
    """A file's name, cut off where nothing could be added to it."""
    # File systems count bytes, not characters.
    return os.fsdecode(os.fsencode(path.name)[:_LONGEST])


def check_file(path: Path) -> None:
    """Raise OutputError unless ``path`` is a plain file of one name, or not there."""
    kind = what_is(path)
    if kind not in ("", "file"):
        raise OutputError(
            f"{path} is a {kind} and not a file of wsinuc, so nothing is written there: remove it, or choose "
            "another place"
        )


def check_folder(path: Path) -> None:
    """Raise OutputError unless ``path`` is a folder itself, no link to one, or not there."""
    kind = what_is(path)
    if kind not in ("", "folder"):
        raise OutputError(
            f"{path} is a {kind} where wsinuc keeps a folder of its own, so nothing is written there: "
            "remove it, or choose another place"
        )


def check_place(path: Path, is_ours: Callable[[bytes], bool] = lambda head: _MARK in head) -> None:
    """Raise OutputError unless a command may write the file that its user names: nothing of value is lost there.

    Parameters
    ----------
    path
        The folder that is to hold it must be there, and be none of a result. What lies there already is replaced only
        if it is empty or a file of wsinuc.
    is_ours
        Tells a file of wsinuc by its first bytes.
    """
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder, and the name of a file in it is expected")
    check_outside_results(path)
    require_parent(path)
    if not path.exists():
        return
    require_regular(path, OutputError)
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head and not is_ours(head):
        raise OutputError(
            f"{path} is there already and no file that this command writes, so it is not replaced: choose another "
            "name, or remove it"
        )


def check_length(path: Path) -> None:
    """Raise OutputError for a name that is longer than file systems allow."""
    length = len(os.fsencode(path.name))
    if length > _LONGEST_NAME:
        raise OutputError(
            f"{path} cannot be written: its name has {length} bytes, file systems allow {_LONGEST_NAME}: choose a "
            "shorter one, or rename the slide"
        )


def check_outside_results(path: Path) -> None:
    """Raise OutputError for a path in a finished result: its files are sealed, and another one makes it damaged."""
    for folder in path.resolve().parents:
        if folder.name.endswith(".wsinuc") and (folder / "summary.json").exists():
            raise OutputError(f"{path} lies in the result {folder.name}, whose files are sealed: choose another name")


def what_is(path: Path) -> str:
    """What lies there, links not followed: "file", "folder", "symbolic link", ...; empty where nothing does.

    Raises
    ------
    OSError
        The folder cannot be looked into.
    """
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    return kind_of(status)


def kind_of(status: os.stat_result) -> str:
    """What a status from ``lstat`` describes, in words."""
    if stat.S_ISLNK(status.st_mode):
        return "symbolic link"
    if stat.S_ISDIR(status.st_mode):
        return "folder"
    if not stat.S_ISREG(status.st_mode):
        return "pipe, socket or device"
    if status.st_nlink > 1:
        return "hard link to a file elsewhere"
    return "file"


def _clear(path: Path) -> None:
    """Remove what lies there, a link itself and not what it points to; raises OutputError for a folder."""
    kind = what_is(path)
    if kind == "folder":
        raise OutputError(
            f"{path} is a folder where wsinuc writes a file of its own: remove it, or choose another place"
        )
    if kind:
        path.unlink(missing_ok=True)

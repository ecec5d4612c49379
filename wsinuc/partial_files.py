"""Where a file is written until it is whole: beside it, under a name that no other writer has.

The usual name belongs to the file and to this machine, ``<name>.<machine>.partial``, so that what a killed process has
left is cleared away by whoever writes the same file here next. A writer holds a lock (``flock``) on its partial file,
which the system takes back whatever becomes of the process. So a partial file without a lock is one that nobody writes
any more. One that is locked belongs to a writer at work: then a random name is taken instead, both files become whole,
and the last one to get the name keeps it. Locks are asked within one machine alone, because many file systems of
clusters do not carry them from one to the other.

File systems without such locks, and Windows, have random names alone; there a killed process leaves its partial file.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from wsinuc import own_files

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PARTIAL = ".partial"
"""Ending of a file that is being written."""
_DIGITS = 8


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
    partial = usual_name(path)
    stream = _claim(partial)
    if stream is None:
        partial = own_files.beside(path)
        stream = own_files.create(partial)
    # A second descriptor of the open file keeps its lock when the stream is closed, until the file has its name.
    lock = os.dup(stream.fileno())
    try:
        yield partial, stream
    finally:
        os.close(lock)


def usual_name(path: Path) -> Path:
    """The name that a partial file of ``path`` has on this machine, unless another writer has it."""
    # As a hash, because names of machines may be long, and those of files may not.
    machine = hashlib.sha256(os.fsencode(socket.gethostname())).hexdigest()[:_DIGITS]
    return path.with_name(f"{own_files.beginning(path)}.{machine}{PARTIAL}")


def _claim(path: Path) -> BinaryIO | None:
    """A new, locked file of this name; None while another writer has it, or where nobody could tell."""
    if fcntl is None:
        return None
    if not _is_free(path):
        return None
    try:
        stream = own_files.create_new(path)
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
    if own_files.what_is(path) != "file":
        # Links and pipes are none of ours.
        own_files.clear(path)
        return True
    try:
        descriptor = own_files.open_plain(path, os.O_RDWR)
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

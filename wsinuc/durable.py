"""Files that survive a power cut: content reaches the disk before the name that promises it.

A rename is atomic for whoever looks, but after a power cut a disk may know the new name and not the
content, or have lost the name of a file whose content it has. So a file is synced before it is
renamed, and its folder after that. Whatever says that something is done (a ledger entry, a summary)
is written only after that has returned.

Not every file system can sync a folder, and some network mounts cannot sync at all; there the operation counts as done.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from wsinuc import own_files
from wsinuc.own_files import partial_file

STREAMS = 8
"""Files that are synced at once: a journal then commits several of them together."""
_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF})
_HERE = -100
"""AT_FDCWD: names are paths."""
_EXCHANGE = 2
"""RENAME_EXCHANGE."""
_NOT_OPENED = frozenset({errno.EACCES, errno.EPERM, errno.EISDIR})


def sync_stream(stream: IO[bytes] | IO[str]) -> None:
    """Bring what was written to an open file to the disk."""
    stream.flush()
    _fsync(stream.fileno())


def sync(path: Path) -> None:
    """Bring the content of a file, or the names in a folder, to the disk.

    Raises
    ------
    OSError
        The disk refuses: it is full, or broken.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        # Windows opens no folder, and elsewhere a folder may be writable without being readable.
        if error.errno in _NOT_OPENED:
            return
        raise
    try:
        _fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Bring everything below ``folder`` to the disk: all files, then every folder, the inner ones first."""
    files: list[Path] = []
    folders: list[Path] = []
    for root, _, names in os.walk(folder):
        folders.append(Path(root))
        files += [Path(root) / name for name in names]
    with ThreadPoolExecutor(STREAMS, thread_name_prefix="wsinuc-sync") as pool:
        list(pool.map(sync, files))
    # The inner ones first: a name is safe only when what it names is.
    for inner in reversed(folders):
        sync(inner)


def rename(source: Path, target: Path) -> None:
    """Give a synced file or folder its final name, and keep that name through a power cut."""
    os.replace(source, target)
    # The name lies in the folder, and is on the disk when the folder is.
    sync(target.parent)


def exchange(one: Path, other: Path) -> bool:
    """Let two folders of one file system have each other's names, at one blow; False where the system cannot.

    Linux can, on local disks and most network ones; whoever looks finds a whole folder under each name at any moment.
    """
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        renameat2 = libc.renameat2
    # Windows has no such library, and other systems and old C libraries no such function.
    except (OSError, AttributeError, TypeError):
        return False
    if renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) != 0:
        return False
    for folder in {one.parent, other.parent}:
        sync(folder)
    return True


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Create a folder with its parents, unless it is there, and keep their names through a power cut."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    for folder in reversed(missing):
        sync(folder.parent)


@contextmanager
def replacing(path: Path, partial: Path | None = None, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A binary stream whose content takes the place of ``path`` when the block ends, and vanishes when it raises.

    Parameters
    ----------
    path
        The file that appears, whole and on the disk, when the block has ended.
    partial
        Where it is written, in the same folder, which must be a name that nobody else writes; by default one of
        `wsinuc.own_files`: what a killed process leaves there is removed by the next, and two processes that write
        one file at once do not meet.
    sync
        False leaves it to the system when the content reaches the disk.

    Raises
    ------
    OSError
        The folder is missing or not writable, or the disk is full.
    """
    if partial is None:
        with partial_file(path) as (own, stream):
            yield from _written(own, stream, path, sync=sync)
    else:
        yield from _written(partial, own_files.create(partial), path, sync=sync)


def _written(partial: Path, stream: BinaryIO, path: Path, *, sync: bool) -> Iterator[BinaryIO]:
    """The stream of a partial file, which afterwards gets its name, or goes."""
    try:
        with stream:
            yield stream
            if sync:
                sync_stream(stream)
        if sync:
            rename(partial, path)
        else:
            os.replace(partial, path)
    except BaseException:
        # What went wrong first is the error to report.
        with suppress(OSError):
            partial.unlink()
        raise


def _fsync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise

"""Files of our own in folders where others may write, too: created anew, and never written through a link.

Whoever may write to a folder can put a symbolic link, a pipe or a folder where a program is about to write its
own file. A plain ``open`` for writing follows the link and destroys what it points to. So files are created
here, never opened: what lies under the name is removed first (a link itself, not what it points to) and the new
file must be the first of its name. A rename over a link replaces the link, so a file that is written elsewhere
and then renamed needs no more than that.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from wsinuc.errors import OutputError
from wsinuc.regular import require_parent, require_regular

# Systems without these flags have no such links either, or leave them to administrators.
_PLAIN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | _PLAIN
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)
_BUFFER = 1 << 20
_RANDOM_BYTES = 8
_MARK = b"wsinuc"  # checkpoints, splits, maps and contact sheets have it in their headers
_HEAD = 4096  # first bytes of a file, in which the mark stands
_LONGEST = 220
"""Bytes of a name that leave room for what is added to it: file systems allow 255."""


def create(path: Path) -> BinaryIO:
    """Open a new file for writing bytes; what lay there is removed.

    Raises
    ------
    OutputError
        A folder lies there.
    OSError
        The file cannot be created.
    """
    clear(path)
    return create_new(path)


def create_new(path: Path) -> BinaryIO:
    """Open a new file for writing bytes; raises FileExistsError when anything lies there."""
    # "x" fails at a link, too, even at one that points nowhere.
    return open(path, "xb", buffering=_BUFFER)


def open_plain(path: Path, access: int) -> int:
    """A descriptor of what lies there, in one of the modes of ``os.open``; no link is followed, no pipe waited for."""
    return os.open(path, access | _NO_LINK | _NO_WAIT)


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
    return path.with_name(f"{beginning(path)}.{secrets.token_hex(_RANDOM_BYTES)}.partial")


def named_beside(path: Path) -> list[Path]:
    """What lies in the folder of ``path`` under a name that `beside` has given, for it or for a name as long."""
    pattern = re.compile(rf"{re.escape(beginning(path))}\.[0-9a-f]{{{2 * _RANDOM_BYTES}}}\.partial")
    return sorted(each for each in path.parent.iterdir() if pattern.fullmatch(each.name))


def beginning(path: Path) -> str:
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


def clear(path: Path) -> None:
    """Remove what lies there, a link itself and not what it points to; raises OutputError for a folder."""
    kind = what_is(path)
    if kind == "folder":
        raise OutputError(
            f"{path} is a folder where wsinuc writes a file of its own: remove it, or choose another place"
        )
    if kind:
        path.unlink(missing_ok=True)

"""Whether a working area holds what we have put there and nothing else.

A run moves, replaces and deletes what lies in its working area (``.run``). In a folder where others may write,
somebody could have laid out that area before the run does: links in place of files, files that are precious
under other names, folders of their own. So the area is made so that others cannot write there, and one that is
there already is looked through before anything in it is used: it must be ours, all that lies in it must be
ours, and nothing may be a link.

Who "we" are is read off a file that this process has just made there, because file systems translate users in
many ways.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from wsinuc import durable
from wsinuc.errors import OutputError
from wsinuc.own_files import check_folder, kind_of, what_is
from wsinuc.store.files import remove
from wsinuc.store.outputs import OUTPUTS, SUMMARY

_MODE = 0o755
"""Others may look at a working area, as ``wsinuc status`` does, whatever the umask says."""
_BYSTANDERS = re.compile(r"\.nfs.*|\.DS_Store|\._.*|Thumbs\.db|desktop\.ini")
"""What file servers and desktops leave anywhere."""
_PARTIAL = r".*\.partial"
_TOP = re.compile(
    r"lock|lock\..*|owner|settings\.json|input\.json|calibration|stains|parts|ready\.json|uploaded|blocks|done|ready|"
    + _PARTIAL,
    re.DOTALL,
)
_BLOCKS = re.compile(rf"\d{{6,}}\.(?:parquet|npz)|seen-.*|{_PARTIAL}", re.DOTALL)
_DONE = re.compile(rf"\d{{6,}}\.json|{_PARTIAL}", re.DOTALL)
_READY = re.compile("|".join(map(re.escape, OUTPUTS)) + rf"|{_PARTIAL}", re.DOTALL)
_NAMES = {"": _TOP, "blocks": _BLOCKS, "done": _DONE, "ready": _READY}
"""What may lie in which folder of a working area; below the outputs, anything that is ours."""


def make_area(work: Path) -> None:
    """Make a working area where there is none; others cannot write there.

    Raises
    ------
    OutputError
        A link or a file lies in its place.
    OSError
        It cannot be made.
    """
    check_folder(work)
    durable.make_folder(work, _MODE)
    _shut(work)


def make_folder(path: Path) -> None:
    """Make a folder inside a working area, unless it is there; raises OutputError where a link or a file lies."""
    check_folder(path)
    durable.make_folder(path, _MODE)


def empty_area(work: Path) -> None:
    """Remove all that lies in a working area but the lock and the owner's name."""
    for path in work.iterdir():
        if path.name != "owner" and not path.name.startswith("lock"):
            remove(path)


def check_area(work: Path, mine: Path) -> None:
    """Look through a working area before it is used.

    Parameters
    ----------
    mine
        A file in it that this process has made.

    Raises
    ------
    OutputError
        The area or something in it is a link, belongs to another user, or is nothing that wsinuc puts there.
    """
    # Not os.getuid: file servers translate users, so only what we have just made shows who we are there.
    user = os.lstat(mine).st_uid
    if os.lstat(work).st_uid != user:
        raise OutputError(
            f"{work} was made by another user ({_user(os.lstat(work).st_uid)}), who could change what is "
            "written there: let that user continue the run or remove the folder, or choose another -o"
        )
    for entry, name in _walk(work):
        _check(entry, name, user)


def is_known(work: Path) -> bool:
    """Whether all that lies in a working area is of the kind that wsinuc puts there, by one user."""
    try:
        check_area(work, work)
    except OSError:  # OutputError as well
        return False
    return True


def check_outputs(directory: Path) -> None:
    """Raise OutputError when a link lies in a result's own folder under a name that is ours."""
    for name in (*OUTPUTS, SUMMARY):
        kind = what_is(directory / name)
        if kind not in ("", "file", "folder"):
            raise OutputError(
                f"{directory / name} is a {kind} and no output of wsinuc, so nothing is done there: remove it, "
                "or choose another -o"
            )


def identity(folder: Path) -> tuple[int, int]:
    """What a folder remains while it is renamed, and no other folder of its name is."""
    status = os.lstat(folder)
    # A name says nothing: somebody may have moved our folder away and put another in its place.
    return status.st_dev, status.st_ino


def check_same(folder: Path, before: tuple[int, int] | None) -> None:
    """Raise OutputError when another folder, or a link, has taken the place of ``folder`` since ``identity``."""
    if before is not None and (what_is(folder) != "folder" or identity(folder) != before):
        raise OutputError(
            f"{folder} has been exchanged while the run was under way, so nothing more is done there: "
            "see who else may write to the folder around it"
        )


def knows(name: str) -> bool:
    """Whether an entry of this name may lie in a working area."""
    return bool(_TOP.fullmatch(name) or _BYSTANDERS.fullmatch(name))


def _walk(work: Path) -> Iterator[tuple[os.DirEntry[str], str]]:
    """All entries below ``work`` with their names relative to it, links not followed."""
    # A list and not recursion, whose depth somebody else's folders would decide.
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(work / folder) as entries:
            for entry in entries:
                if folder:
                    name = f"{folder}/{entry.name}"
                else:
                    name = entry.name
                yield entry, name
                if entry.is_dir(follow_symlinks=False):
                    folders.append(name)


def _check(entry: os.DirEntry[str], name: str, user: int) -> None:
    folder, _, last = name.rpartition("/")
    if _BYSTANDERS.fullmatch(last):
        return
    status = entry.stat(follow_symlinks=False)
    kind = kind_of(status)
    if kind not in ("file", "folder"):
        raise _foreign(entry.path, f"is a {kind}")
    if status.st_uid != user:
        raise _foreign(entry.path, f"belongs to another user ({_user(status.st_uid)})")
    names = _NAMES.get(folder)
    # Folders that are not in the table may hold any name, such as the chunks of a label image.
    if names is not None and not names.fullmatch(last):
        raise _foreign(entry.path, "is no file of wsinuc")
    if kind == "folder":
        _shut(Path(entry.path))


def _shut(folder: Path) -> None:
    """Take away others' right to write; file systems without rights refuse, and need none of this."""
    mode = os.lstat(folder).st_mode
    if mode & 0o022:
        with suppress(OSError):
            folder.chmod(mode & 0o7755)


def _foreign(path: str, what: str) -> OutputError:
    return OutputError(
        f"{path} {what}, and a working area of wsinuc holds nothing of the kind, so nothing is done there: "
        "move it away, or choose another -o"
    )


def _user(uid: int) -> str:
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return str(uid)

"""What other libraries write, made aside: in a folder beside the target that is cleared away whatever happens.

Files that wsinuc writes itself are streams (`wsinuc.durable.replacing`). A library that wants a name may write a whole
folder, or temporary files of its own beside the name that it was given, and a process that is killed removes neither.
So each making has a folder, ``slide.ome.zarr.<random>.partial``, with these in it:

- ``writer.json`` says which process makes something there;
- the new file or folder, under its name;
- for a moment ``replaced``, a folder that had the name until then, where a system cannot exchange two names.

Whoever makes the same target next tells by ``writer.json`` what is still at work from what nobody finishes any more.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wsinuc import durable, own_files
from wsinuc.errors import DataError
from wsinuc.limits import parse_json
from wsinuc.processes import process_lives, this_process

WRITER = "writer.json"
REPLACED = "replaced"
_ATTEMPTS = 3
_MOST_BYTES = 1 << 16
"""A sign has a few hundred bytes; a larger file is none."""


def settle(area: Path, target: Path) -> None:
    """Remove an area with all that lies in it; a folder that was about to be replaced gets its name back."""
    replaced = area / REPLACED
    if replaced.exists() and not target.exists():
        durable.rename(replaced, target)
    shutil.rmtree(area)


@contextmanager
def area_beside(target: Path, settle: Callable[[Path, Path], None] = settle) -> Iterator[Path]:
    """A new folder beside ``target`` in which it is made, and which is gone when the block ends.

    What killed processes have left of the same target goes first.

    Parameters
    ----------
    target
        What is made.
    settle
        Given an area and the target, keeps what is worth keeping and removes the area.

    Raises
    ------
    OSError
        The folder cannot be made.
    """
    for left in left_behind(target):
        # Another process may clear it away at the same time, and what another user has left may have to stay.
        with suppress(OSError):
            settle(left, target)
    area = _signed_area(target)
    try:
        yield area
    finally:
        # What went wrong first is the error to report.
        with suppress(OSError):
            settle(area, target)


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """The name of a file or folder that takes the place of ``target`` when the block ends, and vanishes when it raises.

    The name has the ending of ``target``, because many libraries ask for one.

    Raises
    ------
    OSError
        The folder that is to hold it is missing or not writable, or the disk is full.
    """
    with area_beside(target) as area:
        new = area / target.name
        yield new
        if new.is_dir():
            durable.sync_tree(new)
        else:
            durable.sync(new)
        take_place(new, target)


def take_place(new: Path, target: Path) -> None:
    """Give what was made in an area its name; a folder that had it until then goes with the area."""
    if not target.is_dir():
        durable.rename(new, target)
        return
    if durable.exchange(new, target):
        return
    replaced = new.with_name(REPLACED)
    durable.rename(target, replaced)
    try:
        durable.rename(new, target)
    except OSError:
        durable.rename(replaced, target)
        raise


def left_behind(target: Path) -> list[Path]:
    """Areas of processes that were killed while they made ``target``; those of other machines cannot be told."""
    areas = [path for path in own_files.named_beside(target) if own_files.what_is(path) == "folder"]
    return [area for area in areas if _is_left(area)]


def _is_left(area: Path) -> bool:
    sign = _sign_of(area)
    if sign:
        return process_lives(sign) is False
    # Killed before it had signed. One that is about to sign finds its area gone, and makes another one.
    try:
        return {path.name for path in area.iterdir()} <= {WRITER}
    except OSError:
        return False


def _sign_of(area: Path) -> Mapping[str, Any]:
    try:
        sign = parse_json(own_files.read(area / WRITER, limit=_MOST_BYTES), WRITER)
    except (OSError, DataError):
        return {}
    if isinstance(sign, dict):
        return sign
    return {}


def _signed_area(target: Path) -> Path:
    """A new area with the sign of this process."""
    for attempt in range(_ATTEMPTS):
        area = own_files.beside(target)
        area.mkdir()
        try:
            with own_files.create(area / WRITER) as stream:
                stream.write(json.dumps(this_process()).encode())
            break
        except FileNotFoundError:
            # Another process has taken it for one that was left without a sign.
            if attempt == _ATTEMPTS - 1:
                raise
        except OSError:
            # A full disk: nothing is to be left of the attempt.
            shutil.rmtree(area, ignore_errors=True)
            raise
    return area

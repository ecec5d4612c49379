"""Files and folders that exist whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from wsinuc import aside, durable
from wsinuc.errors import OutputError, WsinucError
from wsinuc.regular import require_parent


@contextmanager
def replacing(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """A binary stream whose content takes the place of ``path`` when the block ends, and vanishes when it raises.

    The partial file lies beside ``path``: what a killed run leaves is removed by the next, and two runs that write the
    same file at once do not meet (`wsinuc.own_files`).

    Parameters
    ----------
    path
        The file that appears.
    sync
        False leaves it to the system when the content reaches the disk: for many files that are soon made again.

    Raises
    ------
    OutputError
        The folder is missing or not writable, or the disk is full.
    """
    with _as_output_error(path), durable.replacing(path, sync=sync) as stream:
        yield stream


@contextmanager
def replacing_text(path: Path, *, errors: str = "strict", sync: bool = True) -> Iterator[TextIO]:
    """A stream of UTF-8 text whose lines end as they are written; the rest as `replacing`.

    Parameters
    ----------
    path
        The file that appears.
    errors
        What becomes of letters that are no Unicode, as for ``open``.
    sync
        As of `replacing`.
    """
    with replacing(path, sync=sync) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", errors=errors, newline="")
        yield text
        # Writes what it still holds, and leaves closing to `replacing`, which syncs first.
        text.detach()


@contextmanager
def appearing(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A name beside ``path`` for a file or folder that another library writes; it gets its own name when the block
    ends, and vanishes when it raises.

    What a killed run leaves is removed by the next, see `wsinuc.aside`.

    Parameters
    ----------
    path
        The file or folder that appears.
    replace
        Let a folder that is there make room.

    Raises
    ------
    OutputError
        The folder that is to hold it is missing or not writable, the disk is full, or ``path`` is a folder.
    """
    require_parent(path)
    # Nobody's folder is removed to make room.
    if path.is_dir() and not replace:
        raise OutputError(f"{path} is there already: remove it, or choose another name")
    with _as_output_error(path), aside.appearing(path) as partial:
        yield partial


@contextmanager
def _as_output_error(path: Path) -> Iterator[None]:
    try:
        yield
    # Such as a damaged source, which is an OSError and no fault of this file.
    except WsinucError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error

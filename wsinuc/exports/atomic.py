"""Files and folders that exist whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from wsinuc import durable, own_files
from wsinuc.errors import OutputError, WsinucError
from wsinuc.regular import require_parent
from wsinuc.store.files import remove


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary stream whose content takes the place of ``path`` when the block ends, and vanishes when it raises.

    The partial file lies beside ``path`` under a fixed name: what a killed run leaves is removed by the next.

    Raises
    ------
    OutputError
        The folder is missing or not writable, or the disk is full.
    """
    try:
        with durable.replacing(path) as stream:
            yield stream
    # Such as a damaged source, which is an OSError and no fault of this file.
    except WsinucError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A name beside ``path`` for a file or folder that another library writes; it gets its own name when the block
    ends, and vanishes when it raises.

    Raises
    ------
    OutputError
        The folder that is to hold it is missing or not writable, the disk is full, or ``path`` is a folder.
    """
    require_parent(path)
    # Nobody's folder is removed to make room.
    if path.is_dir():
        raise OutputError(f"{path} is there already: remove it, or choose another name")
    partial = own_files.beside(path)
    try:
        yield partial
        if partial.is_dir():
            durable.sync_tree(partial)
        else:
            durable.sync(partial)
        durable.rename(partial, path)
    except WsinucError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        # What went wrong first is the error to report.
        with suppress(OSError):
            remove(partial)

"""Files and folders that exist whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from wsinuc import durable
from wsinuc.errors import OutputError, WsinucError
from wsinuc.regular import require_parent


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
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """The path of a folder to make, which becomes ``path`` when the block ends, and vanishes when it raises.

    It lies beside ``path`` under a fixed name: what a killed run leaves is removed by the next.

    Raises
    ------
    OutputError
        ``path`` exists, its folder is missing or not writable, or the disk is full.
    """
    require_parent(path)
    if path.exists() or path.is_symlink():
        raise OutputError(f"{path} exists: remove it, or choose another name")
    partial = path.with_name(f".{path.name}{durable.PARTIAL}")
    try:
        if partial.exists():
            shutil.rmtree(partial)
        yield partial
        durable.sync_tree(partial)
        durable.rename(partial, path)
    except OSError as error:
        # A slide that cannot be read, say, is an OSError as well.
        if isinstance(error, WsinucError):
            raise
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        # What went wrong first is the error to report.
        with suppress(OSError):
            shutil.rmtree(partial)

"""Files that exist whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from wsinuc import own_files
from wsinuc.errors import OutputError


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary stream whose content takes the place of ``path`` when the block ends, and vanishes when it raises.

    The partial file lies beside ``path`` under a fixed name: what a killed run leaves is removed by the next.

    Raises
    ------
    OutputError
        The folder is missing or not writable, or the disk is full.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        with own_files.create(partial) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError as error:
        _discard(partial)
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    except BaseException:
        _discard(partial)
        raise


def _discard(partial: Path) -> None:
    """Remove a partial file if it is there; whatever went wrong before is the error to report."""
    with suppress(OSError):
        partial.unlink()

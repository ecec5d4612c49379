"""Files that exist whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from wsinuc import durable
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
    try:
        with durable.replacing(path) as stream:
            yield stream
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error

"""How large a file from a stranger may be before it is refused instead of read.

A few kilobytes can unpack to more than the memory holds, and a parser needs ten times the size of its text. The limits
lie far above what honest files of the kind need.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from wsinuc.errors import DataError

MAX_TEXT = 256 * 2**20
"""Largest GeoJSON, XML, CSV or JSON file that is read whole, in bytes after unpacking."""


def read_bounded(path: Path, limit: int = MAX_TEXT) -> bytes:
    """Content of a file, unpacked when its name ends in ``.gz``.

    Raises
    ------
    DataError
        It holds more than ``limit`` bytes, or the compressed data are damaged.
    OSError
        It cannot be opened.
    """
    packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            data = file.read(limit + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot read it, the compressed data are damaged ({error}): copy it again") from error
    if len(data) > limit:
        raise DataError(
            f"{path} holds more than {limit / 2**20:.0f} MiB{' when unpacked' if packed else ''}: no file of "
            "this kind is "
            "so large, is it the right one?"
        )
    return data

"""The directories of a TIFF as bytes: what every level says of itself, its tables of tiles among it.

Whoever writes a tile anew writes another length or another place into these tables, so they tell
slides apart that differ anywhere, at the cost of a few MB. Files that are no TIFF, or an odd one,
have other bytes by which they are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from wsinuc.slides.tiff.walk import MAX_VALUE_BYTES, far_values, read_header, walk


def tiff_directories(file: BinaryIO) -> Iterator[bytes]:
    """Bytes of every directory of a TIFF and of the values it points to; nothing when it is none. Never fails.

    Parameters
    ----------
    file
        Open for reading anywhere in it.
    """
    header = read_header(file)
    if header is None:
        return
    numbers, first = header
    # A limit on all values together: a hostile file claims as much for each of them.
    left = MAX_VALUE_BYTES
    for directory in walk(file, numbers, first, nested=True):
        yield directory.entries
        for data in far_values(file, numbers, directory):
            yield data[:left]
            left -= len(data)
            if left <= 0:
                return

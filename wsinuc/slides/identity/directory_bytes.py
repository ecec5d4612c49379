"""The directories of a TIFF as bytes: what every level says of itself, its tables of tiles among it.

Whoever writes a tile anew writes another length or another place into these tables, so they tell
slides apart that differ anywhere, at the cost of a few MB. The walk is bounded, follows each offset
once and stops where the file makes no sense, so that it never fails: files that are no TIFF, or an
odd one, have other bytes by which they are known.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MOST_DIRECTORIES = 1024
MOST_ENTRIES = 4096
MOST_BYTES = 64 * 2**20
"""Of all values together."""
_SUB_IFDS = 330
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value by the type of its field."""


@dataclass(frozen=True, slots=True)
class _Format:
    """How numbers are written in a TIFF."""

    order: str
    """``<`` or ``>``."""
    big: bool

    @property
    def offset(self) -> str:
        return self.order + ("Q" if self.big else "I")

    @property
    def count(self) -> str:
        return self.order + ("Q" if self.big else "H")

    @property
    def entry(self) -> str:
        """Tag, type, number of values; the value or its offset follows."""
        return self.order + ("HHQ" if self.big else "HHI")


def tiff_directories(file: BinaryIO) -> Iterator[bytes]:
    """Bytes of every directory of a TIFF and of the values it points to; nothing when it is none.

    Parameters
    ----------
    file
        Open for reading anywhere in it.
    """
    layout = _layout(_read(file, 0, 16))
    if layout is None:
        return
    form, first = layout
    waiting = deque([first])
    seen: set[int] = set()
    left = MOST_BYTES
    while waiting and len(seen) < MOST_DIRECTORIES and left > 0:
        start = waiting.popleft()
        if start in seen or start == 0:
            continue
        seen.add(start)
        entries, after = _directory(file, start, form)
        yield entries
        for data, inner in _values(file, entries, form):
            yield data[:left]
            left -= len(data)
            waiting.extend(inner)
            if left <= 0:
                return
        waiting.append(after)


def _layout(head: bytes) -> tuple[_Format, int] | None:
    """Number format and place of the first directory; None for what is no TIFF."""
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return None
    version = struct.unpack_from(order + "H", head, 2)[0]
    if version == 42:
        return _Format(order, big=False), struct.unpack_from(order + "I", head, 4)[0]
    if version == 43:
        return _Format(order, big=True), struct.unpack_from(order + "Q", head, 8)[0]
    return None


def _directory(file: BinaryIO, start: int, form: _Format) -> tuple[bytes, int]:
    """Entries of the directory at ``start``, and where the next one is; 0 when there is none."""
    head = _read(file, start, struct.calcsize(form.count))
    if len(head) < struct.calcsize(form.count):
        return b"", 0
    number = min(struct.unpack(form.count, head)[0], MOST_ENTRIES)
    size = number * _entry_bytes(form)
    body = _read(file, start + len(head), size + struct.calcsize(form.offset))
    tail = body[size:]
    after = struct.unpack(form.offset, tail)[0] if len(tail) == struct.calcsize(form.offset) else 0
    return body[:size], after


def _values(file: BinaryIO, entries: bytes, form: _Format) -> Iterator[tuple[bytes, list[int]]]:
    """Values that do not stand in the entries themselves, each with the directories it points to."""
    step = _entry_bytes(form)
    room = struct.calcsize(form.offset)
    for place in range(0, len(entries) - step + 1, step):
        tag, kind, number = struct.unpack_from(form.entry, entries, place)
        size = number * _SIZES.get(kind, 0)
        inline = entries[place + step - room : place + step]
        data = inline[:size]
        if size > room:
            data = _read(file, struct.unpack(form.offset, inline)[0], min(size, MOST_BYTES))
        inner = _offsets(data, kind, form) if tag == _SUB_IFDS else []
        if size > room or inner:
            yield data, inner


def _offsets(data: bytes, kind: int, form: _Format) -> list[int]:
    letter = "Q" if _SIZES.get(kind) == 8 else "I"
    size = struct.calcsize(letter)
    whole = len(data) // size * size
    return list(struct.unpack(f"{form.order}{whole // size}{letter}", data[:whole]))[:MOST_DIRECTORIES]


def _entry_bytes(form: _Format) -> int:
    return struct.calcsize(form.entry) + struct.calcsize(form.offset)


def _read(file: BinaryIO, start: int, size: int) -> bytes:
    """Up to ``size`` bytes; fewer, or none, where the file ends or does not reach."""
    try:
        file.seek(start)
        return file.read(size)
    except (OSError, OverflowError, ValueError):
        return b""

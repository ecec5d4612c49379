"""The directories of a TIFF file, followed from offset to offset with suspicion: the one walk and its limits.

A file of a kilobyte can claim directories without end, in a circle, or with gigabytes of values. Here each offset is
read once, nothing is allocated for what a file only claims, and a walk ends where the file makes no sense. What the
directories mean is for others: ``directories`` makes images of them, ``identity.directory_bytes`` hashes them.

The layout of header, entries and offsets is that of TIFF 6.0 (section 2), of BigTIFF, which has 64 bits in their
place, and of Hamamatsu's NDPI above 4 GiB, which has a 64-bit offset to the next directory alone.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from wsinuc.errors import RemoteError

MAX_DIRECTORIES = 2048
"""Most images in one file; slides have about ten, stacks hundreds."""
MAX_ENTRIES = 4096
"""Most tags of a directory."""
MAX_VALUE_BYTES = 64 * 2**20
"""Most bytes of one tag's values: the tiles of a slide of a metre of glass take less."""

_SUB_IFDS = 330
_VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of a value by the type of its field; 16 to 18 are BigTIFF's."""


class CircleError(ValueError):
    """A directory leads back to one that was read already."""


@dataclass(frozen=True, slots=True)
class TiffNumbers:
    """How numbers are written in a TIFF."""

    order: str
    """``<`` or ``>``."""
    big: bool
    """BigTIFF."""
    wide_next: bool = False
    """The offset to the next directory has 64 bits, though the file is no BigTIFF: NDPI."""

    @property
    def count(self) -> str:
        """Format of the number of entries."""
        if self.big:
            return self.order + "Q"
        return self.order + "H"

    @property
    def entry(self) -> str:
        """Format of tag, type and number of values; the value or its offset follows."""
        if self.big:
            return self.order + "HHQ"
        return self.order + "HHI"

    @property
    def offset(self) -> str:
        """Format of the place of a value."""
        if self.big:
            return self.order + "Q"
        return self.order + "I"

    @property
    def next(self) -> str:
        """Format of the place of the next directory."""
        if self.big or self.wide_next:
            return self.order + "Q"
        return self.order + "I"

    @property
    def entry_bytes(self) -> int:
        """Size of an entry."""
        return struct.calcsize(self.entry) + struct.calcsize(self.offset)


@dataclass(frozen=True, slots=True)
class RawDirectory:
    """One directory as it lies in the file."""

    offset: int
    parent: int | None
    """Offset of the directory that lists this one, or one before it, as a SubIFD; None on the chain from the header."""
    entries: bytes
    """Tag, type, number of values, and the value or its offset, one entry after the other."""
    below: tuple[int, ...]
    """Offsets of the SubIFDs."""
    following: int
    """Offset of the next directory, 0 for none."""


def read_header(file: BinaryIO) -> tuple[TiffNumbers, int] | None:
    """How numbers are written, and the offset of the first directory; None for what is no TIFF."""
    head = _read(file, 0, 16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    # The shorter head of classic TIFF has 8 bytes, but no image fits into a file of 16.
    if order is None or len(head) < 16:
        return None
    version = struct.unpack_from(order + "H", head, 2)[0]
    if version == 42:
        return TiffNumbers(order, big=False), struct.unpack_from(order + "I", head, 4)[0]
    if version == 43:
        return TiffNumbers(order, big=True), struct.unpack_from(order + "Q", head, 8)[0]
    return None


def walk(file: BinaryIO, numbers: TiffNumbers, first: int, *, nested: bool) -> Iterator[RawDirectory]:
    """Directories in the order in which they are found, each followed by its SubIFDs; at most one above the limit.

    Parameters
    ----------
    file
        Open for reading anywhere in it.
    numbers, first
        See `read_header`.
    nested
        Whether what SubIFDs list or chain to is followed as well. Images are looked for without it, since a chain
        behind a SubIFD is a second way to the same directories.

    Raises
    ------
    CircleError
        A directory comes again; with ``nested`` it is passed over instead.
    RemoteError
        The file's store cannot be reached.
    """
    # A queue and not recursion, whose depth a file would decide.
    waiting: deque[tuple[int, int | None]] = deque([(first, None)])
    seen: set[int] = set()
    while waiting and len(seen) <= MAX_DIRECTORIES:
        offset, parent = waiting.popleft()
        if offset == 0:
            continue
        if offset in seen:
            if nested:
                continue
            raise CircleError(f"the directory at {offset} comes again")
        seen.add(offset)
        directory = _read_directory(file, numbers, offset, parent)
        yield directory
        if nested or parent is None:
            waiting.extend((inner, offset) for inner in directory.below)
            waiting.append((directory.following, parent))


def _read_directory(file: BinaryIO, numbers: TiffNumbers, offset: int, parent: int | None) -> RawDirectory:
    """The directory at an offset; an empty one where the file ends or does not reach."""
    head = _read(file, offset, struct.calcsize(numbers.count))
    if len(head) < struct.calcsize(numbers.count):
        return RawDirectory(offset, parent, b"", (), 0)
    # A hostile file may claim 2^64 entries.
    size = min(struct.unpack(numbers.count, head)[0], MAX_ENTRIES) * numbers.entry_bytes
    body = _read(file, offset + len(head), size + struct.calcsize(numbers.next))
    entries = body[:size]
    tail = body[size:]
    if len(tail) == struct.calcsize(numbers.next):
        following = struct.unpack(numbers.next, tail)[0]
    else:
        following = 0
    return RawDirectory(offset, parent, entries, _sub_ifds(file, numbers, entries), following)


def far_values(file: BinaryIO, numbers: TiffNumbers, directory: RawDirectory) -> Iterator[bytes]:
    """Values of each entry in which they have no room, and of SubIFDs that are really there; read one by one."""
    room = struct.calcsize(numbers.offset)
    for tag, kind, size, inline in _entries(numbers, directory.entries):
        if size > room:
            yield _far(file, numbers, inline, size)
        elif tag == _SUB_IFDS and _offsets(numbers, kind, inline[:size]):
            yield inline[:size]


def _sub_ifds(file: BinaryIO, numbers: TiffNumbers, entries: bytes) -> tuple[int, ...]:
    room = struct.calcsize(numbers.offset)
    offsets: list[int] = []
    for tag, kind, size, inline in _entries(numbers, entries):
        if tag == _SUB_IFDS:
            if size <= room:
                data = inline[:size]
            else:
                data = _far(file, numbers, inline, size)
            offsets += _offsets(numbers, kind, data)
    return tuple(offsets)


def _entries(numbers: TiffNumbers, entries: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Tag, type, bytes of all values, and the field that holds them or their offset, of every whole entry."""
    step = numbers.entry_bytes
    room = struct.calcsize(numbers.offset)
    for start in range(0, len(entries) - step + 1, step):
        tag, kind, count = struct.unpack_from(numbers.entry, entries, start)
        # A type that nobody knows has no size; its entry counts as one without values.
        yield tag, kind, count * _VALUE_BYTES.get(kind, 0), entries[start + step - room : start + step]


def _far(file: BinaryIO, numbers: TiffNumbers, inline: bytes, size: int) -> bytes:
    return _read(file, struct.unpack(numbers.offset, inline)[0], min(size, MAX_VALUE_BYTES))


def _offsets(numbers: TiffNumbers, kind: int, data: bytes) -> list[int]:
    """Values as offsets, whatever they claim to be: 64 bits where the type has as many, else 32."""
    letter = "Q" if _VALUE_BYTES.get(kind) == 8 else "I"
    size = struct.calcsize(letter)
    # What a torn value leaves over is no offset.
    whole = len(data) // size * size
    return list(struct.unpack(f"{numbers.order}{whole // size}{letter}", data[:whole]))[:MAX_DIRECTORIES]


def _read(file: BinaryIO, start: int, size: int) -> bytes:
    """Up to ``size`` bytes; fewer, or none, where the file ends or does not reach."""
    try:
        file.seek(start)
        return file.read(size)
    except RemoteError:  # an OSError that says nothing of the file
        raise
    except (OSError, OverflowError, ValueError):
        return b""

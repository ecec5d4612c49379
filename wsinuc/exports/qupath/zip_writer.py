"""A zip whose entries were compressed beforehand, by as many threads as there are.

``zipfile`` compresses in the thread that writes, and has no public way to take what is compressed already. So the
records around the data are written here, as PKWARE's APPNOTE.TXT 6.3.10 lays them out (section numbers below), with
64-bit fields only where an offset needs them. Times are fixed and names are ASCII, so that the same entries give the
same bytes.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import BinaryIO, Self

import imagecodecs

_LEVEL = 1
"""Level of libdeflate: its first gives files as small as zlib's fourth in a third of the time."""
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")  # 4.3.7
_CENTRAL_HEADER = struct.Struct("<4s6H3L5H2L")  # 4.3.12
_END_64 = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
_LOCATOR_64 = struct.Struct("<4sLQL")  # 4.3.15
_END = struct.Struct("<4s4H2LH")  # 4.3.16
_OFFSET_64 = struct.Struct("<2HQ")  # 4.5.3, with the offset alone

_DEFLATED = 8  # compression method, 4.4.5
_VERSION = 20  # of a reader that inflates, 4.4.3
_VERSION_64 = 45
_UNIX = 3 << 8  # in the upper byte of "version made by", so that the attributes are permissions, 4.4.2
_PERMISSIONS = 0o644 << 16
_TIME = 0
_DATE = (1980 - 1980) << 9 | 1 << 5 | 1  # the first of January 1980, the earliest that a zip can hold
_MOST_32 = 2**31 - 1  # as zipfile has it: some readers take these fields for signed
_FULL_16 = 0xFFFF
_FULL_32 = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Deflated:
    """The content of one entry, compressed."""

    data: bytes
    crc: int
    size: int
    """Bytes before compression."""

    @classmethod
    def of(cls, content: bytes) -> Self:
        """The content compressed; safe to call in any thread."""
        return cls(
            bytes(imagecodecs.deflate_encode(content, level=_LEVEL, raw=True)), zlib.crc32(content), len(content)
        )


class ZipWriter:
    """Appends entries to a stream; ``close`` writes the directory, without which nothing can be read.

    Parameters
    ----------
    stream
        Open for writing. It stays open.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._offset = stream.tell()
        self._directory: list[bytes] = []

    @property
    def count(self) -> int:
        """Entries so far."""
        return len(self._directory)

    def add(self, name: str, entry: Deflated) -> None:
        """Append an entry under an ASCII name."""
        encoded = name.encode("ascii")
        self._directory.append(_central_header(encoded, entry, self._offset))
        self._write(_local_header(encoded, entry) + entry.data)

    def close(self) -> None:
        """Write the directory of all entries."""
        start = self._offset
        directory = b"".join(self._directory)
        self._write(directory)
        self._write(_end_of_archive(self.count, len(directory), start))

    def _write(self, data: bytes) -> None:
        self._stream.write(data)
        self._offset += len(data)


def _local_header(name: bytes, entry: Deflated) -> bytes:
    no_extra = 0
    sizes = (entry.crc, len(entry.data), entry.size, len(name), no_extra)
    return _LOCAL_HEADER.pack(b"PK\3\4", _VERSION, 0, _DEFLATED, _TIME, _DATE, *sizes) + name


def _central_header(name: bytes, entry: Deflated, offset: int) -> bytes:
    extra = b""
    version = _VERSION
    if offset > _MOST_32:
        extra = _OFFSET_64.pack(1, 8, offset)
        version = _VERSION_64
        offset = _FULL_32  # "see the extra field"
    sizes = (entry.crc, len(entry.data), entry.size, len(name), len(extra))
    no_comment_first_disk_no_attributes = (0, 0, 0)
    fixed = _CENTRAL_HEADER.pack(
        b"PK\1\2",
        _UNIX | version,
        version,
        0,
        _DEFLATED,
        _TIME,
        _DATE,
        *sizes,
        *no_comment_first_disk_no_attributes,
        _PERMISSIONS,
        offset,
    )
    return fixed + name + extra


def _end_of_archive(count: int, size: int, start: int) -> bytes:
    """The records behind a directory of ``count`` entries and ``size`` bytes that begins at ``start``."""
    records = b""
    if count > _FULL_16 or size > _MOST_32 or start > _MOST_32:
        # The size of the record is given without its signature and this field.
        length = _END_64.size - 12
        records += _END_64.pack(b"PK\6\6", length, _VERSION_64, _VERSION_64, 0, 0, count, count, size, start)
        records += _LOCATOR_64.pack(b"PK\6\7", 0, start + size, 1)
    count = min(count, _FULL_16)
    return records + _END.pack(b"PK\5\6", 0, 0, count, count, min(size, _FULL_32), min(start, _FULL_32), 0)

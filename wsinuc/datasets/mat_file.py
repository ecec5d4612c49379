"""Arrays of numbers from MATLAB files of version 5; nothing that a file claims is believed unchecked.

SciPy reads all that such a file can hold, cells and objects among it, and a damaged file may end
the process in its compiled code. Annotated sets need plain arrays alone, and these are simple: a
list of elements, each a type, a size and bytes; a matrix is an element that holds flags, sizes, a
name and numbers, and may be compressed as a whole.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import DataError
from wsinuc.limits import read_bounded

_HEADER = 128
_MATRIX = 14
_COMPRESSED = 15
_LISTING = 1024
"""Bytes of a matrix that hold its flags, sizes and name; names have up to 63 letters."""
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Types of elements that hold numbers."""
_WITHOUT_SIZES = (16, 17)
"""Classes of functions and of what MATLAB alone understands."""
_CLASSES = range(6, 16)
"""Classes of matrices that hold numbers (and truth values); others are text, cells, structures, objects."""


class _BrokenError(ValueError):
    """Sizes and types do not fit together."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A matrix in a file, before its numbers are read."""

    shape: tuple[int, ...]
    """As the file claims it."""
    is_plain: bool
    """Whether it holds real numbers, and all of them (no sparse matrix)."""
    order: str
    """Byte order, ``<`` or ``>``."""
    data: bytes
    """The matrix' bytes, compressed or not."""
    packed: bool

    def numbers(self) -> NDArray[Any]:
        """All numbers in the type in which they are stored; raises _BrokenError or zlib.error."""
        count = math.prod(self.shape)
        if self.packed:
            content = _unpacked(self.data, _LISTING + 8 * count)
        else:
            content = self.data
        # Flags, sizes and name come first, then the numbers.
        *_, (kind, values) = _elements(content, self.order, 4)
        if kind not in _NUMBERS:
            raise _BrokenError(f"numbers of type {kind}")
        dtype = np.dtype(self.order + _NUMBERS[kind])
        if len(values) != count * dtype.itemsize:
            raise _BrokenError(f"{len(values)} bytes for {count} numbers")
        # MATLAB stores columns one after the other.
        return np.frombuffer(values, dtype).astype(dtype.newbyteorder("=")).reshape(self.shape, order="F")


def list_variables(path: Path) -> dict[str, Variable]:
    """The matrices in a file, by name, without their numbers.

    Raises
    ------
    DataError
        It is no MATLAB file of version 5, damaged or too large.
    OSError
        It cannot be opened.
    """
    content = read_bounded(path)
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise DataError(f"{path} is no MATLAB file of version 5; save it in MATLAB with -v7, or copy it again")
    # Version 0x0200 in the header is that of 7.3 files, which are HDF5 behind 512 bytes.
    if content[:_HEADER].startswith(b"MATLAB 7.3") or struct.unpack(order + "H", content[124:126]) == (0x200,):
        raise DataError(f"{path} is MATLAB 7.3 (HDF5), the published files are version 5; save it with -v7")
    try:
        return dict(_matrices(content[_HEADER:], order))
    except (_BrokenError, zlib.error, struct.error) as error:
        raise DataError(f"{path} is no whole MATLAB file ({error}); copy it again") from error


def read_variable(variable: Variable, path: Path) -> NDArray[Any]:
    """The numbers of a matrix.

    Parameters
    ----------
    path
        The file, for messages.

    Raises
    ------
    DataError
        It holds no plain numbers, or fewer than it claims.
    """
    if not variable.is_plain:
        raise DataError(f"{path} holds text, cells, complex or sparse numbers where an array of numbers is expected")
    try:
        return variable.numbers()
    except (_BrokenError, zlib.error, struct.error) as error:
        raise DataError(f"{path} is no whole MATLAB file ({error}); copy it again") from error


def _matrices(content: bytes, order: str) -> Iterator[tuple[str, Variable]]:
    """Names and matrices, in the order of the file; what is no matrix is passed over."""
    for kind, data in _elements(content, order):
        if kind not in (_MATRIX, _COMPRESSED):
            continue
        packed = kind == _COMPRESSED
        # Only the beginning is unpacked here: a kilobyte may claim, and unpack to, gigabytes.
        if packed:
            start = _unpacked(data, _LISTING, whole=False)
        else:
            start = data
        (_, flags), (_, sizes), (_, name) = _elements(start, order, 3)
        # The class in the lowest byte, flags in the next.
        about = struct.unpack(order + "I", flags[:4])[0]
        if about & 0xFF in _WITHOUT_SIZES:
            continue
        if len(sizes) % 4 or len(sizes) < 8:
            raise _BrokenError("a matrix without sizes")
        shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
        if min(shape) < 0:
            raise _BrokenError(f"a matrix of {shape}")
        plain = about & 0xFF in _CLASSES and not about & 0x800  # 0x800: complex
        yield name.decode("ascii", "replace"), Variable(shape, plain, order, data, packed)


def _unpacked(data: bytes, limit: int, *, whole: bool = True) -> bytes:
    """What is inside a compressed element, without the head of the matrix: at most ``limit`` bytes,
    which must be all."""
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(data, limit)
    if whole and not unpacker.eof:
        raise _BrokenError("more numbers than it claims, or fewer")
    return content[8:]


def _elements(content: bytes, order: str, count: int | None = None) -> Iterator[tuple[int, bytes]]:
    """Types and bytes of elements one after the other: the first ``count``, or all."""
    at = 0
    while at < len(content) if count is None else count > 0:
        kind, size = struct.unpack(order + "II", content[at : at + 8])
        start = at + 8
        # A small one: the size beside the type, the bytes in place of the size.
        if kind >> 16:
            size = kind >> 16
            kind &= 0xFFFF
            start = at + 4
        if size > len(content) - start or (start == at + 4 and size > 4):
            raise _BrokenError("an element that is longer than the file")
        yield kind, content[start : start + size]
        at = _next_element(at, start, size, kind)
        if count is not None:
            count -= 1


def _next_element(at: int, start: int, size: int, kind: int) -> int:
    """Where the element behind the one at ``at`` begins, whose ``size`` bytes of content begin at ``start``."""
    if start == at + 4:  # a small one takes eight bytes in all
        return at + 8
    if kind == _COMPRESSED:  # the only kind that is not filled up to eight bytes
        return start + size
    return start + size + -size % 8

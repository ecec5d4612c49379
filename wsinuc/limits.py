"""How large a file from a stranger may be before it is refused instead of read.

A few kilobytes can unpack to more than the memory holds, and objects made of a text may take thirty
times its size. The limits lie far above what honest files of the kind need. What can be long is
read as a stream: tables line by line, GeoJSON feature by feature (``wsinuc.annotations``). What is
read whole is looked over first.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from wsinuc.errors import DataError
from wsinuc.regular import refuse_special, require_regular

MAX_TEXT = 256 * 2**20
"""Largest GeoJSON, XML, CSV or JSON file that is read whole, in bytes after unpacking."""
MAX_RATIO = 200
"""Largest ratio of compression that is unpacked: texts shrink 5 to 50 times, a bomb 1,000 times."""
_PIECE = 1 << 16  # bytes that are read in one go
_FREE = 16 * 2**20
"""Bytes of objects that any JSON text may become, however small it is."""
_OBJECT_BYTES = {b"{": 232, b"[": 72, b",": 40, b'"': 30}
"""About how many bytes Python needs for what begins, or ends, with each of these signs."""


class Limited(io.RawIOBase):
    """A stream that refuses to give more than ``limit`` bytes; ``name`` is for the message."""

    def __init__(self, stream: BinaryIO, limit: int, name: str, *, packed: bool = False) -> None:
        self._stream = stream
        self._limit = limit
        self._left = limit
        self._name = name
        self._packed = packed

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """As much as is asked for, or what is left; raises DataError beyond the limit or for damaged compression."""
        if size < 0:
            return self.readall()
        try:
            # One byte more than may come tells a file that is too long from one that just fits.
            data = self._stream.read(min(size, self._left + 1))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(
                f"{self._name}: cannot read it, the compressed data are damaged ({error}): copy it again"
            ) from error
        self._left -= len(data)
        if self._left < 0:
            unpacked = " when unpacked" if self._packed else ""
            raise DataError(
                f"{self._name} holds more than {self._limit / 2**20:.0f} MiB{unpacked}: "
                "no file of this kind is so large, is it the right one?"
            )
        return data

    def readall(self) -> bytes:
        """All that is left, piece by piece: to ask for as much as may come would take memory for it."""
        whole = io.BytesIO()
        for piece in iter(lambda: self.read(_PIECE), b""):
            whole.write(piece)
        return whole.getvalue()

    def readinto(self, buffer: Any) -> int:
        """For text streams on top of this one."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the stream beneath, too."""
        self._stream.close()
        super().close()


def open_bounded(path: Path, limit: int | None = None) -> BinaryIO:
    """A stream of a file's bytes, unpacked when its name ends in ``.gz``.

    Reading raises DataError beyond ``limit`` bytes (``MAX_TEXT``), beyond ``MAX_RATIO`` times the size of a compressed
    file, and for damaged compression. Raises OSError when it cannot be opened.
    """
    refuse_special(path)
    if limit is None:
        limit = MAX_TEXT
    if not path.name.lower().endswith(".gz"):
        return cast(BinaryIO, Limited(path.open("rb"), limit, str(path)))
    unpacked = min(limit, MAX_RATIO * (path.stat().st_size + 1024))
    return cast(BinaryIO, Limited(cast(BinaryIO, gzip.open(path, "rb")), unpacked, str(path), packed=True))


def read_bounded(path: Path, limit: int | None = None) -> bytes:
    """Content of a file, unpacked when its name ends in ``.gz``.

    Raises
    ------
    DataError
        It is no ordinary file, holds more than ``limit`` bytes, or the compressed data are damaged.
    OSError
        It cannot be opened.
    """
    with open_bounded(path, limit) as file:
        return file.read()


@contextmanager
def text_lines(path: Path, limit: int | None = None) -> Iterator[TextIO]:
    """A file's text in UTF-8, line by line, with or without a byte order mark; line ends are left as they are.

    Raises
    ------
    DataError
        In the block or before: it is larger than ``limit`` bytes, damaged, no UTF-8, or no proper CSV for ``csv``.
    OSError
        It cannot be opened.
    """
    buffered = io.BufferedReader(cast(io.RawIOBase, open_bounded(path, limit)))
    # newline="": the csv module finds line ends itself, which may stand inside of quotes.
    with io.TextIOWrapper(buffered, "utf-8-sig", newline="") as text:
        try:
            yield text
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} cannot be read as CSV, it is no UTF-8 text: in Excel, save it as 'CSV UTF-8 (comma delimited)'"
            ) from error
        except csv.Error as error:
            raise DataError(f"{path} cannot be read as CSV ({error}): save it again as CSV") from error


def read_text(path: Path, expected: str, limit: int | None = None) -> str:
    """A file's text in UTF-8, with or without a byte order mark; ``expected`` says for the message what it should hold.

    Raises
    ------
    DataError
        It cannot be read, is no ordinary file, holds more than ``limit`` bytes, or is no text.
    """
    require_regular(path)
    try:
        content = read_bounded(path, limit)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    refusal = f"{path} is no UTF-8 text: expected {expected}; in Excel, save it as 'CSV UTF-8 (comma delimited)'"
    # UTF-16 and pictures, which may be valid UTF-8 all the same.
    if b"\0" in content:
        raise DataError(refusal)
    try:
        return content.decode("utf-8-sig")
    # With letters replaced a name would be another than the one that was written.
    except UnicodeDecodeError as error:
        raise DataError(refusal) from error


def parse_table(text: str, path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """A CSV text as the names of its columns, in small letters, and the lines that hold anything, with their numbers.

    Raises
    ------
    DataError
        It is no proper CSV; the message names the line.
    """
    head = text.lstrip().partition("\n")[0]
    # Excel writes semicolons where a comma is decimal.
    delimiter = ";" if ";" in head and "," not in head else ","
    rows = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        header = [cell.strip().lower() for cell in next(rows, [])]
        return header, [(rows.line_num, row) for row in rows if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num}: no proper CSV ({error}): save it again as CSV") from error


def listed(names: Iterable[str]) -> str:
    """Names from a file for a message: one line of at most 200 letters, ``nothing`` when there are none."""
    text = ", ".join(names)[:200]
    return "".join(letter if letter.isprintable() else " " for letter in text) or "nothing"


def read_json(path: Path) -> Any:
    """The JSON value in a file that is small, or mostly text and numbers.

    Raises
    ------
    DataError
        It is too large, no JSON, nested without end, or would take more than four times its size as objects.
    OSError
        It cannot be opened.
    """
    return parse_json(read_bounded(path), str(path))


def parse_json(text: bytes, name: str) -> Any:
    """The value of a JSON text; ``name`` is for the message of the DataError, see ``read_json``."""
    # Counted before parsing, since objects of a hostile text may take thirty times its size.
    if sum(size * text.count(sign) for sign, size in _OBJECT_BYTES.items()) > 3 * len(text) + _FREE:
        raise DataError(f"{name} holds hardly anything but brackets: it is damaged, or was never made by wsinuc")
    try:
        return json.loads(text)
    except RecursionError as error:
        raise DataError(f"{name} is no JSON file: brackets in brackets without end") from error
    except ValueError as error:  # of JSON, of UTF-8, and of numbers with thousands of digits
        raise DataError(f"{name} is no JSON file ({str(error).splitlines()[0][:200]})") from error

"""JSON as a stream of events, with one plain error for everything that can be wrong with the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import ijson

MAX_DEPTH = 64
"""Brackets in brackets; GeoJSON needs a dozen."""
_BUFFER = 1 << 15  # the parser makes a list of all events of a buffer
_BOM = b"\xef\xbb\xbf"
_OTHER_ENCODINGS = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")

_OTHER_CONTENT = {
    b"<": "it is XML or HTML: annotations of ImageScope, ASAP or NDP.view have to be opened and exported in QuPath",
    b"\x1f\x8b": "it is packed with gzip: call it .geojson.gz",
    b"PK\x03\x04": "it is a zip: call it .zip",
    b"\x89PNG": "it is a picture",
    **dict.fromkeys((b"II*\0", b"II+\0", b"MM\0*", b"MM\0+"), "it is a TIFF"),
}
"""What is given for GeoJSON by mistake, by its first bytes."""

Event = tuple[str, Any]
"""Kind of event and its value, as ``ijson.basic_parse`` has them."""

# Possessive quantifiers: without them a text that never ends takes time with the square of its length.
_TOKENS = re.compile(
    rb'"(?:[^"\\]++|\\.)*+"'  # texts come first, so that what stands in them is left alone
    rb"|-?(?:NaN|Infinity)\b"
    rb"|-?\d+(?:\.\d+)?[eE]\+?\d{3,}"  # perhaps beyond what a double holds
    rb"|-?\d{19,}(?![\d.eE])"  # beyond what 64 bits hold
    rb"|,(?=\s*\]\s*\Z)",  # after the last feature of a list
    re.DOTALL,
)


class JsonError(ValueError):
    """The text is no JSON; the message is one short line."""


class TooMuch(JsonError):
    """The text is nested, or holds values, beyond all reason; to read it again will not help."""


def json_events(stream: BinaryIO) -> Iterator[Event]:
    """Events of one JSON document in UTF-8, with or without a byte order mark; to be read inside ``plain_errors``."""
    # Without use_float ijson makes a Decimal of every number, an object each.
    events: Iterator[Event] = ijson.basic_parse(_Text(stream), use_float=True, buf_size=_BUFFER)
    return events


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what the parser raises into JsonError.

    It raises for another encoding, and for what is no JSON, which NaN, Infinity and numbers beyond
    a double are not; see ``made_plain``.
    """
    try:
        yield
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise JsonError(_reason(error)) from None


def made_plain(text: bytes) -> bytes:
    """JSON of what programs write that is none: NaN, infinities, huge numbers, and a comma before the last bracket.

    Numbers become doubles or, where there is no such double, texts.

    Examples
    --------
    >>> made_plain(b'{"NaN": NaN, "a": [-Infinity, 1e999, 12345678901234567890]}')
    b'{"NaN": "NaN", "a": ["-Infinity", "inf", 1.2345678901234567e+19]}'
    """

    def plain(match: re.Match[bytes]) -> bytes:
        token = match[0]
        if token.startswith(b'"'):
            return token
        if token == b",":
            return b""
        if token.endswith((b"N", b"y")):
            return b'"%b"' % token
        number = repr(float(token))
        if number.endswith("inf"):
            return f'"{number}"'.encode()
        return number.encode()

    return _TOKENS.sub(plain, text)


class _Text:
    """The stream that the parser reads from: without a byte order mark, refused at once in another encoding."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._at_start = True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        if self._at_start and data:
            self._at_start = False
            for start, kind in _OTHER_CONTENT.items():
                if data.lstrip(b" \t\r\n" + _BOM).startswith(start):
                    raise JsonError(kind)
            # JSON begins with ASCII, which has a zero in every other byte in UTF-16.
            if data.startswith(_OTHER_ENCODINGS) or b"\0" in data[:4]:
                raise JsonError("the text is UTF-16 or UTF-32, expected UTF-8")
            if data.startswith(_BOM):
                # An empty piece would mean the end of the text.
                return data[len(_BOM) :] or self._stream.read(size)
        return data


def _reason(error: Exception) -> str:
    """What the parser says, without the piece of text that it adds on lines of its own."""
    text = error.args[0] if error.args else ""
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    first = str(text).partition("\n")[0].strip()
    if "UTF8" in first or isinstance(error, UnicodeDecodeError):
        return "the text is not UTF-8"
    return first.partition(": ")[2].rstrip(".") or first or "the text ends too early"

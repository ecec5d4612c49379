"""What passes between a reader process and the process that asks it: JSON, and bytes of pixels.

Nothing is pickled, and lengths are checked before memory is taken: what a hostile file has made of
the reader cannot reach further than a wrong picture.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

from wsinuc.urls import Place, Url

# Bytes of JSON, bytes of pixels: both are known, and can be refused, before anything is allocated for them.
_HEAD = struct.Struct("!IQ")
MAX_JSON = 64 * 2**20
"""Longest text that is taken: OME-XML of whole plates stays far below."""
BUFFER = 2**20
"""Bytes that a socket holds: large ones mean fewer changes between the two processes."""


class Connection:
    """One end of a pair of sockets over which messages go in turn."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)

    def limit(self, seconds: float | None) -> None:
        """Let each wait for the other side take at most so long; then TimeoutError is raised."""
        self._socket.settimeout(seconds)

    def send(self, message: dict[str, Any], pixels: memoryview | bytes = b"") -> None:
        """Raises OSError when the other side has gone."""
        text = json.dumps(message).encode()
        self._socket.sendall(_HEAD.pack(len(text), len(pixels)) + text)
        if len(pixels):
            self._socket.sendall(pixels)

    def receive(self, into: memoryview | None = None) -> dict[str, Any]:
        """The next message; its pixels fill ``into`` exactly.

        Raises
        ------
        EOFError, OSError
            The other side has gone.
        ValueError
            What came is no message, or has another number of pixels.
        """
        room = len(into) if into is not None else 0
        text_bytes, pixel_bytes = _HEAD.unpack(self._take(_HEAD.size))
        if text_bytes > MAX_JSON or pixel_bytes not in (0, room):
            raise ValueError(f"expected {room} bytes of pixels, got {pixel_bytes} and {text_bytes} of text")
        message = _parse(self._take(text_bytes))
        if pixel_bytes and into is not None:
            self._fill(into)
        return dict(message, filled=pixel_bytes == room)

    def close(self) -> None:
        """Let go; the other side finds the end of the stream."""
        self._socket.close()

    def _take(self, count: int) -> bytearray:
        data = bytearray(count)
        self._fill(memoryview(data))
        return data

    def _fill(self, view: memoryview) -> None:
        # A stream gives what has come, not what was sent in one go.
        done = 0
        while done < len(view):
            count = self._socket.recv_into(view[done:])
            if not count:
                raise EOFError("the other side has gone")
            done += count


def _parse(text: bytearray) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except RecursionError as error:
        raise ValueError("the message is nested without end") from error
    if not isinstance(message, dict):
        raise ValueError("the message is no object")
    return message


def place_to_text(place: Place) -> str:
    """A path or URL as JSON takes it; bytes of a name that are no UTF-8 stay what they are."""
    if isinstance(place, Url):
        return place.complete
    return os.fspath(place)


def text_to_place(text: str, *, url: bool) -> Place:
    """The place whose text this is."""
    return Url(text) if url else Path(text)

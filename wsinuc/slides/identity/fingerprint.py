"""Which slide is this? Enough of its bytes to notice that it changed, without reading gigabytes.

========================  ================================================================================
up to 4 MiB               everything
larger                    size; first and last MiB; a sample of 64 KiB every 4 MiB (every 1/1024 of slides above 4 GiB),
                          at places that the size alone decides; for a TIFF the directories of all levels
                          (``directories``)
several files             each of them (``companions``)
a URL above 4 MiB         size, and 16 samples: few requests
========================  ================================================================================

So a preallocated copy that is completed later is another slide as soon as one of its holes is as
long as the step between two samples (and 64 KiB), or touches an end or a directory. Content alone
decides: a copy of the same slide elsewhere is the same slide, whatever its times. ``stamp`` is what
a file system says of the files; where it is the same, nothing was written since, and where it
differs the samples are compared. ``sha256_of`` reads everything.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from wsinuc.errors import SlideError
from wsinuc.grid import ceil_div
from wsinuc.slides.identity.directory_bytes import tiff_directories
from wsinuc.slides.identity.slide_files import slide_files
from wsinuc.urls import Place, Url, remote_errors

WHOLE = 4 * 2**20
"""Bytes up to which a file is read as a whole."""
END = 2**20
"""Bytes at either end of a larger file that are always read: headers stand there."""
SAMPLE = 64 * 2**10
"""Bytes of each sample in between."""
STRIDE = 4 * 2**20
"""Bytes from one sample to the next, at least."""
MOST_SAMPLES = 1024
"""Samples of one slide, at most."""
REMOTE_SAMPLES = 16
"""Samples of a slide at a URL, where each is a request."""
_CHUNK = 2**20
_PAGE = 4096
_VERSION = b"slide 2 "


def fingerprint(path: Place) -> str:
    """Hash of a slide's size and of samples of its content.

    Parameters
    ----------
    path
        The slide's file, or its URL.

    Raises
    ------
    SlideError
        One of its files must not be read.
    OSError
        One of them is not there, or the disk fails.
    RemoteError
        The URL cannot be reached.
    """
    if isinstance(path, Url):
        return _remote(path)
    files = slide_files(path)
    stride = _stride(sum(file.stat().st_size for file in files))
    try:
        digests = [_of_file(file, stride) for file in files]
    except PermissionError as error:
        raise SlideError(f"{path}: its file {error.filename} cannot be read ({error.strerror})") from error
    if len(digests) == 1:
        return digests[0][:32]
    # The named file first, the others by content: what they are called does not make another slide.
    return _joined([digests[0], *sorted(digests[1:])])[:32]


def sha256_of(path: Place) -> str:
    """SHA-256 of all of a slide: the file's own, or, of several, that of their hashes, sorted and joined by line feeds.

    Raises
    ------
    OSError
        It cannot be read.
    RemoteError
        The URL cannot be reached.
    """
    if isinstance(path, Url):
        with path.open() as file:
            return hash_all(file)
    digests = []
    for part in slide_files(path):
        with part.open("rb") as file:
            digests.append(hash_all(file))
    if len(digests) == 1:
        return digests[0]
    return _joined(sorted(digests))


def stamp(path: Place) -> str:
    """What the file system says of a slide's files without opening them: sizes, times, numbers; empty for nothing.

    Two equal stamps mean that nothing was written in between. Different ones mean nothing: a copy has another.
    """
    if isinstance(path, Url):
        return _remote_stamp(path)
    facts = []
    for file in slide_files(path):
        about = file.stat()
        # A file with holes that are filled later keeps its size, not its blocks.
        blocks = getattr(about, "st_blocks", 0)
        facts.append(f"{about.st_ino} {about.st_size} {blocks} {about.st_mtime_ns} {about.st_ctime_ns}")
    return _joined(facts)[:32]


def hole_share(path: Place) -> float:
    """Share of a slide's bytes that were never written, 0 to 1, where the file system can tell; else 0.

    No vendor writes slides with holes, but programs that copy do, until they are finished.
    """
    if isinstance(path, Url) or not hasattr(os, "SEEK_HOLE"):
        return 0.0
    files = slide_files(path)
    size = sum(file.stat().st_size for file in files)
    if size:
        return sum(_holes(file) for file in files) / size
    return 0.0


def hash_all(file: BinaryIO) -> str:
    """SHA-256 of what is left in an open file."""
    digest = hashlib.sha256()
    for chunk in iter(lambda: file.read(_CHUNK), b""):
        digest.update(chunk)
    return digest.hexdigest()


def _of_file(path: Path, stride: int) -> str:
    # Unbuffered: a buffer would read on behind every sample.
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        digest = hashlib.sha256(_head(size))
        if size <= WHOLE:
            digest.update(_at(file, 0, size))
            return digest.hexdigest()
        digest.update(_at(file, 0, END))
        digest.update(_at(file, size - END, END))
        for start in range(stride, size - END, stride):
            digest.update(_at(file, start, SAMPLE))
        for data in tiff_directories(file):
            digest.update(data)
    return digest.hexdigest()


def _remote(url: Url) -> str:
    size = url.size()
    digest = hashlib.sha256(_head(size))
    if size <= WHOLE:
        digest.update(url.read(0, size))
        return digest.hexdigest()[:32]
    step = (size - SAMPLE) // (REMOTE_SAMPLES - 1)
    fs, path = url.filesystem()
    # The end is always among them: TIFF directories often lie there.
    starts = [index * step for index in range(REMOTE_SAMPLES - 1)] + [size - SAMPLE]
    with remote_errors(url):
        # All at once: one after the other would cost a round trip to the store each.
        samples = fs.cat_ranges([path] * len(starts), starts, [start + SAMPLE for start in starts], on_error="raise")
    for sample in samples:
        digest.update(sample)
    return digest.hexdigest()[:32]


def _remote_stamp(url: Url) -> str:
    """The version of an object, where the store names it by a hash of its own."""
    fs, path = url.filesystem()
    with remote_errors(url):
        about = fs.info(path)
    version = about.get("ETag") or about.get("etag")
    if version:
        return _joined([str(about.get("size")), str(version)])[:32]
    return ""


def _holes(path: Path) -> int:
    """Bytes in the holes of a file; 0 where the file system cannot tell."""
    holes = 0
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        position = 0
        while position < size:
            start = _next(file, position, os.SEEK_HOLE)
            if start is None or start >= size:
                return holes
            data = _next(file, start, os.SEEK_DATA)
            position = size if data is None else data
            holes += position - start
    return holes


def _next(file: BinaryIO, position: int, what: int) -> int | None:
    """Where the next hole or data begins; None when there is none behind ``position``."""
    try:
        return os.lseek(file.fileno(), position, what)
    except OSError:
        return None


def _stride(size: int) -> int:
    """Bytes from one sample to the next, in whole pages."""
    return ceil_div(max(STRIDE, size // MOST_SAMPLES), _PAGE) * _PAGE


def _head(size: int) -> bytes:
    return _VERSION + str(size).encode() + b" "


def _joined(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _at(file: BinaryIO, start: int, size: int) -> bytes:
    """``size`` bytes from ``start`` on, fewer at the file's end; a raw file may give them piece by piece."""
    file.seek(start)
    pieces = list(_pieces(file, size))
    return b"".join(pieces)


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0:
        piece = file.read(size)
        if not piece:
            return
        size -= len(piece)
        yield piece

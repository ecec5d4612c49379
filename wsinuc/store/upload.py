"""Files into a folder of an object store: in parallel, in little memory, again and again until all are there.

What has arrived is noted, with size and hash, in a file beside the outputs. When an upload is
repeated, a file whose note and whose size in the store still agree is not sent again. Large files
go in parts, so that memory is bounded by the number of streams, never by a file. A file that failed
in the middle is discarded, not completed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsinuc.errors import DataError, OutputError
from wsinuc.limits import parse_json
from wsinuc.own_files import append, what_is
from wsinuc.urls import Url, remote_errors

STREAMS = 8
"""Files under way at once."""
PART = 8 * 2**20
"""Bytes of a part of a large file; smaller files go in one request. S3 allows 10,000 parts of at least 5 MiB."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What tells one file's content from another's."""

    size: int
    sha256: str


def digest(path: Path) -> Digest:
    """Size and hash of a file."""
    with path.open("rb") as file:
        return Digest(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def digests(folder: Path) -> dict[str, Digest]:
    """Every file below a folder, by its name relative to it with ``/``, sorted."""
    files = sorted(path for path in folder.rglob("*") if what_is(path) == "file")
    return {path.relative_to(folder).as_posix(): digest(path) for path in files}


def list_sizes(url: Url) -> dict[str, int]:
    """Sizes of all objects below a URL, by their names relative to it; raises RemoteError."""
    fs, root = url.filesystem()
    with remote_errors(url):
        objects = fs.find(root, detail=True)
    # A store knows no folders: asked for "a/b" it may also tell of an object "a/bc".
    prefix = root.rstrip("/") + "/"
    return {path.removeprefix(prefix): info["size"] for path, info in objects.items() if path.startswith(prefix)}


def upload(folder: Path, files: Mapping[str, Digest], url: Url, notes: Path) -> None:
    """Bring the files of a folder below a URL.

    Parameters
    ----------
    folder
        Where the files lie.
    files
        Which of them, by their names relative to the folder.
    notes
        File of what has arrived. What it says is there, and is, is not sent again.

    Raises
    ------
    RemoteError
        The store is out of reach or refuses; the rest can be sent by calling this again.
    OutputError
        A file changed on disk since its digest was taken, or did not arrive whole.
    """
    arrived = _read_notes(notes)
    sizes = list_sizes(url)
    missing = [name for name, file in files.items() if arrived.get(name) != file or sizes.get(name) != file.size]
    fs, root = url.filesystem()
    lock = threading.Lock()

    def send(name: str) -> None:
        with remote_errors(url / name):
            _send(folder / name, files[name], fs, f"{root}/{name}")
        # Noted after it has arrived, one line at a time: a killed upload goes on from there.
        with lock, append(notes) as lines:
            lines.write((json.dumps([name, files[name].size, files[name].sha256]) + "\n").encode())

    with ThreadPoolExecutor(STREAMS, thread_name_prefix="wsinuc-upload") as pool:
        jobs = [pool.submit(send, name) for name in missing]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            # Leaving the pool would first send all that is waiting.
            pool.shutdown(cancel_futures=True)
            raise
    sizes = list_sizes(url)
    for name, file in files.items():
        if sizes.get(name) != file.size:
            raise OutputError(
                f"{url / name} holds {sizes.get(name, 0)} bytes, {file.size} were sent: run the same command again"
            )


def _send(source: Path, file: Digest, fs: Any, target: str) -> None:
    """One file, checked against its digest as it is read."""
    if file.size <= PART:
        data = source.read_bytes()
        _check(hashlib.sha256(data).hexdigest(), file, source)
        fs.pipe_file(target, data)
        return
    stream = fs.open(target, "wb", block_size=PART)
    try:
        with source.open("rb") as content:
            _check(hashlib.file_digest(content, "sha256").hexdigest(), file, source)
            content.seek(0)
            shutil.copyfileobj(content, stream, PART)
        stream.close()
    except BaseException:
        # Closing the stream, as its finaliser does, would complete the object.
        stream.closed = True
        with suppress(Exception):
            stream.discard()
        raise


def _check(sha256: str, file: Digest, source: Path) -> None:
    if sha256 != file.sha256:
        raise OutputError(f"{source} has changed since it was written: run the same command again, it is made anew")


def _read_notes(path: Path) -> dict[str, Digest]:
    """What has arrived; a line that is damaged or half written counts as not noted."""
    arrived: dict[str, Digest] = {}
    if not path.is_file():
        return arrived
    with path.open("rb") as file:
        for line in file:
            with suppress(DataError, ValueError, TypeError):
                name, size, sha256 = parse_json(line, str(path))
                arrived[name] = Digest(size, sha256)
    return arrived

"""Small files that are whole or absent, and what to say when the file system refuses."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsinuc import durable, limits, own_files
from wsinuc.errors import DataError, OutputError


def write_json(content: Mapping[str, Any], path: Path, *, sync: bool = True) -> None:
    """Write JSON so that ``path`` is either absent or whole, also after a power cut.

    Without ``sync`` that holds when the process is killed, but not when the power fails: for what
    can be found out again.
    """
    with durable.replacing(path, own_files.beside(path), sync=sync) as file:
        file.write(as_json(content))


def as_json(content: Mapping[str, Any]) -> bytes:
    """The bytes of a JSON file: sorted, one value a line."""
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def read_json(path: Path) -> dict[str, Any]:
    """Content of a JSON object, empty when the file is absent or no such thing."""
    try:
        # Bounded, because anybody may have put a file of that name there.
        text = own_files.read(path, follow=True, limit=limits.MAX_TEXT)
        content = limits.parse_json(text, str(path))
    except (OSError, DataError):
        return {}
    if isinstance(content, dict):
        return content
    return {}


def remove(path: Path) -> None:
    """Delete a file, a link (not its target), or a directory with all it holds; what is not there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def disk_errors(directory: Path) -> Iterator[None]:
    """Turn what the file system refuses into one OutputError that says what to do."""
    try:
        yield
    except OSError as error:
        # An OutputError is an OSError as well, and the error number stands in what it was raised from.
        if isinstance(error, OutputError):
            reason = error.__cause__
        else:
            reason = error
        number = getattr(reason, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"no space left for {directory}: free some and run the same command again, it goes on where it stopped"
            ) from error
        if error is reason and number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG):
            raise OutputError(f"cannot write {directory}: {error.strerror}; choose another place with -o") from error
        raise

"""Which documents a file of annotations holds: one, or the entries of a zip; none of them unpacked beyond its limit."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from wsinuc import limits
from wsinuc.errors import DataError
from wsinuc.limits import MAX_RATIO, listed, open_bounded
from wsinuc.regular import require_regular

SUFFIXES = (".geojson", ".json", ".geojson.gz", ".json.gz", ".zip")
"""Endings of files that hold GeoJSON."""
MAX_ENTRIES = 10_000
"""Largest number of entries of a zip that is looked at."""


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON document."""

    name: str
    """For messages: the file, or the file and the entry of the zip."""
    open: Callable[[], BinaryIO]
    """A stream of its bytes, unpacked; raises DataError beyond the limit, and OSError."""


def is_geojson(path: Path) -> bool:
    """Whether the name says that it holds GeoJSON."""
    return path.name.lower().endswith(SUFFIXES)


@contextmanager
def documents(path: Path, limit: int | None = None) -> Iterator[list[Document]]:
    """The documents of a file, to be opened while the block lasts; what is no zip by its name is one document.

    Raises
    ------
    DataError
        There is no such file, its compressed data are damaged, it is larger than ``limit`` bytes (``limits.MAX_TEXT``),
        it shrank as no GeoJSON does, or it is a zip without GeoJSON.
    """
    try:
        require_regular(path)
        if path.name.lower().endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                yield _entries(archive, path, limits.MAX_TEXT if limit is None else limit)
        else:
            yield [Document(str(path), lambda: open_bounded(path, limit))]
    except DataError:
        raise
    except (EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot read it, the compressed data are damaged ({error}): copy it again") from error
    except (RuntimeError, NotImplementedError) as error:  # what zipfile raises for encryption and odd compression
        raise DataError(f"{path}: cannot read the zip ({error}): make it anew without a password") from error
    except OSError as error:
        raise DataError(f"{path}: cannot read the GeoJSON file ({error.strerror or error})") from error


def _entries(archive: zipfile.ZipFile, path: Path, limit: int) -> list[Document]:
    entries = [entry for entry in archive.infolist() if _is_wanted(entry)]
    if len(archive.infolist()) > MAX_ENTRIES:
        raise DataError(f"{path} has {len(archive.infolist()):,} entries, up to {MAX_ENTRIES:,} are read")
    if not entries:
        raise DataError(f"{path}: a zip without a .geojson file in it, expected one as QuPath exports it")
    # By the archive's own table of contents; zipfile ends an entry that turns out longer than it says.
    if sum(entry.file_size for entry in entries) > limit:
        raise DataError(f"{path} holds more than {limit / 2**20:.0f} MiB when unpacked: export the regions alone")
    for entry in entries:
        # The constant is for entries of a few bytes, which headers make up.
        if entry.file_size > MAX_RATIO * (entry.compress_size + 1024):
            raise DataError(
                f"{path}: {listed([entry.filename])} shrank more than {MAX_RATIO} times, it is not unpacked"
            )
    return [Document(f"{path}, {listed([entry.filename])}", partial(_open_entry, archive, entry)) for entry in entries]


def _open_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> BinaryIO:
    return cast(BinaryIO, archive.open(entry))


def _is_wanted(entry: zipfile.ZipInfo) -> bool:
    """GeoJSON by its name, and not one of the files that macOS adds."""
    return entry.filename.lower().endswith((".geojson", ".json")) and not entry.filename.startswith("__MACOSX/")

"""The table of nuclei as a Parquet file: one row per nucleus, readable without wsinuc.

``columns`` says what the file holds. Equal nuclei give equal bytes (with one version of pyarrow), a
file appears complete or not at all, and its pages carry checksums, which are looked at when it is
read. Files of version 1, which hold outlines instead of polygons, are read as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsinuc import durable, own_files
from wsinuc.errors import DamageError, DataError, OutputError, RemoteError
from wsinuc.limits import parse_json
from wsinuc.nuclei.columns import (
    KEY,
    OUTLINE_VERSION,
    VERSION,
    Provenance,
    check_columns,
    from_arrow,
    outlines_of,
    provenance_of,
    read_columns,
    sealed,
    shape_column,
    to_arrow,
)
from wsinuc.nuclei.table import Nuclei
from wsinuc.urls import Place, PlaceLike, Url, to_place

PARQUET = {
    "compression": "zstd",
    "write_page_checksum": True,
    # Numbers and polygons hardly repeat: a dictionary of them is larger than they are.
    "use_dictionary": ["class"],
}
"""Options of `pyarrow.parquet.ParquetWriter` for every table of nuclei."""
_DAMAGE = (LookupError, ValueError, AttributeError, TypeError, ArithmeticError, pa.ArrowException)


def write_nuclei(nuclei: Nuclei, path: Path, provenance: Provenance | None = None) -> str:
    """Write a table of nuclei, replacing the file at once when it is complete.

    Parameters
    ----------
    nuclei
        Nuclei of one slide.
    path
        The file.
    provenance
        The run that numbered them; None, for nuclei without final ids, leaves out the column ``uuid``.

    Returns
    -------
    str
        SHA-256 of the bytes as they were made; what ``read_nuclei`` can compare with what the disk gives back.

    Raises
    ------
    OutputError
        When the file cannot be written, for instance because the disk is full.
    """
    path = Path(path)
    buffer = pa.BufferOutputStream()
    pq.write_table(to_arrow(nuclei, provenance), buffer, **PARQUET)
    content = buffer.getvalue()
    try:
        # Two processes may write one file: each has a partial file of its own.
        with durable.replacing(path, own_files.beside(path)) as file:
            file.write(content)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return hashlib.sha256(content).hexdigest()


def read_nuclei(path: PlaceLike, sha256: str | None = None) -> Nuclei:
    """The table that `write_nuclei` wrote, exactly; ``path`` may be a URL.

    Parameters
    ----------
    path
        A Parquet file of nuclei.
    sha256
        Hash that the file must have, as `write_nuclei` returns it and a result's manifest lists it; None takes any.

    Returns
    -------
    Nuclei
        The nuclei of the file, outlines in view pixels.

    Raises
    ------
    DamageError
        When the file is not there, or is not the one that has this hash.
    DataError
        When the file is missing, damaged, or no table of nuclei.
    RemoteError
        When the URL cannot be reached.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import wsinuc
    >>> from wsinuc.nuclei import Frame, empty, write_nuclei
    >>> path = Path(tempfile.mkdtemp()) / "part.parquet"
    >>> frame = Frame(mpp=0.25, downsample=(1.0, 1.0))
    >>> sha256 = write_nuclei(empty(frame, ("Nucleus",), ((0, 200, 80),)), path)
    >>> nuclei = wsinuc.read_nuclei(path, sha256)
    >>> len(nuclei), nuclei.class_names, nuclei.frame.mpp
    (0, ('Nucleus',), 0.25)
    """
    path = to_place(path)
    file, about = _open(path, sha256)
    return _read(path, file, about)


def read_table(path: str | Place, sha256: str | None = None, provenance: Provenance | None = None) -> pa.Table:
    """The table as Arrow, with the columns and metadata that ``wsinuc.nuclei.columns`` lists.

    Parameters
    ----------
    path, sha256
        As `read_nuclei` takes them.
    provenance
        The run that numbered the nuclei of a file of version 1, which does not say it; gives ``uuid``.

    Raises
    ------
    DamageError, DataError, RemoteError
        As `read_nuclei` raises them.
    """
    path = to_place(path)
    file, about = _open(path, sha256)
    if about["version"] == OUTLINE_VERSION:
        return to_arrow(_read(path, file, about), provenance)
    try:
        table = file.read()
        check_columns(table.schema, about)
    except (*_DAMAGE, OSError) as error:
        raise _damaged(path, error) from error
    return table


def read_some(path: Path, columns: Sequence[str]) -> tuple[pa.Table, dict[str, Any]]:
    """Some columns of a table, and its header; the rest of the file stays on the disk.

    Pages are checked by their checksums alone: a hash would take the whole file.

    Parameters
    ----------
    path
        A Parquet file of nuclei.
    columns
        Their names; those that the file does not have are passed over.

    Raises
    ------
    DataError
        When the file is missing, damaged, or no table of nuclei.
    """
    try:
        with path.open("rb") as stream:
            file, about = _opened(pa.PythonFile(stream, mode="r"), path)
            there = set(file.schema_arrow.names)
            # Parts are small and read side by side: threads of Arrow's own would only wait for each other.
            return file.read([name for name in columns if name in there], use_threads=False), about
    except DataError:
        raise
    except (*_DAMAGE, OSError) as error:
        raise _damaged(path, error) from error


def read_outlines(path: Path, sha256: str | None = None) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Corners (y, x) in view pixels of all nuclei of a table, and offsets, as `Nuclei` holds them.

    Raises as `read_nuclei` does.
    """
    file, about = _open(path, sha256)
    try:
        return outlines_of(file.read([shape_column(about)]), about)
    except (*_DAMAGE, OSError) as error:
        raise _damaged(path, error) from error


def read_provenance(path: str | Place) -> Provenance | None:
    """The run that numbered the nuclei of a file; None where it does not say it. Raises as `read_nuclei` does."""
    path = to_place(path)
    _, about = _open(path, None)
    try:
        return provenance_of(about)
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _open(path: Place, sha256: str | None) -> tuple[pq.ParquetFile, dict[str, Any]]:
    """A file of nuclei and its header, of a version that can be read."""
    try:
        source = _source(path, sha256)
    except (RemoteError, DamageError):
        raise
    except (ValueError, OSError) as error:
        raise DataError(f"expected a Parquet file of nuclei at {path}: {str(error).splitlines()[0]}") from error
    return _opened(source, path)


def _opened(source: pa.NativeFile, path: Place) -> tuple[pq.ParquetFile, dict[str, Any]]:
    try:
        file = pq.ParquetFile(source, page_checksum_verification=True)
        header = (file.schema_arrow.metadata or {}).get(KEY)
    # A name of a column that is no UTF-8 is a ValueError.
    except (*_DAMAGE, OSError) as error:
        raise DataError(f"expected a Parquet file of nuclei at {path}: {str(error).splitlines()[0]}") from error
    if header is None:
        raise DataError(f"{path} is a Parquet file but no table of nuclei: its metadata has no key 'wsinuc'")
    about = _parse_header(header, path)
    if about["version"] not in (OUTLINE_VERSION, VERSION):
        raise DataError(
            f"{path} has format version {about['version']}, this wsinuc reads up to {VERSION}: "
            "use the wsinuc that wrote it, or a newer one"
        )
    return file, about


def _read(path: Place, file: pq.ParquetFile, about: dict[str, Any]) -> Nuclei:
    try:
        return from_arrow(file.read(read_columns(about)), about)
    except (*_DAMAGE, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Place, error: Exception) -> DataError:
    return DataError(f"{path} is damaged: its columns are not those of a table of nuclei ({error})")


def _source(path: Place, sha256: str | None) -> pa.BufferReader:
    """What Arrow reads the table from: bytes that have the hash, where one is given."""
    # Arrow itself opens only names that are UTF-8.
    if isinstance(path, Url):
        content = path.read()
    elif sha256 is None:
        content = path.read_bytes()
    else:
        content = _content(path)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise DamageError(
            f"{path} is not the file that was written: damaged, swapped or replaced since; wsinuc verify "
            "lists all that is"
        )
    return pa.BufferReader(content)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DamageError(f"{path} is missing: was the result copied incompletely?") from error


def _parse_header(header: bytes, path: Place) -> dict[str, Any]:
    try:
        about: dict[str, Any] = parse_json(header, str(path))
        if about["version"] in (OUTLINE_VERSION, VERSION) and "seal" in about and about != sealed(about):
            # Parquet has checksums for its pages, none for its metadata.
            raise ValueError("checksum")
    except (DataError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f"{path} is damaged: its metadata is no header of nuclei ({error})") from error
    return about

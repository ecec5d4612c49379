"""Nuclei as a Parquet file: one row per nucleus, readable by pandas, polars, DuckDB or R without wsinuc.

==========================  ==========================================================================
id                          int64
y, x                        centroid in level-0 pixels
y_px, x_px                  the same in view pixels, exactly as measured; what `read_nuclei` takes
class                       name, dictionary-encoded
probability, disagreement   0 to 1
probability_<class>         one column per class
area_px                     pixels of the view
area_um2, ...               shape, units in the names
outline                     y, x, y, x, ... of the corner points in view pixels; first point not repeated
cell_outline                the same of its cell, where cells were grown
==========================  ==========================================================================

The key ``wsinuc`` of the file's metadata holds JSON: format version, frame, classes with colours,
measurements, units. Equal nuclei give equal bytes (with one version of pyarrow), a file appears
complete or not at all, and its pages carry checksums, which are looked at when it is read.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsinuc import durable, own_files
from wsinuc.errors import DamageError, DataError, OutputError, RemoteError
from wsinuc.limits import parse_json
from wsinuc.nuclei.measured_names import units_of
from wsinuc.nuclei.table import Frame, Nuclei
from wsinuc.urls import Place, Url, to_place

VERSION = 1
KEY = b"wsinuc"
UNITS = {
    "y": "level-0 px",
    "x": "level-0 px",
    "y_px": "view px",
    "x_px": "view px",
    "area_px": "view px",
    "outline": "view px, (y, x) pairs, closed by its first point",
    "cell_outline": "view px, (y, x) pairs, closed by its first point",
    "area_um2": "um^2",
    "length_um": "um",
    "max_diameter_um": "um",
    "min_diameter_um": "um",
}


def write_nuclei(nuclei: Nuclei, path: Path) -> str:
    """Write a table of nuclei, replacing the file at once when it is complete.

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
    pq.write_table(_to_table(nuclei), buffer, compression="zstd", write_page_checksum=True)
    content = buffer.getvalue()
    try:
        # Two processes may write one file: each has a partial file of its own.
        with durable.replacing(path, own_files.beside(path)) as file:
            file.write(content)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return hashlib.sha256(content).hexdigest()


def read_nuclei(path: str | Place, sha256: str | None = None) -> Nuclei:
    """The table that `write_nuclei` wrote, exactly; ``path`` may be a URL.

    Parameters
    ----------
    path
        A Parquet file of nuclei.
    sha256
        Hash that the file must have, as `write_nuclei` returns it and a result's manifest lists it; None takes any.

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
    try:
        source = _source(path, sha256)
        # Without partitioning, or folders called "key=value" would become columns.
        table = pq.read_table(source, partitioning=None, page_checksum_verification=True)
    except (RemoteError, DamageError):
        raise
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"expected a Parquet file of nuclei at {path}: {str(error).splitlines()[0]}") from error
    header = (table.schema.metadata or {}).get(KEY)
    if header is None:
        raise DataError(f"{path} is a Parquet file but no table of nuclei: its metadata has no key 'wsinuc'")
    about = _parse_header(header, path)
    if about["version"] != VERSION:
        raise DataError(
            f"{path} has format version {about['version']}, this wsinuc reads {VERSION}: use the one that wrote it"
        )
    try:
        return _from_table(table, about)
    except (LookupError, ValueError, AttributeError, TypeError, ArithmeticError, pa.ArrowException) as error:
        raise DataError(f"{path} is damaged: its columns are not those of a table of nuclei ({error})") from error


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
        if about["version"] == VERSION and "seal" in about and about != _sealed(about):
            # Parquet has checksums for its pages, none for its metadata.
            raise ValueError("checksum")
    except (DataError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f"{path} is damaged: its metadata is no header of nuclei ({error})") from error
    return about


def _sealed(header: dict[str, Any]) -> dict[str, Any]:
    """The header with a hash over the rest of it."""
    rest = {key: value for key, value in header.items() if key != "seal"}
    return {**rest, "seal": hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()}


def _to_table(nuclei: Nuclei) -> pa.Table:
    level0 = nuclei.level0_centroids()
    view = nuclei.centroids
    columns: dict[str, Any] = {
        "id": nuclei.ids,
        "y": level0[:, 0],
        "x": level0[:, 1],
        "y_px": view[:, 0],
        "x_px": view[:, 1],
        "class": _class_column(nuclei),
        "probability": nuclei.probabilities,
        "disagreement": nuclei.disagreements,
    }
    columns |= {f"probability_{name}": nuclei.class_probabilities[:, i] for i, name in enumerate(nuclei.class_names)}
    columns |= {"area_px": nuclei.areas_px, **nuclei.measurements}
    columns["outline"] = _ring_column(nuclei.outlines, nuclei.offsets)
    if nuclei.cell_outlines is not None and nuclei.cell_offsets is not None:
        columns["cell_outline"] = _ring_column(nuclei.cell_outlines, nuclei.cell_offsets)
    return pa.table(columns, metadata={KEY: json.dumps(_sealed(_header(nuclei)), sort_keys=True)})


def _ring_column(outlines: NDArray[np.int32], offsets: NDArray[np.int64]) -> pa.ListArray:
    # Offsets count corners, and the list counts numbers: two for each corner.
    corners = pa.array(np.ascontiguousarray(outlines).reshape(-1))
    return pa.ListArray.from_arrays(pa.array((2 * offsets).astype(np.int32)), corners)


def _rings(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Corners and offsets, as `_ring_column` was given them."""
    column = column.combine_chunks()
    offsets = np.zeros(1, np.int64)
    if len(column):
        offsets = np.array(column.offsets).astype(np.int64) // 2
    return np.array(column.flatten()).reshape(-1, 2), offsets


def _class_column(nuclei: Nuclei) -> pa.Array:
    if not nuclei.class_names:
        return pa.nulls(len(nuclei), pa.dictionary(pa.int32(), pa.string()))
    return pa.DictionaryArray.from_arrays(nuclei.classes.astype(np.int32), pa.array(nuclei.class_names, pa.string()))


def _header(nuclei: Nuclei) -> dict[str, Any]:
    return {
        "version": VERSION,
        "frame": {"mpp": nuclei.frame.mpp, "downsample": nuclei.frame.downsample},
        "classes": [{"name": n, "color": c} for n, c in zip(nuclei.class_names, nuclei.class_colors, strict=True)],
        "measurements": list(nuclei.measurements),
        "units": UNITS | units_of(nuclei.measurements),
    }


def _from_table(table: pa.Table, about: dict[str, Any]) -> Nuclei:
    names = tuple(c["name"] for c in about["classes"])

    def column(name: str) -> NDArray[Any]:
        return np.array(table[name].to_numpy())  # Arrow's own memory is read-only

    outlines, offsets = _rings(table["outline"])
    cell_outlines, cell_offsets = None, None
    if "cell_outline" in table.column_names:
        cell_outlines, cell_offsets = _rings(table["cell_outline"])
    # NumPy stacks no empty list.
    probabilities = np.zeros((len(table), 0), np.float32)
    if names:
        probabilities = np.stack([column(f"probability_{name}") for name in names], axis=1)
    return Nuclei(
        frame=Frame(mpp=about["frame"]["mpp"], downsample=tuple(about["frame"]["downsample"])),
        class_names=names,
        class_colors=tuple(tuple(c["color"]) for c in about["classes"]),
        ids=column("id"),
        centroids=np.stack([column("y_px"), column("x_px")], axis=1),
        areas_px=column("area_px"),
        outlines=outlines,
        offsets=offsets,
        cell_outlines=cell_outlines,
        cell_offsets=cell_offsets,
        classes=_class_indices(table["class"], names),
        class_probabilities=probabilities,
        probabilities=column("probability"),
        disagreements=column("disagreement"),
        measurements={name: column(name) for name in about["measurements"]},
    )


def _class_indices(column: pa.ChunkedArray, names: tuple[str, ...]) -> NDArray[np.uint8]:
    """Positions in ``names``; a reader may have given the dictionary another order."""
    if not names or len(column) == 0:
        return np.zeros(len(column), np.uint8)
    # A file of several row groups comes as chunks with a dictionary each.
    column = column.unify_dictionaries().combine_chunks()
    positions = np.array([names.index(name) for name in column.dictionary.to_pylist()], np.uint8)
    indices: NDArray[np.int32] = np.asarray(column.indices)
    return positions[indices]

"""The table as CSV, for spreadsheets and for whatever reads nothing else: a line per nucleus, without polygons."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
from pyarrow import csv

from wsinuc.exports.atomic import replacing
from wsinuc.nuclei.columns import flat_columns
from wsinuc.store import iter_tables
from wsinuc.store.conditions import Conditions

_GZIP_LEVEL = 4
_FORMULA = ("=", "+", "-", "@", "\t")
"""What a spreadsheet takes for the beginning of a formula."""


def write_csv(result: Path, out: Path, *, where: str | Sequence[str] = ()) -> None:
    """Write the table of a finished result as CSV: UTF-8, commas, a point in numbers, names in the first line.

    The columns are those of `wsinuc.nuclei.columns` without ``bbox`` and ``geometry``. Numbers have all the digits
    that tell them apart. A class whose name a spreadsheet would take for a formula gets an apostrophe before it.

    Parameters
    ----------
    result
        The directory of a result (``slide.wsinuc``).
    out
        The file; what lies there is replaced.
    where
        Conditions on the nuclei that are written, see `wsinuc.store.conditions`.

    Raises
    ------
    ConfigError
        A condition has another form, or the table has no such column or class.
    DamageError, OutputError, DataError
        The result cannot be read, or ``out`` not be written.
    """
    conditions = Conditions.parse(where)
    with replacing(out) as stream:
        _write(result, stream, conditions)


def write_csv_gz(result: Path, out: Path, *, where: str | Sequence[str] = ()) -> None:
    """Write what `write_csv` writes, compressed with gzip. Parameters and errors are the same."""
    conditions = Conditions.parse(where)
    # Without name or time in the header, so that the bytes are reproducible.
    with (
        replacing(out) as stream,
        gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0, compresslevel=_GZIP_LEVEL) as packed,
    ):
        _write(result, cast(BinaryIO, packed), conditions)


def _write(result: Path, stream: BinaryIO, conditions: Conditions) -> None:
    tables = _plain_tables(result, conditions)
    first = next(tables)
    with csv.CSVWriter(stream, first.schema, write_options=csv.WriteOptions(quoting_style="needed")) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def _plain_tables(result: Path, conditions: Conditions) -> Iterator[pa.Table]:
    """Parts of the table with numbers and text alone."""
    for table in conditions.of_tables(iter_tables(result)):
        plain = table.select(flat_columns(table.schema))
        # The class, and where classes were changed the one that a nucleus had.
        for place, field in enumerate(plain.schema):
            if pa.types.is_dictionary(field.type):
                plain = plain.set_column(place, field.name, _class_names(plain[place]))
        yield plain


def _class_names(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Names of classes as text that no spreadsheet calculates with."""
    chunks = []
    for chunk in column.chunks:
        names = [f"'{name}" if name.startswith(_FORMULA) else name for name in chunk.dictionary.to_pylist()]
        chunks.append(pa.array(names, pa.string()).take(chunk.indices))
    return pa.chunked_array(chunks, pa.string())

"""All parts of a table in one GeoParquet file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from wsinuc.exports.atomic import replacing
from wsinuc.nuclei.parquet import PARQUET
from wsinuc.store import iter_tables
from wsinuc.store.conditions import Conditions

ROW_GROUP = 50_000
"""Nuclei that a reader decodes together; about 20 MB."""
WHERE = b"wsinuc_where"
"""Key in the file's metadata of the conditions for which these nuclei alone are in it; all are in a file without."""


def write_geoparquet(result: Path, out: Path, *, where: str | Sequence[str] = ()) -> None:
    """Write the table of a finished result as one file, with the columns of `wsinuc.nuclei.columns`.

    Row groups are cut by position alone, so the bytes do not depend on the parts of the table.

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
    groups = row_groups(conditions.of_tables(iter_tables(result)), ROW_GROUP)
    first = next(groups)
    schema = first.schema
    if conditions.texts:
        schema = schema.with_metadata({**schema.metadata, WHERE: " and ".join(conditions.texts).encode()})
    with replacing(out) as stream, pq.ParquetWriter(stream, schema, **PARQUET) as writer:
        for group in chain([first], groups):
            writer.write_table(group)


def row_groups(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """The rows of all tables, ``size`` at a time and each column in one piece; a table without rows when there are
    none."""
    waiting: list[pa.Table] = []
    count = 0
    yielded = False
    for table in tables:
        waiting.append(table)
        count += table.num_rows
        while count >= size:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, size).combine_chunks()
            yielded = True
            waiting = [whole.slice(size)]
            count -= size
    if waiting and (count or not yielded):
        yield pa.concat_tables(waiting).combine_chunks()

"""Which results are looked at with which annotations: one of each, or the rows of a table.

A table is a CSV file with the columns ``result`` and ``annotations``; paths in it are relative to the table::

    result,annotations
    out/a.wsinuc,regions/a.geojson
    out/b.wsinuc,regions/b.geojson
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from wsinuc.errors import DataError
from wsinuc.limits import read_bounded
from wsinuc.urls import Place, to_place

COLUMNS = ("result", "annotations")


@dataclass(frozen=True, slots=True)
class RegionJob:
    """A result and the regions that were drawn on its slide."""

    result: Place
    annotations: Path


def read_job_table(path: Path) -> list[RegionJob]:
    """The rows of a table, separated by commas or semicolons.

    Raises
    ------
    DataError
        There is no such file, or it is no table with these columns; the message names the line.
    """
    text = _text(path)
    head = text.lstrip().partition("\n")[0]
    # Excel writes semicolons where a comma is decimal.
    delimiter = ";" if ";" in head and "," not in head else ","
    rows = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        header = [cell.strip().lower() for cell in next(rows, [])]
        if sorted(header) != sorted(COLUMNS):
            raise DataError(
                f"{path}: expected the columns result and annotations in its first line, got {head[:100]!r}"
            )
        jobs = [_job(header, row, path, rows.line_num) for row in rows if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num}: no proper CSV ({error}): save it again as CSV") from error
    if not jobs:
        raise DataError(f"{path} lists no results: expected a line for each below the header")
    return jobs


def _job(header: list[str], row: list[str], path: Path, line: int) -> RegionJob:
    cells = dict(zip(header, (cell.strip() for cell in row), strict=False))
    if len(row) != len(header) or not all(cells.values()):
        raise DataError(f"{path}, line {line}: expected a result and a file of annotations, got {len(row)} values")
    place = to_place(cells["result"])
    if isinstance(place, Path):
        place = path.parent / place
    return RegionJob(place, path.parent / cells["annotations"])


def _text(path: Path) -> str:
    try:
        return read_bounded(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text: in Excel, save it as 'CSV UTF-8 (comma delimited)'") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error

"""Which results are looked at with which annotations: one of each, or the rows of a table.

A table is a CSV file with the columns ``result`` and ``annotations``; paths in it are relative to the table::

    result,annotations
    out/a.wsinuc,regions/a.geojson
    out/b.wsinuc,regions/b.geojson
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsinuc.errors import DataError
from wsinuc.limits import listed, parse_table, read_text
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
    header, rows = parse_table(read_text(path, "a table with the columns result and annotations"), path)
    if sorted(header) != sorted(COLUMNS):
        raise DataError(
            f"{path}: expected the columns result and annotations in its first line, got {listed(header)!r}"
        )
    jobs = [_job(header, row, path, number) for number, row in rows]
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

"""Names in a result."""

from __future__ import annotations

import re

OUTPUTS = (
    "nuclei",
    "labels.ome.zarr",
    "nuclei.geojson",
    "nuclei.geojson.gz",
    "nuclei.geojson.zip",
    "preview.png",
    "report.html",
)
SUMMARY = "summary.json"
_PART = re.compile(r"nuclei/part-(\d{5,})\.parquet")


def part_name(block: int) -> str:
    """Name of the part of the table that holds the nuclei of a block.

    Examples
    --------
    >>> part_name(3)
    'nuclei/part-00003.parquet'
    """
    return f"nuclei/part-{block:05d}.parquet"


def part_block(name: str) -> int | None:
    """Which block's part a file of that name is; None for other files.

    Examples
    --------
    >>> part_block("nuclei/part-00003.parquet"), part_block("nuclei/notes.txt")
    (3, None)
    """
    match = _PART.fullmatch(name)
    return int(match[1]) if match else None

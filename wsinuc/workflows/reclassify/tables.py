"""The tables of finished results as they are taught: which slide, which measurements, which classes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from wsinuc.errors import DataError
from wsinuc.exports.formats.write import SUFFIX, finished
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.nuclei.columns import KEY, provenance_of
from wsinuc.nuclei.reclassified import ORIGINAL_CLASS
from wsinuc.store import iter_tables
from wsinuc.store.manifest import read_made
from wsinuc.urls import PlaceLike


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultTable:
    """One finished result, read part by part."""

    folder: Path
    origin_xy: tuple[float, float]
    """(x, y) of QuPath's (0, 0) in level-0 pixels."""
    um_per_px: float
    """um per level-0 pixel."""
    measurements: tuple[str, ...]
    classes: tuple[NucleusClass, ...]
    """Those that the nuclei have."""
    original: bool
    """Whether the table keeps classes that the nuclei had before these."""
    nuclei: int
    partial: bool
    """Whether a region of interest was segmented, and not the whole slide."""
    summary: dict[str, Any]

    @property
    def stem(self) -> str:
        """The slide's name: that of the folder without its ending."""
        return self.folder.resolve().name.removesuffix(SUFFIX)

    def parts(self) -> Iterator[pa.Table]:
        """The table part by part, each compared with its hash."""
        return iter_tables(self.folder)


def open_table(result: PlaceLike) -> ResultTable:
    """A finished result.

    Raises
    ------
    DamageError, OutputError
        It is none, is damaged, or lies at a URL.
    """
    folder = finished(result)
    first = next(iter_tables(folder), None)
    if first is None:
        raise DataError(f"{folder} holds no table of nuclei: segment the slide again with --overwrite")
    about = json.loads(first.schema.metadata[KEY])
    summary = dict(read_made(folder).content)
    run = provenance_of(about)
    if run is not None and run.origin_yx is not None:
        y, x = run.origin_yx
    else:
        # Tables of older versions leave it to the summary.
        y, x = summary.get("origin", (0.0, 0.0))
    frame = about["frame"]
    return ResultTable(
        folder=folder,
        origin_xy=(float(x), float(y)),
        um_per_px=float(frame["mpp"] / np.mean(frame["downsample"])),
        measurements=tuple(about["measurements"]),
        classes=tuple(NucleusClass(each["name"], tuple(each["color"])) for each in about["classes"]),
        original=ORIGINAL_CLASS in first.column_names,
        nuclei=int(summary.get("nuclei", 0)),
        partial=summary.get("config", {}).get("roi") is not None,
        summary=summary,
    )


def open_tables(results: Sequence[PlaceLike]) -> list[ResultTable]:
    """Several results, each once; raises as `open_table` does, and DataError where two are of one slide's name."""
    tables = [open_table(result) for result in results]
    stems = [table.stem for table in tables]
    for stem in stems:
        if stems.count(stem) > 1:
            raise DataError(f"two results are called {stem}{SUFFIX}: give each slide once")
    return tables

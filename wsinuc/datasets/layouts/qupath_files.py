"""Which slides are annotated in which files: one slide, a folder of them, or the lines of a table.

A slide's annotations lie beside it (``slide.svs`` and ``slide.geojson``) or are named. A table is a CSV file with the
columns ``slide`` and, where they do not lie beside the slides, ``annotations``; paths in it are relative to the table,
and further columns are attributes of the slides::

    slide,annotations,patient
    a.svs,drawn/a.geojson,P01
    b.svs,drawn/b.geojson,P02
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wsinuc.datasets.base import Row
from wsinuc.datasets.files import read_table
from wsinuc.errors import DataError

SUFFIXES = (".geojson", ".geojson.gz")
"""Endings of a file of annotations that is looked for beside a slide."""
TABLE = ".csv"
"""Ending of a table of slides."""
_NO_SLIDES = (".gz", ".geojson", ".json", ".csv", ".txt", ".md", ".xml", ".yaml", ".yml", ".pdf", ".html", ".zip")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedFile:
    """A slide and the file of its annotations."""

    slide: Path
    annotations: Path
    attributes: Row = field(default_factory=dict)
    """What a table says of the slide, by column."""


def annotated_files(path: Path, annotations: Path | None = None) -> tuple[AnnotatedFile, ...]:
    """The slides that a path stands for, in a fixed order; none for a folder without any.

    Parameters
    ----------
    path
        A slide, a folder of slides with their annotations beside them, or a table.
    annotations
        Those of the one slide; None looks beside it.

    Raises
    ------
    DataError
        A slide has no annotations, or a table is none.
    """
    if annotations is not None:
        return (AnnotatedFile(slide=path, annotations=annotations),)
    if path.is_dir():
        return tuple(_in_folder(path))
    if path.suffix.lower() == TABLE:
        return tuple(_in_table(path))
    return (AnnotatedFile(slide=path, annotations=_required(path)),)


def annotations_beside(slide: Path) -> Path | None:
    """The file of annotations beside a slide: ``slide.geojson`` or ``slide.svs.geojson``, also packed."""
    for stem in (slide.stem, slide.name, slide.stem.removesuffix(".ome")):
        for suffix in SUFFIXES:
            candidate = slide.with_name(stem + suffix)
            if candidate.is_file():
                return candidate
    return None


def is_annotated(path: Path) -> bool:
    """Whether a path is a table, a slide with annotations beside it, or a folder that holds one, judged by names."""
    if path.is_dir():
        return next(_in_folder(path), None) is not None
    return path.suffix.lower() == TABLE or annotations_beside(path) is not None


def _required(slide: Path) -> Path:
    annotations = annotations_beside(slide)
    if annotations is None:
        raise DataError(
            f"{slide} has no annotations beside it, expected {slide.stem}.geojson as QuPath exports it (File, Export "
            f"objects as GeoJSON); or name the file: {slide.name}=FILE.geojson"
        )
    return annotations


def _in_folder(folder: Path) -> Iterator[AnnotatedFile]:
    for slide in sorted(folder.iterdir()):
        if slide.suffix.lower() in _NO_SLIDES or slide.name.startswith(".") or not slide.is_file():
            continue
        annotations = annotations_beside(slide)
        if annotations is not None:
            yield AnnotatedFile(slide=slide, annotations=annotations)


def _in_table(table: Path) -> Iterator[AnnotatedFile]:
    rows = read_table(table, ("slide",))
    if not rows:
        raise DataError(f"{table} lists no slides: expected a line for each below the header, slide and annotations")
    for row in rows:
        slide = table.parent / row["slide"]
        named = row.get("annotations")
        annotations = table.parent / named if named else _required(slide)
        attributes = {name: value for name, value in row.items() if name not in ("slide", "annotations")}
        yield AnnotatedFile(slide=slide, annotations=annotations, attributes=attributes)

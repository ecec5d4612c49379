"""Which slides a run is for, each with what is special about it: files, or rows of a table.

A table is a CSV file with a header; one column, ``slide``, is needed. Paths in it are relative to
the table, so that a folder of slides with its table can be moved::

    slide,mpp,roi
    case1/a.svs,,a-tumour.geojson
    case2/b.tif,0.25,
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wsinuc.config import SegmentConfig
from wsinuc.errors import ConfigError, DataError
from wsinuc.limits import listed, parse_table, read_text
from wsinuc.slides.dicom import files_in, find_series
from wsinuc.urls import Place, to_place

COLUMNS = ("slide", "mpp", "model", "roi", "tissue", "threshold", "min_area_um2", "name")
MAX_BYTES = 16 * 2**20
"""A table larger than this is no list of slides."""
MAX_SLIDES = 200_000
"""Lines of a table; a slide in work takes some kilobytes, whatever stands in the table."""
MAX_NAME = 180
"""Bytes; file systems take 255, and results add to the name."""
LONGEST_STEM = 255 - len(".json.partial")
"""Bytes of a slide's own name, the longest that a result adds to it taken off."""
_FORBIDDEN = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')
"""What no file name may hold on some common system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideJob:
    """One slide, and the settings in which it differs from the others; None takes the setting of all."""

    slide: Place
    mpp: float | None = None
    """um per level-0 pixel."""
    model: str | None = None
    roi: Path | None = None
    tissue: str | None = None
    threshold: float | None = None
    """Foreground probability from which a pixel belongs to a nucleus."""
    min_area_um2: float | None = None
    """Least area of a nucleus."""
    name: str | None = None
    """Name of the result's folder; None takes the slide's file name without its ending."""
    files: int = 1
    """How many of the slide's files were named: those of a DICOM series are one slide."""

    def __post_init__(self) -> None:
        if self.name is not None:
            check_name(self.name)

    @property
    def stem(self) -> str:
        """Name of the result: its folder is ``<stem>.wsinuc``."""
        return self.name or self.slide.stem

    def folder(self, out: Place) -> Place:
        """The result's folder within ``out``."""
        return out / f"{self.stem}.wsinuc"

    def config(self, common: SegmentConfig) -> SegmentConfig:
        """The settings of this slide; raises ConfigError for a number out of range."""
        own = {key: getattr(self, key) for key in ("mpp", "model", "roi", "tissue", "threshold", "min_area_um2")}
        return replace(common, **{key: value for key, value in own.items() if value is not None})


def check_name(name: str) -> None:
    """Raise ConfigError for what is no plain file name: a result must not escape its folder.

    Examples
    --------
    >>> check_name("case 7, block B")
    """
    reason = None
    if _FORBIDDEN.search(name):
        reason = 'it must not hold / \\ : * ? " < > | or control characters'
    elif name.startswith(".") or name != name.strip() or not name:
        reason = "it must not be empty or begin with a dot, nor begin or end with a space"
    elif len(name.encode()) > MAX_NAME:
        reason = f"it is longer than {MAX_NAME} bytes"
    if reason:
        raise ConfigError(f"{name[:80]!r} cannot be the name of a result: {reason}")


def check_room(job: SlideJob) -> None:
    """Raise ConfigError when the names that a result adds to a slide's would be too long for file systems."""
    length = len(os.fsencode(job.stem))
    if length > LONGEST_STEM:
        raise ConfigError(
            f"{job.slide}: the name of its result would be too long ({length} bytes without the ending, at most "
            f"{LONGEST_STEM}): rename it, or give it a name in a table (CSV with the columns slide and name)"
        )


def list_slides(arguments: Iterable[Place]) -> tuple[SlideJob, ...]:
    """Jobs for slides, folders of DICOM files and tables of slides (``*.csv``), in the order given.

    Several files of one DICOM series are one slide: its job names the finest level. The result is
    called after the folder where that series is the only one that was named in it, and after that
    file otherwise.

    Raises
    ------
    DataError
        A table is not what it should be.
    ConfigError
        Two slides would share a result, or files of one series have different settings.
    """
    jobs: list[SlideJob] = []
    for path in arguments:
        if isinstance(path, Path) and path.suffix.lower() == ".csv":
            jobs += read_slide_table(path)
        elif isinstance(path, Path) and os.path.isdir(path):  # raises nothing, whatever the name
            # A folder without DICOM files stays a job, which then fails with a message of its own.
            jobs += [SlideJob(slide=file) for file in files_in(path) or [path]]
        else:
            jobs.append(SlideJob(slide=path))
    jobs = one_per_series(jobs)
    check_distinct(jobs)
    return tuple(jobs)


def one_per_series(jobs: Sequence[SlideJob]) -> list[SlideJob]:
    """The jobs, those of several files of one DICOM series as one job in the place of the first; raises ConfigError."""
    merged: list[SlideJob | None] = list(jobs)
    for series in find_series([job.slide for job in jobs]):
        first = jobs[series.members[0]]
        for number in series.members[1:]:
            if replace(jobs[number], slide=first.slide) != first:
                raise ConfigError(
                    f"{first.slide} and {jobs[number].slide} are files of one DICOM series, which is one "
                    "slide, and have different settings: name one of them"
                )
            merged[number] = None
        name = first.name
        if name is None and series.alone:
            name = _folder_name(series.path)
        merged[series.members[0]] = replace(first, slide=series.path, name=name, files=len(series.members))
    return [job for job in merged if job is not None]


def _folder_name(path: Path) -> str | None:
    """The name of a file's folder, if a result can be called so."""
    name = path.resolve().parent.name
    try:
        check_name(name)
    except ConfigError:
        return None
    return name


def check_distinct(jobs: Sequence[SlideJob], out: Place = Path()) -> None:
    """Raise ConfigError when two slides would share a result, also on disks that do not tell case,
    or a name is too long."""
    owners: dict[str, SlideJob] = {}
    for job in jobs:
        check_room(job)
        other = owners.setdefault(_on_any_disk(job.stem), job)
        if other is job:
            continue
        if other.slide == job.slide and other.name == job.name:
            raise ConfigError(f"{job.slide} is named twice: name it once")
        raise ConfigError(
            f"{other.slide} and {job.slide} would both be written to {other.folder(out)}: segment them "
            "one by one with different -o, or give them names in a table (CSV with the columns slide and name)"
        )


def _on_any_disk(name: str) -> str:
    """The same text for names that are one on some common disk."""
    # "A.wsinuc" and "a.wsinuc" are one folder on the disks of Windows and macOS; on those of macOS an é in one letter
    # and one that is composed of e and its accent are, too.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def read_slide_table(path: Path) -> list[SlideJob]:
    """The rows of a CSV table of slides; commas or semicolons, any order of columns.

    Raises
    ------
    DataError
        There is no such file, it is too large, no text, has columns that are not known, or a value that cannot be; the
        message names the line.
    """
    text = read_text(path, "a CSV table with the column slide", MAX_BYTES)
    # Counted before the rows are parsed, which take much more memory than their bytes.
    if text.count("\n") + text.count("\r") > MAX_SLIDES:
        raise DataError(f"{path} has more than {MAX_SLIDES:,} lines, too many for a list of slides")
    header, rows = parse_table(text, path)
    _check_header(header, path)
    jobs = [_job(header, row, path, number) for number, row in rows]
    if not jobs:
        raise DataError(f"{path} lists no slides: expected a line for each below the header")
    return jobs


def _check_header(header: list[str], path: Path) -> None:
    advice = f"known are {', '.join(COLUMNS)}"
    unknown = [name for name in header if name not in COLUMNS]
    if "slide" not in header:
        content = listed(header) if any(header) else "empty"
        raise DataError(f"{path} has no column slide in its first line ({content}): {advice}")
    if unknown:
        raise DataError(f"{path} has columns that are not known: {', '.join(map(repr, unknown))[:200]}; {advice}")
    if len(set(header)) < len(header):
        raise DataError(f"{path} has a column twice: {listed(header)}")


def _job(header: list[str], row: list[str], path: Path, line: int) -> SlideJob:
    if len(row) > len(header):
        raise DataError(
            f"{path}, line {line}: {len(row)} values for {len(header)} columns: put values that hold a comma "
            "in double quotes"
        )
    cells = {name: value.strip() for name, value in zip(header, row, strict=False) if value.strip()}
    if "slide" not in cells:
        raise DataError(f"{path}, line {line}: no slide")
    folder = path.parent
    try:
        job = SlideJob(
            slide=_slide(cells["slide"], folder),
            mpp=_number(cells, "mpp", "um per pixel", "0.25"),
            model=_model(cells["model"], folder) if "model" in cells else None,
            roi=folder / cells["roi"] if "roi" in cells else None,
            tissue=_tissue(cells["tissue"], folder) if "tissue" in cells else None,
            threshold=_number(cells, "threshold", "a probability", "0.5"),
            min_area_um2=_number(cells, "min_area_um2", "um2", "5"),
            name=cells.get("name"),
        )
        job.config(SegmentConfig())
    except ConfigError as error:
        raise DataError(f"{path}, line {line}: {error}") from error
    return job


def _slide(text: str, folder: Path) -> Place:
    """A URL as it is, a path from the table's folder."""
    where = to_place(text)
    if isinstance(where, Path):
        return folder / where
    return where


def _number(cells: Mapping[str, str], name: str, unit: str, example: str) -> float | None:
    """The number in a cell; None where the cell is empty."""
    if name not in cells:
        return None
    try:
        return float(cells[name])
    except ValueError:
        raise ConfigError(
            f"{name} is no number: {cells[name][:40]!r}; expected {unit} with a decimal point, like {example}"
        ) from None


def _model(text: str, folder: Path) -> str:
    """A shipped model keeps its name, a checkpoint is found from the table."""
    if Path(text).suffix:
        return str(folder / text)
    return text


def _tissue(text: str, folder: Path) -> str:
    if text in ("auto", "none"):
        return text
    return str(folder / text)

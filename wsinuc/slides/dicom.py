"""Which files are one DICOM slide.

A scanner writes a slide as a series: one file for each level, one for the label, one for the
overview. OpenSlide opens any of them and finds the others in the same folder, so two files of one
series are the same slide twice. Only the beginning of a file's header is read here, as pydicom
understands it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

SUFFIXES = (".dcm", ".dicom")
"""Endings of DICOM files."""
_WANTED = (0x0020000E, 0x00080008, 0x00480006)
"""SeriesInstanceUID, ImageType, TotalPixelMatrixColumns."""
_LAST = 0x00480007
"""Tag of the height of the whole level, behind which nothing is needed and the long tables of frames stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One file of a series."""

    path: Path
    series: str
    """UID that all files of the slide have."""
    volume: bool
    """Whether it is a level of the slide, and no label, overview or thumbnail."""
    width: int
    """Width of the level in pixels; 0 where the file does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Files that are one slide."""

    members: tuple[int, ...]
    """Their positions among the paths that were given."""
    path: Path
    """The one that stands for the slide, its finest level."""
    alone: bool
    """Whether no other series was named in this folder, so that the folder's name is the slide's as well."""


def is_dicom(path: object) -> bool:
    """Whether a path looks like a DICOM file on a disk, by its name."""
    return isinstance(path, Path) and path.suffix.lower() in SUFFIXES


def read_instance(path: Path) -> Instance | None:
    """What the header of a file says of its series; None for what is no DICOM file, or one without a series.

    A header is read again only where size or time of the file differ: each slide of a folder looks at all its files.
    """
    if not path.is_file():
        return None
    found = path.stat()
    return _read_instance(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=100_000)
def _read_instance(path: Path, _size: int, _changed: int) -> Instance | None:
    from pydicom.filereader import read_partial

    try:
        with path.open("rb") as file:
            header = read_partial(file, stop_when=_behind, specific_tags=list(_WANTED))
        series = str(header.get("SeriesInstanceUID") or "")
        kinds = [str(each).upper() for each in header.get("ImageType") or ()]
        width = int(header.get("TotalPixelMatrixColumns") or 0)
    except Exception:  # a damaged header makes anything of a parser; whoever opens the slide says what is wrong
        return None
    if series:
        return Instance(path=path, series=series, volume="VOLUME" in kinds, width=width)
    return None


def find_series(paths: Sequence[object]) -> tuple[Series, ...]:
    """Which of some paths are files of one series in one folder; those that are the only one of theirs are left out.

    A DICOM file that was named alone in its folder is not even opened.
    """
    named: dict[Path, list[int]] = {}
    for number, path in enumerate(paths):
        if is_dicom(path):
            named.setdefault(Path(str(path)).parent, []).append(number)
    series = []
    for numbers in named.values():
        if len(numbers) > 1:
            series += _series_of([(number, read_instance(Path(str(paths[number])))) for number in numbers])
    return tuple(series)


def _series_of(folder: Sequence[tuple[int, Instance | None]]) -> list[Series]:
    """The series among the files of one folder that have several files."""
    by_uid: dict[str, dict[int, Instance]] = {}
    for number, instance in folder:
        # An unreadable file is a series of its own.
        if instance is None:
            uid = f"{number}"
        else:
            uid = instance.series
        members = by_uid.setdefault(uid, {})
        if instance is not None:
            members[number] = instance
    series = []
    for members in by_uid.values():
        if len(members) > 1:
            # The widest file of the kind VOLUME is the finest level; names decide among equals, so that the order in
            # which files were given does not.
            best = min(members.values(), key=lambda each: (not each.volume, -each.width, each.path.name))
            series.append(Series(members=tuple(members), path=best.path, alone=len(by_uid) == 1))
    return series


def files_in(folder: Path) -> list[Path]:
    """DICOM files of a folder, by name."""
    return sorted(path for path in folder.iterdir() if is_dicom(path) and not path.name.startswith("."))


def _behind(tag: Any, vr: str | None, length: int) -> bool:
    return int(tag) > _LAST

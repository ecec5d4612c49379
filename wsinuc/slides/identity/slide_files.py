"""Which files a slide consists of: most are one, some vendors spread a slide over a folder.

- MRXS: ``a.mrxs`` and every file in the folder ``a``;
- Hamamatsu VMS and VMU: the index and the files beside it that it names;
- DICOM: the files in the same folder that belong to the same series.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from wsinuc.slides.dicom import read_instance

MOST = 10_000
"""Files that are looked at in a folder, at most."""
_INDEXES = (".vms", ".vmu")
_INDEX_BYTES = 2**20
_DICOM = b"DICM"
_DICOM_END = 132  # where these letters end in a DICOM file
_VALUE = re.compile(rb"^[^=\r\n]+=([^\r\n]+)", re.MULTILINE)


def slide_files(path: Path) -> list[Path]:
    """All files of the slide that ``path`` names, that one first; the others sorted by name."""
    suffix = path.suffix.lower()
    if suffix == ".mrxs":
        return [path, *_below(path.with_suffix(""))]
    if suffix in _INDEXES:
        return [path, *_named_in(path)]
    series = _series_of(path)
    if series is not None:
        return [path, *(other for other in _beside(path) if _series_of(other) == series)]
    return [path]


def _series_of(path: Path) -> str | None:
    """SeriesInstanceUID of a DICOM file; None of any other file, and of one that cannot be read."""
    if _head(path, _DICOM_END)[-len(_DICOM) :] != _DICOM:
        return None
    instance = read_instance(path)
    if instance is None:
        return None
    return instance.series


def _below(folder: Path) -> list[Path]:
    """Files below a folder; what operating systems leave there is no part of a slide."""
    files: list[Path] = []
    for root, folders, names in os.walk(folder):
        folders.sort()
        files += [Path(root) / name for name in names if not name.startswith(".") and name != "Thumbs.db"]
        if len(files) > MOST:  # a folder that is no part of a slide, a home say
            break
    return sorted(path for path in files if path.is_file())[:MOST]


def _beside(path: Path) -> list[Path]:
    """Other files of the same folder with the same suffix."""
    others = (other for other in path.parent.glob(f"*{path.suffix}") if other.name != path.name)
    return sorted(other for other in others if other.is_file())[:MOST]


def _named_in(path: Path) -> list[Path]:
    """Files of the same folder that an index names as values of its keys."""
    names = {os.fsdecode(value.strip()) for value in _VALUE.findall(_head(path, _INDEX_BYTES))}
    # A name with a path in it would lead out of the folder; no Hamamatsu index has one.
    plain = sorted(name for name in names if "/" not in name and "\\" not in name and "\0" not in name)
    return [path.parent / name for name in plain if name != path.name and (path.parent / name).is_file()]


def _head(path: Path, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""

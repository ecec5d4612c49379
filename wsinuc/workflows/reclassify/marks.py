"""Files of labels: which nuclei somebody has given which class, before they are looked up in a result.

GeoJSON as QuPath exports it holds detections and cells whose class was set, points, MultiPoints and closed
annotations; a table (CSV, or the tab-separated one of QuPath's measurements) holds UUIDs or positions. A class whose
name ends with ``*``, as ``Ignore*`` and ``Region*`` do in QuPath, is no class of nuclei.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from wsinuc.annotations import Feature, is_geojson, read_features
from wsinuc.errors import DataError
from wsinuc.limits import listed, read_text
from wsinuc.urls import PathLike, to_path

DETECTIONS = ("detection", "cell")
"""QuPath's types of objects that are nuclei."""
_AREAS = ("Polygon", "MultiPolygon")
_POINTS = ("Point", "MultiPoint")
_COLUMNS = {
    "uuid": ("uuid", "object id", "id"),
    "class": ("class", "classification", "label"),
    "x": ("x",),
    "y": ("y",),
}
"""What a table calls its columns, in small letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One label: a class, and what has it."""

    class_name: str
    uuid: str | None = None
    """Of one nucleus."""
    xy: NDArray[np.float64] | None = None
    """(n, 2) points (x, y), each of them on a nucleus; the centre of a detection."""
    area_px: float | None = None
    """Of a detection, in pixels of the slide; None for points."""
    region: BaseGeometry | None = None
    """A closed annotation, which labels all nuclei in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkFile:
    """What one file says."""

    path: Path
    marks: tuple[Mark, ...]
    starred: int
    """Objects left out because their class ends with ``*``."""
    nameless: int
    """Objects without a class."""
    colors: dict[str, tuple[int, int, int]]
    """RGB of the classes, of those that have one in the file."""


def read_marks(path: PathLike) -> MarkFile:
    """Read a file of labels.

    Parameters
    ----------
    path
        GeoJSON (``.geojson``, ``.json``, either with ``.gz``, or ``.zip``), or a table with a column ``class`` and
        either ``uuid`` or ``x`` and ``y`` (pixels of the slide, as QuPath counts them).

    Raises
    ------
    DataError
        The file is missing or damaged, or holds no label.
    """
    path = to_path(path)
    if is_geojson(path):
        file = _from_geojson(path)
        what, remedy = "objects", "set the class of detections or points in QuPath, and export them as GeoJSON"
    else:
        file = _from_table(path)
        what, remedy = "rows", "fill the column class"
    if not file.marks:
        raise DataError(
            f"{path}: no nucleus with a class in it ({file.nameless:,} {what} without a class, {file.starred:,} with "
            f"one that ends with *): {remedy}"
        )
    return file


def _from_geojson(path: Path) -> MarkFile:
    marks: list[Mark] = []
    colors: dict[str, tuple[int, int, int]] = {}
    starred = 0
    nameless = 0
    for feature in read_features(path):
        name = feature.class_name
        if name is None:
            nameless += 1
            continue
        if name.endswith("*"):
            starred += 1
            continue
        mark = _mark(feature, name)
        if mark is not None:
            marks.append(mark)
            if feature.color is not None:
                colors.setdefault(name, feature.color)
    return MarkFile(path=path, marks=tuple(marks), starred=starred, nameless=nameless, colors=colors)


def _mark(feature: Feature, name: str) -> Mark | None:
    """The label that a feature is; None for lines and for what has no place."""
    is_nucleus = feature.object_type in DETECTIONS
    if feature.nucleus is not None:
        feature = feature.nucleus
    xy = feature.coordinates.xy
    if not len(xy):
        return None
    if feature.kind in _POINTS:
        return Mark(class_name=name, uuid=feature.id if is_nucleus else None, xy=xy)
    if feature.kind not in _AREAS:
        return None
    if is_nucleus:
        outer = feature.coordinates.parts()[0][0]
        centre, area = _centre(outer)
        return Mark(class_name=name, uuid=feature.id, xy=centre[None], area_px=area)
    return Mark(class_name=name, uuid=None, region=feature.geometry)


def _centre(ring: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Centroid (x, y) and area of a ring; the mean of its corners where it has no area."""
    origin = ring[0]
    x, y = (ring - origin).T
    cross = x * np.roll(y, -1) - np.roll(x, -1) * y
    twice = cross.sum()
    if abs(twice) < 1e-9:
        return ring.mean(axis=0), 0.0
    sums = np.array([((x + np.roll(x, -1)) * cross).sum(), ((y + np.roll(y, -1)) * cross).sum()])
    return origin + sums / (3 * twice), abs(float(twice)) / 2


def _from_table(path: Path) -> MarkFile:
    text = read_text(path, "GeoJSON, or a table with the columns uuid and class, or x, y, class")
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    header = [name.strip().lower() for name in next(lines, [])]
    place = {key: _position(header, names) for key, names in _COLUMNS.items()}
    if place["class"] is None or (place["uuid"] is None and None in (place["x"], place["y"])):
        raise DataError(
            f"{path}: expected a table with the columns uuid and class, or x, y and class, "
            f"got {listed(header) if any(header) else 'an empty file'}"
        )
    marks: list[Mark] = []
    starred = 0
    nameless = 0
    for number, line in _rows(lines):
        name = _cell(line, place["class"])
        if not name:
            nameless += 1
        elif name.endswith("*"):
            starred += 1
        else:
            marks.append(_row(path, number, line, place, name))
    return MarkFile(path=path, marks=tuple(marks), starred=starred, nameless=nameless, colors={})


def _rows(lines: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Rows that hold something, with their numbers in the file."""
    return ((number, line) for number, line in enumerate(lines, start=2) if any(cell.strip() for cell in line))


def _row(path: Path, number: int, line: Sequence[str], place: dict[str, int | None], name: str) -> Mark:
    uuid = _cell(line, place["uuid"])
    if uuid:
        return Mark(class_name=name, uuid=_plain(uuid))
    try:
        xy = np.array([[float(_cell(line, place["x"])), float(_cell(line, place["y"]))]])
    except ValueError:
        xy = np.full((1, 2), np.nan)
    if not np.isfinite(xy).all():
        raise DataError(f"{path}, line {number}: expected a uuid, or numbers for x and y: {listed(line)}")
    return Mark(class_name=name, xy=xy)


def _plain(uuid: str) -> str:
    """A UUID as results write it: other programs write capitals, or braces around it."""
    try:
        return str(UUID(uuid))
    except ValueError:
        return uuid


def _cell(line: Sequence[str], position: int | None) -> str:
    if position is None or position >= len(line):
        return ""
    return line[position].strip()


def _position(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _delimiter(text: str) -> str:
    """What stands between the columns of the first line: QuPath writes tabs, spreadsheets of some countries ``;``."""
    first = text.partition("\n")[0]
    return max(",;\t", key=first.count)

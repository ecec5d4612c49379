"""Layouts that users bring: tables of points, and points drawn in QuPath.

A CSV file has the columns ``x``, ``y`` and ``class``; a GeoJSON file has Point and MultiPoint
features with a classification, as QuPath exports them, and whatever else it holds is left alone.
Both count in pixels of the canvas with the origin at the corner of the first pixel; classes go by
name, upper and lower case alike, and may be left out where there is but one.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geojson
import numpy as np

from wsinuc.errors import DataError, OutputError
from wsinuc.synthesis.layouts import NucleusLayout

MAX_BYTES = 256 << 20
"""Largest file, unpacked, that is read."""
MAX_POINTS = 1_000_000
"""Most points that a layout may have."""
MAX_SIDE = 16_384
"""Longest side in pixels of a canvas whose size is taken from the points."""

Row = tuple[float, float, str]
"""x, y, name of the class or nothing."""


def read_layout(
    path: str | Path, class_names: Sequence[str], shape: tuple[int, int] | None = None, *, scale: float = 1.0
) -> NucleusLayout:
    """The points of a CSV or (gzipped) GeoJSON file.

    Parameters
    ----------
    class_names
        Names of the classes 1, 2, ...
    shape
        (h, w) of the canvas in pixels; None takes the smallest that holds all points.
    scale
        Canvas pixels per unit of the file: 0.5 for points drawn on a slide of 0.25 um per pixel and a canvas of 0.5.

    Raises
    ------
    DataError
        The file is missing, damaged, too large or without points, a class is unknown, or points lie outside the canvas.
    """
    path = Path(path)
    suffix = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    if suffix not in ("csv", "geojson", "json"):
        raise DataError(f"{path}: a layout is a .csv, .geojson or .geojson.gz file")
    rows = (_csv_rows if suffix == "csv" else _geojson_rows)(_text(path), path)
    if not 0 < len(rows) <= MAX_POINTS:
        raise DataError(f"{path}: expected 1 to {MAX_POINTS} points, found {len(rows)}")
    points = np.array([(y, x) for x, y, _ in rows], np.float64) * scale
    classes = _class_numbers([name for *_, name in rows], class_names, path)
    try:
        return NucleusLayout(shape=shape or _smallest_shape(points), points=points, classes=classes)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def write_layout(layout: NucleusLayout, path: str | Path, class_names: Sequence[str]) -> None:
    """A CSV file from which `read_layout` makes the same layout again, given its shape; raises OutputError."""
    try:
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(("x", "y", "class"))
            for (y, x), number in zip(layout.points.tolist(), layout.classes.tolist(), strict=True):
                lines.writerow((repr(x), repr(y), class_names[number - 1]))
    except OSError as error:
        raise OutputError(f"{path}: cannot write the layout ({error.strerror or error})") from error


def _text(path: Path) -> str:
    """A file's text, unpacked no further than the limit."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise DataError(f"{path}: larger than the {MAX_BYTES >> 20} MiB that a layout may have; cut out a region")
        return data.decode("utf-8-sig")
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot read the layout ({getattr(error, 'strerror', None) or error})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8 ({error})") from error


def _csv_rows(text: str, path: Path) -> list[Row]:
    """x, y and class of each line."""
    lines = csv.DictReader(text.splitlines(), restval="", skipinitialspace=True)
    header = [name.strip().lower() for name in lines.fieldnames or ()]
    lines.fieldnames = header
    if not {"x", "y"} <= set(header):
        raise DataError(f"{path}: needs the columns x, y and class, has {', '.join(header) or 'nothing'}")
    rows: list[Row] = []
    try:
        for line in lines:
            rows.append((float(line["x"]), float(line["y"]), line.get("class", "").strip()))
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}, line {lines.line_num}: x and y must be numbers ({error})") from error
    return rows


def _geojson_rows(text: str, path: Path) -> list[Row]:
    """x, y and classification of every point of every feature."""
    try:
        found = geojson.loads(text)
        return [
            (float(place[0]), float(place[1]), name)
            for geometry, name in _points(found, "")
            for place in ([geometry["coordinates"]] if geometry["type"] == "Point" else geometry["coordinates"])
        ]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: expected GeoJSON as QuPath exports it, cannot parse it ({error})") from error


def _points(found: Any, name: str) -> list[tuple[Any, str]]:
    """All Point and MultiPoint geometries, each with the name of its feature's classification."""
    if isinstance(found, list):
        return [pair for item in found for pair in _points(item, name)]
    kind = found.get("type") if isinstance(found, dict) else None
    if kind == "FeatureCollection":
        return _points(found["features"], name)
    if kind == "Feature":
        given = (found.get("properties") or {}).get("classification") or {}
        return _points(found.get("geometry"), str(given.get("name") or ""))
    if kind == "GeometryCollection":
        return _points(found["geometries"], name)
    return [(found, name)] if kind in ("Point", "MultiPoint") else []


def _class_numbers(names: Sequence[str], known: Sequence[str], path: Path) -> np.ndarray:
    """(n,) the class, counted from 1, that each name stands for."""
    numbers = {name.casefold(): i for i, name in enumerate(known, start=1)}
    if len(known) == 1:
        numbers[""] = 1
    if unknown := [name for name in names if name.casefold() not in numbers]:
        what = f"of the unknown class {unknown[0]!r}" if unknown[0] else "without a class"
        raise DataError(
            f"{path}: {len(unknown)} of {len(names)} points have no known class, the first is {what}; "
            f"the classes are: {', '.join(known)}"
        )
    return np.array([numbers[name.casefold()] for name in names], np.int32)


def _smallest_shape(points: np.ndarray) -> tuple[int, int]:
    """(h, w) of the smallest canvas that holds all points; raises DataError where that would be no field of tissue."""
    reach = np.nanmax(np.where(np.isfinite(points), points, np.nan), axis=0, initial=0.0)
    if reach.max() >= MAX_SIDE:
        raise DataError(
            f"its points reach to x {reach[1]:g}, y {reach[0]:g}, too far for a canvas of their own (up to "
            f"{MAX_SIDE} px): "
            "are they in coordinates of a slide? Move the region of interest to the origin"
        )
    return int(reach[0]) + 1, int(reach[1]) + 1

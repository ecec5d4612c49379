"""Layouts that users bring: tables of points, and points drawn in QuPath.

A CSV file has the columns ``x``, ``y`` and ``class``; a GeoJSON file (or QuPath's zip) has Point and MultiPoint
features with a classification, and whatever else it holds is left alone. Both count in pixels of the canvas with
the origin at the corner of the first pixel; classes go by name, upper and lower case alike, and may be left out where
there is but one.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from wsinuc.annotations import is_geojson, read_features
from wsinuc.errors import DataError
from wsinuc.limits import listed, text_lines
from wsinuc.synthesis.layouts import NucleusLayout

MAX_BYTES = 256 << 20
"""Largest file, unpacked, that is read."""
MAX_POINTS = 1_000_000
"""Most points that a layout may have."""
MAX_SIDE = 16_384
"""Longest side in pixels of a canvas whose size is taken from the points."""


def read_layout(path: str | Path, class_names: Sequence[str], shape: tuple[int, int] | None = None) -> NucleusLayout:
    """The points of a CSV or GeoJSON file, gzipped or not, or of QuPath's zip.

    Parameters
    ----------
    class_names
        Names of the classes 1, 2, ...
    shape
        (h, w) of the canvas in pixels; None takes the smallest that holds all points.

    Raises
    ------
    DataError
        The file is missing, damaged, too large or without points, a class is unknown, or points lie outside the canvas.
    """
    path = Path(path)
    suffix = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    if suffix == "csv":
        content = _csv_points(path, _Classes(class_names))
    elif is_geojson(path):
        content = _geojson_points(path, _Classes(class_names))
    else:
        raise DataError(f"{path}: a layout is a .csv, .geojson, .geojson.gz or .zip file")
    if not len(content.numbers):
        raise DataError(f"{path}: expected 1 to {MAX_POINTS} points, found 0")
    content.classes.check(len(content.numbers), path)
    # Files count (x, y), layouts (y, x).
    points = np.frombuffer(content.xy).reshape(-1, 2)[:, ::-1]
    classes = np.frombuffer(content.numbers, np.int32)
    try:
        return NucleusLayout(shape=shape or _smallest_shape(points), points=points, classes=classes)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


class _Classes:
    """Numbers of classes by their names, and a memory of what is not among them."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._numbers = {name.casefold(): i for i, name in enumerate(names, start=1)}
        # With a single class, points need not name it.
        if len(names) == 1:
            self._numbers[""] = 1
        self._unknown = 0
        self._first_unknown = ""

    def number(self, name: str) -> int:
        """The class, counted from 1; 0 for one that is not known."""
        number = self._numbers.get(name.casefold(), 0)
        if not number:
            if not self._unknown:
                self._first_unknown = name
            self._unknown += 1
        return number

    def check(self, count: int, path: Path) -> None:
        """Raise DataError when any of the ``count`` points had no known class."""
        if self._unknown:
            first = self._first_unknown
            if first:
                what = f"of the unknown class {first[:80]!r}"
            else:
                what = "without a class"
            raise DataError(
                f"{path}: {self._unknown} of {count} points have no known class, the first is {what}; "
                f"the classes are: {', '.join(self._names)}"
            )


class _Points:
    """Points as they are read."""

    def __init__(self, classes: _Classes, path: Path) -> None:
        # Arrays, not lists: a million points as Python objects would take many times the memory.
        self.xy = array("d")
        self.numbers = array("i")
        self.classes = classes
        self._path = path

    def add(self, xy: Iterable[float], name: str) -> None:
        """Points of one class, x and y in turn."""
        self.xy.extend(xy)
        while 2 * len(self.numbers) < len(self.xy):
            self.numbers.append(self.classes.number(name))
        if len(self.numbers) > MAX_POINTS:
            raise DataError(f"{self._path}: expected 1 to {MAX_POINTS} points, found {len(self.numbers)} and more")


def _csv_points(path: Path, classes: _Classes) -> _Points:
    """Points and classes of each line."""
    points = _Points(classes, path)
    with _layout_errors(path), text_lines(path, MAX_BYTES) as text:
        lines = csv.DictReader(text, restval="", skipinitialspace=True)
        header = [name.strip().lower() for name in lines.fieldnames or ()]
        lines.fieldnames = header
        if not {"x", "y"} <= set(header):
            raise DataError(f"{path}: needs the columns x, y and class, has {listed(header)}")
        for line in lines:
            try:
                point = (float(line["x"]), float(line["y"]))
            except ValueError as error:
                raise DataError(f"{path}, line {lines.line_num}: x and y must be numbers ({error})") from error
            points.add(point, line.get("class", "").strip())
    return points


def _geojson_points(path: Path, classes: _Classes) -> _Points:
    """Points of all features, each with the name of its feature's classification."""
    points = _Points(classes, path)
    with _layout_errors(path):
        for feature in read_features(path, MAX_BYTES):
            if feature.kind in ("Point", "MultiPoint"):
                points.add(feature.coordinates.xy.ravel(), feature.class_name or "")
    return points


@contextmanager
def _layout_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:  # damaged gzip files among them
        raise DataError(f"{path}: cannot read the layout ({error.strerror or error})") from error


def _smallest_shape(points: np.ndarray) -> tuple[int, int]:
    """(h, w) of the smallest canvas that holds all points; raises DataError where that would be no field of tissue."""
    # Points that are no numbers are refused by the layout itself, with a better message.
    reach = np.nanmax(np.where(np.isfinite(points), points, np.nan), axis=0, initial=0.0)
    if reach.max() >= MAX_SIDE:
        raise DataError(
            f"its points reach to x {reach[1]:g}, y {reach[0]:g}, too far for a canvas of their own (up to "
            f"{MAX_SIDE} px): are they in coordinates of a slide? Move the region of interest to the origin"
        )
    return int(reach[0]) + 1, int(reach[1]) + 1

"""The points of one image and the names of their classes: a table (x, y, class), or GeoJSON as QuPath writes it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsinuc.annotations import SUFFIXES, is_geojson, read_features
from wsinuc.datasets.files import table_rows
from wsinuc.errors import DataError

COLUMNS = ("x", "y", "class")
"""Columns that a table of points has; others are left alone."""
_POINTS = ("Point", "MultiPoint")


@dataclass(frozen=True, slots=True, eq=False)
class NamedPoints:
    """Points as a file has them."""

    places: NDArray[np.float64]
    """(n, 2) (y, x) in pixels; the centre of the first pixel is (0, 0)."""
    names: tuple[str, ...]
    """(n,) names of classes as they are written; empty where a point has none."""

    def inside(self, shape: tuple[int, int], where: str) -> tuple[NamedPoints, tuple[str, ...]]:
        """The points that lie in an image of this (height, width), and a note where some do not.

        Raises
        ------
        DataError
            None of them does.
        """
        y, x = self.places.T
        within = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
        if within.all():
            return self, ()
        if not within.any():
            raise DataError(
                f"{where}: none of the {len(within)} points lies in the image, which is {shape} (h, w): "
                "they belong to another image, or count in micrometres instead of pixels"
            )
        names = tuple(name for name, there in zip(self.names, within.tolist(), strict=True) if there)
        return NamedPoints(self.places[within], names), ("hold points outside of the image: left out",)


def read_points(path: Path) -> NamedPoints:
    """The points of a file.

    A table counts pixels, the first of which is 0. GeoJSON counts from the corner of the first pixel, as QuPath does.

    Raises
    ------
    DataError
        The file is missing or damaged, a place is no finite number, or GeoJSON holds outlines or lines.
    """
    if is_geojson(path):
        return _drawn_points(path)
    names: list[str] = []

    def named() -> Iterable[Mapping[str, str]]:
        for row in table_rows(path, COLUMNS):
            names.append(row["class"])
            yield row

    places = numbers(named(), ("y", "x"), path)
    if not np.isfinite(places).all():
        raise DataError(f"{path}: points must be finite, got nan or infinity")
    return NamedPoints(places, tuple(names))


def point_files(folder: Path) -> dict[str, Path]:
    """The files of points in a folder by the name of their image, sorted.

    Raises
    ------
    DataError
        An image has two of them.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir() if folder.is_dir() else ()):
        ending = next((end for end in (".csv", *SUFFIXES) if path.name.lower().endswith(end)), "")
        # macOS leaves a hidden "._name.csv" beside every file that it copies to a foreign disk.
        if not ending or path.name.startswith("."):
            continue
        first = files.setdefault(path.name[: -len(ending)], path)
        if first != path:
            raise DataError(f"{folder} holds both {first.name} and {path.name}; keep one of them")
    return files


def numbers(rows: Iterable[Mapping[str, str]], columns: tuple[str, ...], path: Path) -> NDArray[np.float64]:
    """(n, columns) what stands in some columns of a table; raises DataError where it is no number."""
    values = array("d")
    try:
        for row in rows:
            values.extend(float(row[column]) for column in columns)
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: {', '.join(columns)} must be numbers ({error})") from error
    return np.frombuffer(values).reshape(-1, len(columns))


def _drawn_points(path: Path) -> NamedPoints:
    """Points and multipoints of GeoJSON, each with the class of its feature."""
    parts = [np.empty((0, 2))]
    names: list[str] = []
    others = 0
    for feature in read_features(path):
        if feature.kind not in _POINTS:
            others += 1
            continue
        parts.append(feature.coordinates.xy[:, ::-1] - 0.5)
        names += [feature.class_name or ""] * len(parts[-1])
    if others:
        raise DataError(
            f"{path} holds {others} outlines or lines beside {len(names)} points, and only points are read here; "
            "give the image with its GeoJSON instead, see the layout qupath: there, regions and outlines count"
        )
    places = np.concatenate(parts)
    # The outer half of the first pixels is still in the image.
    return NamedPoints(np.where((places >= -0.5) & (places < 0), 0.0, places), tuple(names))

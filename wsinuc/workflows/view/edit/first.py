"""The nuclei that a training window begins with: those of the result that meet it, as its own GeoJSON has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from wsinuc.exports.qupath.polygons import Outlines, level0_polygons
from wsinuc.nuclei import read_nuclei
from wsinuc.workflows.view.table import NucleiTable


@dataclass(frozen=True, slots=True)
class FirstNucleus:
    """A nucleus of the result."""

    row: int
    """In the table."""
    class_number: int
    """Position among the names of the table's classes."""
    rings: list[list[list[float]]]
    """Closed rings of (x, y) in pixels of the file, the outer one first."""


def first_nuclei(
    table: NucleiTable, area: shapely.Geometry, origin_yx: tuple[float, float], outlines: Outlines
) -> Iterator[FirstNucleus]:
    """The nuclei whose outline meets an area, also those that its edge cuts.

    Parameters
    ----------
    area
        (x, y) in pixels of the file, which begin at ``origin_yx``.

    Raises
    ------
    DataError
        A part of the table is damaged.
    """
    box = _level0_box(area, origin_yx)
    shapely.prepare(area)
    for part in table.parts_in(*box):
        numbers = _near(table, part, box)
        if not len(numbers):
            continue
        nuclei = read_nuclei(table.folder / table.names[part], table.hashes[part]).select(numbers)
        polygons = level0_polygons(nuclei, 0, len(nuclei), origin_yx, outlines)
        for place in np.flatnonzero(polygons.keep).tolist():
            rings = polygons.rings(place)
            if shapely.intersects(area, shapely.Polygon(rings[0])):
                yield FirstNucleus(
                    row=int(table.starts[part]) + int(numbers[place]),
                    class_number=int(nuclei.classes[place]),
                    rings=[ring.tolist() for ring in rings],
                )


def _near(table: NucleiTable, part: int, box: tuple[float, float, float, float]) -> NDArray[np.int64]:
    """Which nuclei of a part have a bounding box that meets one of level-0 pixels."""
    boxes = table.rings(part).boxes * np.tile(table.frame.downsample, 2)
    near = (boxes[:, 0] < box[2]) & (boxes[:, 2] > box[0]) & (boxes[:, 1] < box[3]) & (boxes[:, 3] > box[1])
    return np.flatnonzero(near)


def _level0_box(area: shapely.Geometry, origin_yx: tuple[float, float]) -> tuple[float, float, float, float]:
    """y0, x0, y1, x1 of an area in level-0 pixels."""
    x0, y0, x1, y1 = area.bounds
    y, x = origin_yx
    return y0 + y, x0 + x, y1 + y, x1 + x

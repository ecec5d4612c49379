"""The ``coordinates`` of a GeoJSON geometry as one flat array, read from a stream of JSON events.

A position as Python objects takes ten times the bytes of its text, and a tissue outline may have millions of them. So
positions go into an array as they come, and of the brackets only the ends of rings and of polygons are kept.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from wsinuc.annotations.events import MAX_DEPTH, Event, TooMuch

HEIGHTS = {
    "Point": 1,
    "MultiPoint": 2,
    "LineString": 2,
    "Polygon": 3,
    "MultiLineString": 3,
    "MultiPolygon": 4,
}
"""Levels of brackets around the numbers, by type of geometry."""
NOT_NESTED = "coordinates are missing or not nested as the type demands"
NO_NUMBERS = "a position does not hold two numbers"
_OPEN = (1, None)  # what the bracket around a position may hold before it: positions, or nothing


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Positions, and where rings and polygons end."""

    xy: NDArray[np.float64]
    """(n, 2) x and y of all positions, one ring after the other; further dimensions are left out."""
    ring_ends: NDArray[np.int64]
    """(r,) ring i is ``xy[ring_ends[i - 1] : ring_ends[i]]``; a MultiPoint and a line are one ring."""
    part_ends: NDArray[np.int64]
    """(p,) polygon i has the rings ``ring_ends[part_ends[i - 1] : part_ends[i]]``, the outer one first."""
    height: int | None
    """Levels of brackets (1 for a point, 4 for a MultiPolygon); None when they hold nothing."""
    flaw: str | None = None
    """Why there are no positions; None when all is well."""

    def flaw_as(self, kind: str) -> str | None:
        """Why these are no coordinates of a geometry of type ``kind``; None when they are."""
        if self.flaw is None and self.height is not None and self.height != HEIGHTS.get(kind):
            return NOT_NESTED
        return self.flaw

    def parts(self) -> list[list[NDArray[np.float64]]]:
        """The rings, (n, 2) each, of every polygon."""
        if len(self.ring_ends) == 1 and len(self.part_ends) == 1:  # as nearly every nucleus
            return [[self.xy]]
        if len(self.ring_ends):
            rings = np.split(self.xy, self.ring_ends[:-1])
        else:
            rings = []
        starts = [0, *self.part_ends[:-1].tolist()]
        return [rings[start:end] for start, end in zip(starts, self.part_ends.tolist(), strict=False)]

    def to_shapely(self, kind: str) -> BaseGeometry:
        """The geometry of type ``kind``, as it is in the file: possibly invalid, empty where a ring has no area."""
        if self.height is None:
            return shapely.from_wkt(f"{kind.upper()} EMPTY")
        if self.height == 1:
            return shapely.Point(self.xy[0])
        if kind == "MultiPoint":
            return shapely.MultiPoint(self.xy)
        if kind == "LineString":
            return shapely.LineString(self.xy)
        if kind == "MultiLineString":
            return shapely.MultiLineString(np.split(self.xy, self.ring_ends[:-1]))
        # GEOS refuses rings of fewer than four positions.
        polygons = [shapely.Polygon(rings[0], rings[1:]) for rings in map(with_area, self.parts()) if rings]
        if kind == "Polygon":
            if polygons:
                return polygons[0]
            return shapely.Polygon()
        return shapely.MultiPolygon(polygons)


def with_area(rings: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """The rings that can enclose something, none when the outer one cannot."""
    if not rings or len(rings[0]) < 4:
        return []
    return [ring for ring in rings if len(ring) >= 4]


def empty(flaw: str | None = None) -> Coordinates:
    """No positions, for a reason or because there were none."""
    none = np.empty(0, np.int64)
    return Coordinates(np.empty((0, 2)), none, none, None, flaw)


def read_coordinates(events: Iterator[Event]) -> Coordinates:
    """The value that comes next; never raises for what it holds, but says so in ``flaw``.

    Numbers in quotes count as numbers, as they do for QuPath.

    Raises
    ------
    JsonError
        The text is no JSON, or nested beyond all reason.
    """
    event, value = next(events)
    if event != "start_array":
        skip(events, event)
        return empty(NOT_NESTED)
    reader = _Reader()
    reader.open()
    add = reader.xy.append
    heights = reader.heights
    # Local names, because a slide has millions of positions.
    numbers = 0  # of the position that is open
    opened = False  # a bracket that is not among the heights yet, because it may be a position's
    for event, value in events:
        if event == "number":
            numbers += 1
            # Height and measure may follow; an image has neither.
            if numbers <= 2:
                add(value)
            continue
        if opened and numbers > 1 and event == "end_array" and heights[-1] in _OPEN:
            heights[-1] = 1
            numbers = 0
            opened = False
            continue
        # Everything but a position in a ring or line goes the general way.
        if opened:
            heights.append(None)
            opened = False
        if event == "start_array" and numbers == 0 and len(heights) < MAX_DEPTH:
            opened = True
            continue
        reader.numbers = numbers
        if event == "start_array":
            reader.open()
        elif event == "end_array":
            reader.close()
        else:
            reader.other(event, value, events)
        numbers = reader.numbers
        if not heights:
            break
    return reader.result()


def skip(events: Iterator[Event], event: str) -> None:
    """Pass over the rest of the value that began with ``event``."""
    depth = 0
    while True:
        depth += event.startswith("start_")
        depth -= event.startswith("end_")
        if depth == 0:
            return
        if depth > MAX_DEPTH:
            raise TooMuch("brackets in brackets without end")
        event, _ = next(events)


class _Reader:
    """What has been read so far of one ``coordinates``."""

    def __init__(self) -> None:
        self.xy = array("d")
        self.ring_ends = array("q")
        self.part_ends = array("q")
        self.numbers = 0
        """Numbers of the position that is open."""
        self.flaw: str | None = None
        self.heights: list[int | None] = []
        """For each open bracket the levels of brackets in what it holds; None as long as it holds none."""
        self._height: int | None = None

    def open(self) -> None:
        """A bracket opens."""
        if self.numbers:
            self.flaw = self.flaw or NOT_NESTED
        if len(self.heights) >= MAX_DEPTH:
            raise TooMuch("brackets in brackets without end")
        self.numbers = 0
        self.heights.append(None)

    def close(self) -> None:
        """A bracket closes: a position, a ring, a polygon or all of them."""
        inner = self.heights.pop()
        if self.numbers:
            if self.numbers == 1 or inner is not None:
                self.flaw = self.flaw or NOT_NESTED
            height = 1
        elif inner is None:
            self._hold(None)
            return
        else:
            height = inner + 1
        self.numbers = 0
        if height == 2:
            self.ring_ends.append(len(self.xy) // 2)
        elif height == 3:
            self.part_ends.append(len(self.ring_ends))
        self._hold(height)

    def other(self, event: str, value: Any, events: Iterator[Event]) -> None:
        """Anything but a number or a bracket."""
        # QuPath's JSON reader takes numbers in quotes, and ``made_plain`` writes such for what no double holds.
        number = _number(value) if event == "string" else None
        if number is not None:
            self.numbers += 1
            if self.numbers <= 2:
                self.xy.append(number)
            return
        skip(events, event)
        self.flaw = self.flaw or NO_NUMBERS
        # As if the position were whole, so that this flaw is not taken for a missing number.
        self.numbers = 2

    def result(self) -> Coordinates:
        """All of it."""
        if self.flaw is None and self._height is not None and self._height > 4:
            self.flaw = NOT_NESTED
        if self.flaw is not None:
            return empty(self.flaw)
        xy = np.frombuffer(self.xy, np.float64).reshape(-1, 2)
        if not np.isfinite(xy).all():
            return empty("a position is not finite")
        rings = np.frombuffer(self.ring_ends, np.int64)
        return Coordinates(xy, rings, np.frombuffer(self.part_ends, np.int64), self._height)

    def _hold(self, height: int | None) -> None:
        """What the bracket outside holds, which must be of one height."""
        if not self.heights:
            self._height = height
        elif height is not None:
            if self.heights[-1] not in (None, height):
                self.flaw = self.flaw or NOT_NESTED
            self.heights[-1] = height


def _number(text: str) -> float | None:
    """A number in quotes; None when it is no number."""
    try:
        return float(text)
    except ValueError:
        if text.strip().lower() == "nan":
            return math.nan
        return None

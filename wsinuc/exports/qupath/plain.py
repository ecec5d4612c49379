"""Polygons with which nothing is wrong, found for a few features in one call.

Nearly all features of a file of nuclei are of this kind, and GEOS, asked about each by itself, spends most of its time
on being asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import shapely

from wsinuc.annotations.coordinates import HEIGHTS, Coordinates

PORTION = 16
"""Features that are looked at together. Few, because each may hold as many values as a hostile file likes."""
_MAX_CORNERS = 1000
_DECIMALS = 2  # of the grid to which QuPath 0.6 and later round


def portions(features: Iterable[Any]) -> Iterator[list[Any]]:
    """The features, a few at a time."""
    features = iter(features)
    while portion := list(islice(features, PORTION)):
        yield portion


def plain_polygons(features: Sequence[Any]) -> list[bool]:
    """Whether each feature's geometry is one of which `geometry_issues` has nothing to say; False is "perhaps not".

    That is a Polygon of one closed ring, on QuPath's grid, valid and not without area.
    """
    answers = [False] * len(features)
    rings = {number: coordinates.xy for number, coordinates in _rings(features)}
    if not rings:
        return answers
    xy = np.concatenate(list(rings.values()))
    starts = np.cumsum([0, *(len(ring) for ring in rings.values())])
    polygons = shapely.polygons(shapely.linearrings(xy, indices=np.repeat(np.arange(len(rings)), np.diff(starts))))
    fine = shapely.is_valid(polygons) & (shapely.area(polygons) > 0)
    fine &= (xy[starts[:-1]] == xy[starts[1:] - 1]).all(axis=1)
    fine &= np.logical_and.reduceat((np.round(xy, _DECIMALS) == xy).all(axis=1), starts[:-1])
    for number, answer in zip(rings, fine.tolist(), strict=True):
        answers[number] = answer
    return answers


def _rings(features: Sequence[Any]) -> Iterator[tuple[int, Coordinates]]:
    """Which of the features have a geometry of one ring, and its coordinates."""
    for number, feature in enumerate(features):
        geometry = feature.get("geometry") if isinstance(feature, dict) else None
        if not isinstance(geometry, dict) or geometry.get("type") != "Polygon":
            continue
        given = geometry.get("coordinates")
        if not isinstance(given, Coordinates) or given.flaw is not None or given.height != HEIGHTS["Polygon"]:
            continue
        # GEOS refuses rings of fewer than four positions, and closes open ones by itself.
        if len(given.ring_ends) == len(given.part_ends) == 1 and 4 <= len(given.xy) <= _MAX_CORNERS:
            yield number, given

"""What somebody drew over a slide in QuPath: where everything is annotated, what is left out, and the nuclei.

Closed annotations of the class ``Region*`` say where every nucleus is outlined or marked; those of the class
``Ignore*`` count in nothing. All other polygons in a region are nuclei, with or without a class, and points are
nuclei of which nothing but the class is known. Both names are QuPath's own and are patterns here: ``Region*`` also
means ``Region`` and ``Region 1``, whatever the case.

The file is read twice, as a stream: first the regions, then what lies in them. So memory holds the annotations of the
regions, however many objects the file has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from wsinuc.annotations import Coordinates, Feature, read_features
from wsinuc.annotations.coordinates import with_area
from wsinuc.errors import DataError
from wsinuc.limits import listed
from wsinuc.tissue.outlines import Outlines

REGION = "Region*"
"""Class of what is annotated completely, unless the user names another."""
IGNORE = "Ignore*"
"""Class of what counts in no loss and in no score."""
AREAS = ("Polygon", "MultiPolygon")
POINTS = ("Point", "MultiPoint")
NO_NUCLEI = ("tile", "tmaCore", "root")
"""QuPath's types of objects that are neither drawn by a person nor nuclei."""
MAX_REGIONS = 10_000
"""More are no regions but objects."""
MAX_NUCLEUS_UM2 = 2000.0
"""Area of a disc of 50 um: a larger outline is tissue, not a nucleus."""
OUTSIDE = "outlines outside of every region"
"""Why most polygons of a file are no nuclei here."""

Color = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class DrawnRegion:
    """One area in which everything is annotated."""

    name: str
    """Its name in QuPath; empty without one."""
    outline: Outlines
    """(x, y) in pixels of the file."""


@dataclass(frozen=True, slots=True, eq=False)
class DrawnNucleus:
    """A nucleus that is outlined."""

    outline: Outlines
    """(x, y) in pixels of the file."""
    class_name: str
    """Empty without one."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Drawing:
    """All that counts of a file of annotations, in its order."""

    regions: tuple[DrawnRegion, ...]
    ignored: tuple[Outlines, ...]
    nuclei: tuple[DrawnNucleus, ...]
    """Those whose bounding box meets the one of a region."""
    points: NDArray[np.float64]
    """(n, 2) (x, y) of the nuclei that are marked, in a region."""
    point_classes: tuple[str, ...]
    """(n,) class of each point; empty without one."""
    colors: dict[str, Color]
    """Colour of each class that the file gives one."""
    left_out: Counter[str]
    """What is no nucleus in a region -> how often."""


def read_drawing(path: Path, *, regions: str = REGION, mpp: float | None = None) -> Drawing:
    """The regions of a file of annotations, and what is annotated in them.

    Parameters
    ----------
    regions
        Class or name of the regions, as a pattern.
    mpp
        um per pixel; None does not ask whether an outline is too large for a nucleus.

    Raises
    ------
    DataError
        The file is damaged or holds no region.
    """
    drawn: list[DrawnRegion] = []
    ignored: list[Outlines] = []
    others: Counter[str] = Counter()
    for feature in read_features(path):
        if feature.kind not in AREAS:
            continue
        if is_called(feature, regions):
            drawn += regions_in(feature)
        elif is_called(feature, IGNORE):
            ignored.append(outlines_of(feature.coordinates))
        else:
            others[feature.class_name or feature.name or "without a class"] += 1
        if len(drawn) > MAX_REGIONS:
            raise DataError(
                f"{path} has more than {MAX_REGIONS:,} regions ({regions}): these are objects rather than areas in "
                "which everything is annotated; give the areas a class of their own"
            )
    if not drawn:
        raise DataError(_no_region(path, regions, others))
    return _with_nuclei(path, tuple(drawn), tuple(ignored), regions, mpp)


def _with_nuclei(
    path: Path, regions: tuple[DrawnRegion, ...], ignored: tuple[Outlines, ...], pattern: str, mpp: float | None
) -> Drawing:
    """The second reading: what lies in the regions."""
    boxes = np.array([region.outline.bounds for region in regions])
    nuclei: list[DrawnNucleus] = []
    places: list[NDArray[np.float64]] = [np.zeros((0, 2))]
    point_classes: list[str] = []
    colors: dict[str, Color] = {}
    left_out: Counter[str] = Counter()
    for feature in read_features(path):
        if is_called(feature, pattern) or is_called(feature, IGNORE) or feature.object_type in NO_NUCLEI:
            continue
        name = feature.class_name or ""
        if feature.kind in POINTS:
            inside = in_regions(feature.coordinates.xy, regions)
            left_out["points outside of every region"] += int((~inside).sum())
            places.append(feature.coordinates.xy[inside])
            point_classes += [name] * int(inside.sum())
        elif feature.kind in AREAS:
            reason = _reason(feature, boxes, mpp)
            if reason:
                left_out[reason] += 1
                continue
            nuclei.append(DrawnNucleus(outlines_of(nucleus_of(feature).coordinates), name))
        else:
            left_out["lines, which are no nuclei"] += 1
            continue
        if feature.color is not None:
            colors.setdefault(name, feature.color)
    return Drawing(
        regions=regions,
        ignored=ignored,
        nuclei=tuple(nuclei),
        points=np.concatenate(places),
        point_classes=tuple(point_classes),
        colors=colors,
        left_out=+left_out,
    )


def is_called(feature: Feature, pattern: str) -> bool:
    """Whether the class of an annotation, the first level of its class, or its name is meant by a pattern."""
    return is_named(feature.class_name or "", feature.name or "", pattern)


def is_named(class_name: str, name: str, pattern: str) -> bool:
    """The same of a class and a name; either may be empty.

    Examples
    --------
    >>> is_named("Region*", "", REGION), is_named("Tumour", "region 1", REGION), is_named("Tumour", "", REGION)
    (True, True, False)
    """
    names = (class_name, class_name.partition(":")[0], name)
    return any(fnmatchcase(name.strip().lower(), pattern.strip().lower()) for name in names if name)


def regions_in(feature: Feature) -> list[DrawnRegion]:
    """The regions that an area of their class stands for, one for each of its polygons."""
    name = (feature.name or "").strip()
    return [DrawnRegion(name, part) for part in _parts(feature.coordinates)]


def nucleus_of(feature: Feature) -> Feature:
    """The nucleus of a QuPath cell; anything else as it is."""
    return feature.nucleus or feature


def outlines_of(coordinates: Coordinates) -> Outlines:
    """The rings of a Polygon or MultiPolygon."""
    return Outlines(coordinates.xy, coordinates.ring_ends, coordinates.part_ends)


def _parts(coordinates: Coordinates) -> Iterator[Outlines]:
    """The polygons of a Polygon or MultiPolygon that enclose something, each for itself."""
    for rings in map(with_area, coordinates.parts()):
        if rings and shapely.Polygon(rings[0]).area > 0:
            ends = np.cumsum([len(ring) for ring in rings])
            yield Outlines(np.concatenate(rings), ends, np.array([len(rings)]))


def _reason(feature: Feature, boxes: NDArray[np.float64], mpp: float | None) -> str | None:
    """Why a polygon is no nucleus in a region; None when it is one."""
    geometry = nucleus_of(feature).geometry
    if not geometry.area:
        return "outlines without an area"
    x0, y0, x1, y1 = geometry.bounds
    # A bounding box is asked alone: most objects of a file may lie far away.
    meets = (boxes[:, 0] < x1) & (boxes[:, 2] > x0) & (boxes[:, 1] < y1) & (boxes[:, 3] > y0)
    if not meets.any():
        return OUTSIDE
    if mpp is not None and geometry.area * mpp**2 > MAX_NUCLEUS_UM2:
        return f"outlines larger than {MAX_NUCLEUS_UM2:,.0f} um2, which are no nuclei"
    return None


def in_regions(xy: NDArray[np.float64], regions: tuple[DrawnRegion, ...]) -> NDArray[np.bool_]:
    """Which points ``(n, 2)`` (x, y) lie in any of the regions, ``(n,)``."""
    inside = np.zeros(len(xy), np.bool_)
    for region in regions:
        inside |= region.outline.contains(xy)
    return inside


def _no_region(path: Path, pattern: str, others: Counter[str]) -> str:
    """That there is no region, and how to draw one."""
    text = (
        f"{path}: no region in it, which is an area of class {pattern} in which every nucleus is outlined or marked. "
        "In QuPath draw a rectangle around annotated nuclei, choose the class Region* in the tab Annotations, press "
        "Set selected, and export again with File, Export objects as GeoJSON"
    )
    if not others:
        return text
    names = [f"{name} ({count})" for name, count in others.most_common()]
    return f"{text}; or say with --regions NAME which of its areas are regions: {listed(names)}"

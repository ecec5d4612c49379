"""What came back from QuPath, held against the nuclei that it was given.

One pass over the file, feature by feature. An outline whose UUID is a nucleus' is that nucleus: as it was, edited, or
of another class. All other outlines were drawn, or have lost their UUID, which QuPath's conversion of detections to
annotations does; `overlap` looks which nuclei they stand for.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import numpy as np
import shapely
from numpy.typing import NDArray

from wsinuc.annotations import Feature, read_features
from wsinuc.datasets.corrections.detections import Detections, Key
from wsinuc.datasets.layouts.qupath_objects import (
    AREAS,
    IGNORE,
    MAX_NUCLEUS_UM2,
    NO_NUCLEI,
    POINTS,
    Color,
    DrawnRegion,
    is_called,
    nucleus_of,
    outlines_of,
    regions_in,
)
from wsinuc.tissue.outlines import Outlines


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Drawn:
    """An outline that is not as QuPath was given it: edited, or drawn."""

    nucleus: int | None
    """The nucleus of its UUID; None where it has none of ours."""
    outline: Outlines
    """In pixels of the file."""
    shape: shapely.Geometry
    """The same as shapely has it, made valid."""
    class_name: str
    """Empty without one."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Returned:
    """All that counts of a file that came back."""

    path: Path
    outlines: int
    """Outlines in it, but for regions and ignored areas."""
    seen: NDArray[np.bool_]
    """(n,) whether each nucleus of the result is in the file, by its UUID."""
    drawn: tuple[Drawn, ...]
    given: dict[int, str]
    """Nuclei, by UUID, whose class is another one -> its name, empty where it was taken away."""
    points: NDArray[np.float64]
    """(k, 2) (x, y)."""
    point_classes: tuple[str, ...]
    regions: tuple[DrawnRegion, ...]
    """What the person says is annotated completely."""
    ignored: tuple[Outlines, ...]
    colors: dict[str, Color]
    left_out: Counter[str]
    """What is no nucleus -> how often."""


def read_returned(path: Path, detections: Detections, *, regions: str, mpp: float) -> Returned:
    """Read a file of annotations; raises DataError where it is damaged.

    Parameters
    ----------
    regions
        Class or name of the regions, as a pattern.
    mpp
        um per pixel of the slide, to tell tissue from nuclei by its area.
    """
    reader = _Reader(detections, MAX_NUCLEUS_UM2 / mpp**2)
    drawn_regions: list[DrawnRegion] = []
    ignored: list[Outlines] = []
    for feature in read_features(path):
        if feature.kind in AREAS and is_called(feature, regions):
            drawn_regions += regions_in(feature)
        elif feature.kind in AREAS and is_called(feature, IGNORE):
            ignored.append(outlines_of(feature.coordinates))
        elif feature.object_type not in NO_NUCLEI:
            reader.add(feature)
    return reader.result(path, tuple(drawn_regions), tuple(ignored))


class _Reader:
    """What has been read so far."""

    def __init__(self, detections: Detections, largest: float) -> None:
        self._detections = detections
        self._largest = largest
        self._outlines = 0
        self._seen = np.zeros(len(detections), np.bool_)
        self._drawn: list[Drawn] = []
        self._given: dict[int, str] = {}
        self._points: list[NDArray[np.float64]] = [np.zeros((0, 2))]
        self._point_classes: list[str] = []
        self._colors: dict[str, Color] = {}
        self._left_out: Counter[str] = Counter()

    def add(self, feature: Feature) -> None:
        """An outline, points, or what is neither."""
        name = feature.class_name or ""
        if feature.color is not None:
            self._colors.setdefault(name, feature.color)
        if feature.kind in POINTS:
            self._points.append(feature.coordinates.xy)
            self._point_classes += [name] * len(feature.coordinates.xy)
        elif feature.kind in AREAS:
            self._add_outline(feature, name)
        else:
            self._left_out["lines, which are no nuclei"] += 1

    def _add_outline(self, feature: Feature, name: str) -> None:
        self._outlines += 1
        nucleus = self._nucleus_of(feature)
        drawn = nucleus_of(feature)
        geometry = drawn.geometry
        if nucleus is not None:
            self._seen[nucleus] = True
            if name.casefold() != self._detections.class_of(nucleus).casefold():
                self._given[nucleus] = name
            if self._detections.is_unchanged(nucleus, np.array(geometry.bounds), geometry.area):
                return
        if not geometry.area:
            self._left_out["outlines without an area"] += 1
        elif nucleus is None and geometry.area > self._largest:
            self._left_out[f"outlines larger than {MAX_NUCLEUS_UM2:,.0f} um2, which are no nuclei"] += 1
        else:
            outline = outlines_of(drawn.coordinates)
            shape = shapely.make_valid(geometry)
            self._drawn.append(Drawn(nucleus=nucleus, outline=outline, shape=shape, class_name=name))

    def _nucleus_of(self, feature: Feature) -> int | None:
        """The nucleus of a feature's UUID, the first time that it comes."""
        key = _key(feature.id)
        nucleus = None if key is None else self._detections.find(key)
        if nucleus is None or self._seen[nucleus]:
            return None
        return nucleus

    def result(self, path: Path, regions: tuple[DrawnRegion, ...], ignored: tuple[Outlines, ...]) -> Returned:
        """All of it."""
        return Returned(
            path=path,
            outlines=self._outlines,
            seen=self._seen,
            drawn=tuple(self._drawn),
            given=self._given,
            points=np.concatenate(self._points),
            point_classes=tuple(self._point_classes),
            regions=regions,
            ignored=ignored,
            colors=self._colors,
            left_out=self._left_out,
        )


def _key(identity: str | None) -> Key | None:
    """The bytes of a UUID; None for what is none."""
    if identity is None:
        return None
    try:
        return UUID(identity).bytes
    except ValueError:
        return None

"""Regions as they were drawn: names, classes and areas in um, cut to the slide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from wsinuc.annotations import Feature, read_features
from wsinuc.errors import DataError

AREAS = ("Polygon", "MultiPolygon")
NO_REGIONS = ("detection", "cell", "tile", "tmaCore")
"""QuPath's types of objects that are no annotations."""
MAX_REGIONS = 10_000
"""More are no regions but objects."""


@dataclass(frozen=True, slots=True)
class SlideFrame:
    """Where a file of annotations lies on a slide."""

    um_per_px: tuple[float, float]
    """(y, x) of a level-0 pixel."""
    shape_px: tuple[float, float]
    """(y, x) size of the slide in level-0 pixels."""
    origin_px: tuple[float, float]
    """(y, x) of the file's (0, 0) in level-0 pixels."""

    def to_um(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Positions (x, y) of the file in um from the corner of the slide."""
        um: NDArray[np.float64] = (xy + np.asarray(self.origin_px)[::-1]) * np.asarray(self.um_per_px)[::-1]
        return um

    @property
    def bounds_um(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of the slide."""
        height, width = np.multiply(self.shape_px, self.um_per_px).tolist()
        return 0.0, 0.0, width, height


@dataclass(frozen=True, slots=True)
class DrawnRegion:
    """One annotation."""

    name: str
    """Its name in QuPath, else its class; numbered where several have one name."""
    class_name: str
    """Its class in QuPath; empty without one."""
    area: BaseGeometry
    """Valid polygons in um from the corner of the slide, (x, y)."""


def load_regions(path: Path, frame: SlideFrame) -> list[DrawnRegion]:
    """The closed annotations of a GeoJSON file, in its order; points, lines and detections are passed over.

    A polygon that crosses itself counts by the even-odd rule, as it is drawn; what lies beyond the slide is cut off.

    Raises
    ------
    DataError
        The file is damaged or holds no region, or a region has neither name nor class, no area, or lies outside the
        slide; the message names the feature.
    """
    regions: list[DrawnRegion] = []
    for feature in _annotations(read_features(path)):
        if len(regions) == MAX_REGIONS:
            raise DataError(f"{path} holds more than {MAX_REGIONS:,} regions: export annotations alone, not detections")
        name = _name(feature)
        area = _area(feature.geometry, frame, f"{feature.where}: the region {name!r}")
        regions.append(DrawnRegion(name, feature.class_name or "", area))
    if not regions:
        raise DataError(
            f"{path}: no region in it; draw closed annotations (rectangle, polygon, brush) and export them as GeoJSON"
        )
    return _numbered(regions)


def named_regions(areas: Mapping[str, BaseGeometry], frame: SlideFrame) -> list[DrawnRegion]:
    """Regions of polygons by name, cut to the slide as those of `load_regions` are.

    Raises
    ------
    DataError
        One is no polygon, has no area, or lies outside the slide, or there is none; the message names it.
    """
    if not areas:
        raise DataError("there is no region: give at least one polygon by its name")
    regions = []
    for name, area in areas.items():
        on_slide = _area(_polygon(name, area), frame, f"the region {name!r}")
        regions.append(DrawnRegion(name, "", on_slide))
    return regions


def _polygon(name: str, area: BaseGeometry) -> BaseGeometry:
    """The polygon of a region by name."""
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"a region needs a name, got {name!r:.80}")
    if getattr(area, "geom_type", None) not in AREAS:
        raise DataError(f"the region {name!r} must be a Polygon or MultiPolygon of shapely, got {area!r:.80}")
    return area


def _annotations(features: Iterable[Feature]) -> Iterable[Feature]:
    return (each for each in features if each.kind in AREAS and each.object_type not in NO_REGIONS)


def _name(feature: Feature) -> str:
    name = (feature.name or "").strip() or feature.class_name
    if not name:
        raise DataError(
            f"{feature.where}: a region has neither a name nor a class, so its figures would have no name: "
            "give it one in QuPath (Annotations, Set class, or its properties), and export again"
        )
    return name


def _area(geometry: BaseGeometry, frame: SlideFrame, what: str) -> BaseGeometry:
    """A polygon (x, y) of a file, in um and cut to the slide; ``what`` it is, for messages."""
    drawn = shapely.transform(geometry, frame.to_um)
    if not shapely.is_valid(drawn):
        # "linework" is the even-odd rule.
        drawn = shapely.make_valid(drawn, method="linework")
    if drawn.area == 0:
        raise DataError(f"{what} has no area: draw it as a closed annotation")
    on_slide = shapely.intersection(drawn, shapely.box(*frame.bounds_um))
    if on_slide.area == 0:
        height, width = frame.shape_px
        x0, y0, x1, y1 = geometry.bounds
        dy, dx = frame.origin_px
        raise DataError(
            f"{what} spans x {x0:.0f} to {x1:.0f}, y {y0:.0f} to {y1:.0f}, "
            f"outside the slide, which spans x {0 - dx:.0f} to {width - dx:.0f}, y {0 - dy:.0f} to {height - dy:.0f}: "
            "is it for another slide, or not in full-resolution pixels?"
        )
    # Cutting may leave lines and points beside areas.
    parts = [part for part in shapely.get_parts(on_slide) if part.geom_type in AREAS]
    return shapely.union_all(parts)


def _numbered(regions: list[DrawnRegion]) -> list[DrawnRegion]:
    """Names by which regions can be told apart: "Tumor" twice becomes "Tumor" and "Tumor (2)"."""
    taken = {region.name for region in regions}
    seen: Counter[str] = Counter()
    out = []
    for region in regions:
        seen[region.name] += 1
        name = region.name
        while seen[region.name] > 1 and name in taken:
            name = f"{region.name} ({seen[region.name]})"
            if name in taken:
                seen[region.name] += 1
        taken.add(name)
        out.append(DrawnRegion(name, region.class_name, region.area))
    return out

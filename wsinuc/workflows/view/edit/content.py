"""What a file of training windows holds: windows with outlines and areas that do not count, among whatever else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import uuid4

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import mapping, shape

from wsinuc.datasets.layouts.qupath_objects import AREAS, IGNORE, NO_NUCLEI, REGION, is_named
from wsinuc.workflows.view.teach.feature_file import Feature, class_of, id_of, properties_of

NUCLEUS = "nucleus"
"""Kind of what is an outline."""
WINDOW_COLOR = (0, 0, 180)
"""That of QuPath for its class ``Region*``."""
IGNORED_COLOR = (180, 180, 180)
"""That of QuPath for its class ``Ignore*``."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A window, or an outline or an ignored area in one."""

    feature: Feature
    shape: shapely.Geometry
    """(x, y) in pixels of the file."""

    @property
    def id(self) -> str:
        """By which it is known."""
        return id_of(self.feature)

    @property
    def class_name(self) -> str:
        """Empty without one."""
        return class_of(self.feature)

    @property
    def name(self) -> str:
        """What a person called it; empty without a name."""
        name = properties_of(self.feature).get("name")
        return name.strip() if isinstance(name, str) else ""


@dataclass(frozen=True)
class Content:
    """All that can be edited of a file, in its order. What has no id, or is no polygon, stays in the file unseen."""

    windows: tuple[Drawn, ...]
    outlines: tuple[Drawn, ...]
    """Those that meet a window."""
    ignored: tuple[Drawn, ...] = ()
    """Areas whose pixels count in no training; those that meet a window."""

    @cached_property
    def shapes(self) -> NDArray[np.object_]:
        """(n,) polygons of the outlines."""
        return np.array([each.shape for each in self.outlines], np.object_)

    @cached_property
    def tree(self) -> shapely.STRtree:
        """Of the outlines."""
        return shapely.STRtree(self.shapes)

    def outlines_in(self, area: shapely.Geometry) -> list[Drawn]:
        """The outlines that meet an area."""
        return [self.outlines[number] for number in sorted(self.tree.query(area, predicate="intersects").tolist())]

    def windows_at(self, area: shapely.Geometry) -> list[Drawn]:
        """The windows that an area meets."""
        return [window for window in self.windows if shapely.intersects(window.shape, area)]

    def free_name(self) -> str:
        """``Region 1``, or the first such name that no window has."""
        names = {window.name.casefold() for window in self.windows}
        numbers = range(1, len(names) + 2)
        return next(name for name in (f"Region {number}" for number in numbers) if name.casefold() not in names)


def read_content(features: Sequence[Feature]) -> Content:
    """The windows and outlines among the features of a file."""
    drawn = [Drawn(feature, polygon) for feature in features if (polygon := _shape_of(feature)) is not None]
    kinds = [_kind_of(each) for each in drawn]
    windows = tuple(each for each, kind in zip(drawn, kinds, strict=True) if kind == REGION)
    meets = np.zeros(len(drawn), np.bool_)
    shapes = np.array([each.shape for each in drawn], np.object_)
    for window in windows:
        meets |= shapely.intersects(window.shape, shapes)
    inside = [(each, kind) for each, kind, is_met in zip(drawn, kinds, meets.tolist(), strict=True) if is_met]
    return Content(
        windows=windows,
        outlines=tuple(each for each, kind in inside if kind == NUCLEUS),
        ignored=tuple(each for each, kind in inside if kind == IGNORE),
    )


def _kind_of(drawn: Drawn) -> str:
    """What a training takes it for: REGION, IGNORE, NUCLEUS, or nothing."""
    for kind in (REGION, IGNORE):
        if is_named(drawn.class_name, drawn.name, kind):
            return kind
    return "" if properties_of(drawn.feature).get("objectType") in NO_NUCLEI else NUCLEUS


def window_feature(area: shapely.Polygon, name: str) -> Feature:
    """A new window, as QuPath has regions: a locked annotation, so that it is not moved by accident."""
    classification = {"name": REGION, "color": list(WINDOW_COLOR)}
    return _annotation(area, {"name": name, "classification": classification})


def ignored_feature(area: shapely.Polygon) -> Feature:
    """A new area that does not count."""
    return _annotation(area, {"classification": {"name": IGNORE, "color": list(IGNORED_COLOR)}})


def renamed(window: Drawn, name: str) -> Feature:
    """A window under another name; its class stays ``Region*``, or becomes it where only the name has said so."""
    properties = properties_of(window.feature) | {"name": name}
    if not is_named(window.class_name, "", REGION):
        properties["classification"] = {"name": REGION, "color": list(WINDOW_COLOR)}
    return window.feature | {"properties": properties}


def _annotation(area: shapely.Polygon, properties: dict[str, Any]) -> Feature:
    return _feature(str(uuid4()), area, {"objectType": "annotation", "isLocked": True, **properties})


def outline_feature(polygon: shapely.Polygon, classification: dict[str, Any] | None) -> Feature:
    """A new outline, with or without a class."""
    properties: dict[str, Any] = {"objectType": "detection"}
    if classification is not None:
        properties["classification"] = classification
    return _feature(str(uuid4()), polygon, properties)


def _feature(name: str, polygon: shapely.Polygon, properties: dict[str, Any]) -> Feature:
    geometry = {"type": "Polygon", "coordinates": [list(map(list, ring)) for ring in mapping(polygon)["coordinates"]]}
    return {"type": "Feature", "id": name, "geometry": geometry, "properties": properties}


def _shape_of(feature: Feature) -> shapely.Geometry | None:
    """The polygon of a feature with an id; None for anything else, however odd."""
    geometry = feature.get("geometry")
    if not id_of(feature) or not isinstance(geometry, dict) or geometry.get("type") not in AREAS:
        return None
    try:
        polygon = shape(geometry)
    except (LookupError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError):
        return None
    if not polygon.is_valid:
        polygon = shapely.make_valid(polygon)
    # A window or a nucleus without an area is none.
    if not np.isfinite(polygon.bounds).all() or not polygon.area:
        return None
    return polygon

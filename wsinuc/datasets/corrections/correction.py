"""Where a corrected result is the truth, and the nuclei that are annotated there.

A whole slide of predictions is no ground truth because a few of them were corrected. So only regions count:

- Where the person drew areas of class ``Region*``, these are what was checked, and everything in them counts: nuclei
  that were left as they were, too, with the classes that the model gave them.
- Where there is none, the regions are the bounding boxes of what was changed, each grown by `REACH_UM`, about the
  width of a nucleus; those that meet are one region. Nuclei that were left as they were count there with their
  outline, because they were in sight, but not with the class that the model gave them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from wsinuc.datasets.corrections.changes import Changes, area_of, changed_boxes, check_changes, find_changes
from wsinuc.datasets.corrections.detections import Detections
from wsinuc.datasets.corrections.overlap import Overlap, match_by_overlap
from wsinuc.datasets.corrections.returned import Returned
from wsinuc.datasets.layouts.qupath_objects import OUTSIDE, Drawing, DrawnNucleus, DrawnRegion, in_regions
from wsinuc.grid import Box
from wsinuc.tissue.outlines import Outlines

REACH_UM = 10.0
"""How far around a change its surroundings count as seen, where no region says it."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Correction:
    """A corrected result as annotation."""

    drawing: Drawing
    changes: Changes
    chosen: bool
    """Whether the person drew the regions."""
    kept: int
    """Nuclei that meet a region and are as they were."""
    unused: int
    """Changes whose middle lies in no region."""

    def notes(self) -> tuple[str, str]:
        """What was changed, and where the result is the truth, for people."""
        changed = f"corrections of nuclei: {self.changes}"
        count = len(self.drawing.regions)
        if not self.chosen:
            return changed, (
                f"no region was drawn, so the surroundings of what was changed ({count:,} regions) are the truth, with "
                f"{self.kept:,} nuclei as they were; draw areas of class Region* around all that you have checked, to "
                "use it and to measure fairly: these regions lie where the model was wrong"
            )
        where = f"the regions that were drawn ({count:,}) are the truth, with {self.kept:,} nuclei as they were"
        if self.unused:
            where += f"; {self.unused:,} changes lie outside of them and are not used"
        return changed, where


def correct(returned: Returned, detections: Detections, *, extent: Box, mpp: float) -> Correction:
    """Regions of a corrected result with the nuclei in them, and what was changed.

    Parameters
    ----------
    extent
        The slide, in the pixels that QuPath counts.
    mpp
        um per pixel of the slide.

    Raises
    ------
    DataError
        The file is another result's, holds a part of it without saying which, or changes nothing.
    """
    overlap = match_by_overlap(returned, detections)
    changes = find_changes(returned, detections, overlap)
    check_changes(returned, detections, overlap, changes)
    boxes = changed_boxes(returned, detections, overlap, changes)
    drawn_regions = returned.regions or regions_around(boxes, REACH_UM / mpp, extent)
    area = area_of(drawn_regions)
    names = _Names(detections, changes, trusted=bool(returned.regions))
    first = _drawn_nuclei(returned, overlap, names, area)
    rest = _nuclei_as_they_were(detections, changes, names, area)
    all_nuclei = len(detections) - len(changes.deleted) - len(changes.replaced) + changes.added
    left_out = returned.left_out + Counter({OUTSIDE: all_nuclei - len(first) - len(rest)})
    inside = in_regions(returned.points, drawn_regions)
    point_classes = tuple(name for name, there in zip(returned.point_classes, inside.tolist(), strict=True) if there)
    drawing = Drawing(
        regions=drawn_regions,
        ignored=returned.ignored,
        nuclei=(*first, *_give_way(rest, returned.points[inside], point_classes)),
        points=returned.points[inside],
        point_classes=point_classes,
        colors=returned.colors,
        left_out=left_out,
    )
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    return Correction(
        drawing=drawing,
        changes=changes,
        chosen=bool(returned.regions),
        kept=len(rest),
        unused=int((~in_regions(middles, drawn_regions)).sum()),
    )


def regions_around(boxes: NDArray[np.float64], reach_px: float, extent: Box) -> tuple[DrawnRegion, ...]:
    """One region for each group of boxes (n, 4) x0, y0, x1, y1 that meet when they are grown by ``reach_px``.

    Examples
    --------
    >>> boxes = np.array([[10.0, 10, 20, 20], [24, 10, 30, 20], [80, 80, 90, 90]])
    >>> [region.outline.bounds for region in regions_around(boxes, 5.0, Box(0, 0, 92, 92))]
    [(5.0, 5.0, 35.0, 25.0), (75.0, 75.0, 92.0, 92.0)]
    """
    low = np.maximum(boxes[:, :2] - reach_px, (extent.x0, extent.y0))
    high = np.minimum(boxes[:, 2:] + reach_px, (extent.x1, extent.y1))
    # Whole pixels, so that a region ends where a pixel does.
    low = np.floor(low)
    high = np.ceil(high)
    within = (high > low).all(axis=1)
    together = shapely.union_all(shapely.box(*low[within].T, *high[within].T))
    parts = sorted(shapely.get_parts(together).tolist(), key=lambda part: part.bounds[1::-1])
    return tuple(DrawnRegion("", _outline(part)) for part in parts)


def _outline(polygon: shapely.Polygon) -> Outlines:
    rings = [np.array(ring.coords) for ring in (polygon.exterior, *polygon.interiors)]
    ends = np.cumsum([len(ring) for ring in rings])
    return Outlines(np.concatenate(rings), ends, np.array([len(rings)]))


def _drawn_nuclei(returned: Returned, overlap: Overlap, names: _Names, area: shapely.Geometry) -> list[DrawnNucleus]:
    """What was edited or drawn, in the order of the file, where it meets a region."""
    nuclei = []
    for i, each in enumerate(returned.drawn):
        if i not in overlap.same and shapely.intersects(area, each.shape):
            nuclei.append(DrawnNucleus(each.outline, names.of_drawn(each.class_name, overlap.edited.get(i))))
    return nuclei


def _nuclei_as_they_were(
    detections: Detections, changes: Changes, names: _Names, area: shapely.Geometry
) -> list[DrawnNucleus]:
    """The nuclei whose outline was left as it was, where they meet a region."""
    standing = shapely.intersects(area, shapely.box(*detections.drawn.boxes.T))
    standing[np.concatenate([changes.deleted, changes.edited, changes.replaced])] = False
    polygons = detections.polygons(np.flatnonzero(standing).tolist())
    return [
        DrawnNucleus(_outline(polygons[number]), names.of_nucleus(number))
        for number in sorted(polygons)
        if shapely.intersects(area, polygons[number])
    ]


def _give_way(
    nuclei: list[DrawnNucleus], points: NDArray[np.float64], point_classes: tuple[str, ...]
) -> list[DrawnNucleus]:
    """The nuclei, without the model's class where a point with a class lies in them."""
    named = points[np.array([bool(name) for name in point_classes], np.bool_)]
    if not len(named) or not nuclei:
        return nuclei
    shapes = [shapely.Polygon(nucleus.outline.xy[: nucleus.outline.ring_ends[0]]) for nucleus in nuclei]
    _, hit = shapely.STRtree(shapes).query(shapely.points(named), predicate="within")
    marked = set(hit.tolist())
    return [DrawnNucleus(each.outline, "") if i in marked else each for i, each in enumerate(nuclei)]


class _Names:
    """Which class a nucleus has that is annotated now; empty where nobody said it."""

    def __init__(self, detections: Detections, changes: Changes, *, trusted: bool) -> None:
        self._detections = detections
        self._given = changes.given
        # A model with one class tells nothing apart: its name says no more than that this is a nucleus.
        self._trusted = trusted and len(detections.class_names) > 1
        self._only = detections.class_names[0] if len(detections.class_names) == 1 else None

    def of_nucleus(self, nucleus: int) -> str:
        """Of one whose outline is as it was."""
        if nucleus in self._given:
            return self._given[nucleus]
        if self._trusted:
            return self._detections.class_of(nucleus)
        return ""

    def of_drawn(self, name: str, nucleus: int | None) -> str:
        """Of one that was drawn or edited."""
        if nucleus is not None and (not name or nucleus not in self._given):
            return self.of_nucleus(nucleus)
        if self._only is not None and name.casefold() == self._only.casefold():
            return ""
        return name

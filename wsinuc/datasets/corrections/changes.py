"""What somebody changed in a result: what was deleted, edited, added, replaced, marked, or given another class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from wsinuc.datasets.corrections.detections import Detections
from wsinuc.datasets.corrections.overlap import Overlap
from wsinuc.datasets.corrections.returned import Returned
from wsinuc.datasets.layouts.qupath_objects import DrawnRegion
from wsinuc.errors import DataError

MAX_MISSING = 0.5
"""Share of a result's nuclei, where no region was drawn, above which they count as not exported rather than deleted."""
MIN_SAME = 0.5
"""Share of the outlines that must lie exactly where nuclei do, if no UUID says that they are those."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Changes:
    """What was changed; nuclei by their position in `Detections`."""

    deleted: NDArray[np.intp]
    edited: NDArray[np.intp]
    """With another outline."""
    replaced: NDArray[np.intp]
    """Still there, but under an outline that was drawn for other nuclei."""
    added: int
    """Outlines of nuclei that the model had not found."""
    given: dict[int, str]
    """Nucleus -> its other class; empty where it was taken away."""
    marked: int
    """Points, which give a class to the nucleus that they lie in, or mark one that was not found."""
    left: int
    """Nuclei that are as they were."""

    @property
    def count(self) -> int:
        """All changes together."""
        return len(self.deleted) + len(self.edited) + len(self.replaced) + self.added + len(self.given) + self.marked

    def __str__(self) -> str:
        counts = {
            "deleted": len(self.deleted),
            "edited": len(self.edited),
            "added": self.added,
            "replaced by a drawn outline": len(self.replaced),
            "of another class": len(self.given),
            "marked by a point": self.marked,
        }
        changed = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        return f"{changed or 'none changed'}; {self.left:,} as they were"


def find_changes(returned: Returned, detections: Detections, overlap: Overlap) -> Changes:
    """What differs between a result and what came back of it."""
    found = returned.seen.copy()
    found[[*overlap.edited.values(), *overlap.same.values()]] = True
    given = dict(returned.given)
    for drawn, nucleus in [*overlap.edited.items(), *overlap.same.items()]:
        each = returned.drawn[drawn]
        called = detections.class_of(nucleus)
        # An outline that was drawn without a class says nothing of it.
        if each.nucleus is None and each.class_name and each.class_name.casefold() != called.casefold():
            given[nucleus] = each.class_name
    deleted = _deleted(returned, detections, found)
    edited = np.unique(np.array(list(overlap.edited.values()), np.intp))
    replaced = np.array(sorted(overlap.replaced - set(deleted.tolist())), np.intp)
    given = {nucleus: name for nucleus, name in given.items() if nucleus not in overlap.replaced}
    touched = {*deleted.tolist(), *edited.tolist(), *replaced.tolist(), *given}
    return Changes(
        deleted=deleted,
        edited=edited,
        replaced=replaced,
        added=len(overlap.added(returned.drawn)),
        given=given,
        marked=len(returned.points),
        left=len(detections) - len(touched),
    )


def _deleted(returned: Returned, detections: Detections, found: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The nuclei that were taken away: those that are missing, unless nobody exported what lies outside of regions."""
    missing = ~found
    if not returned.regions:
        return np.flatnonzero(missing)
    area = area_of(returned.regions)
    near = shapely.intersects(area, shapely.box(*detections.drawn.boxes.T))
    if missing[~near].sum() <= MAX_MISSING * (~near).sum():
        return np.flatnonzero(missing)
    # A bounding box may reach into a region where the outline does not.
    polygons = detections.polygons(np.flatnonzero(missing & near).tolist())
    return np.array(sorted(number for number, shape in polygons.items() if shapely.intersects(area, shape)), np.intp)


def area_of(regions: Sequence[DrawnRegion]) -> shapely.Geometry:
    """All regions together, prepared to be asked about many nuclei."""
    shapes = []
    for region in regions:
        rings = np.split(region.outline.xy, region.outline.ring_ends[:-1])
        shapes.append(shapely.make_valid(shapely.Polygon(rings[0], rings[1:])))
    area = shapely.union_all(shapes)
    shapely.prepare(area)
    return area


def check_changes(returned: Returned, detections: Detections, overlap: Overlap, changes: Changes) -> None:
    """Raise DataError where the file says nothing of the result, or too little to know what was meant."""
    # Nuclei of another run lie about where these do, so that the place alone proves little.
    if not returned.seen.any() and len(overlap.same) <= MIN_SAME * returned.outlines:
        raise DataError(
            f"{returned.path}: none of its {returned.outlines:,} outlines has the UUID of one of the "
            f"{len(detections):,} nuclei of {detections.result}, and {len(overlap.same):,} lie where these do: are "
            "they another slide's or run's? If the detections were left out, export all objects; if all was drawn by "
            f"hand, name the slide instead of the result: SLIDE={returned.path.name}"
        )
    if returned.regions:
        return
    if len(changes.deleted) > MAX_MISSING * len(detections):
        raise DataError(
            f"{returned.path}: {len(changes.deleted):,} of the {len(detections):,} nuclei of {detections.result} are "
            "missing. If they were deleted, draw an area of class Region* around what you have checked; if only "
            "selected objects were exported, export all; classes alone are what wsinuc classify takes"
        )
    if not changes.count:
        raise DataError(
            f"{returned.path}: nothing in it differs from {detections.result}: correct nuclei in QuPath, or draw an "
            "area of class Region* around those that you have checked and found right, and export again"
        )


def changed_boxes(
    returned: Returned, detections: Detections, overlap: Overlap, changes: Changes
) -> NDArray[np.float64]:
    """(n, 4) x0, y0, x1, y1 of each thing that was changed, as it was and as it is together."""
    shapes = shapely.bounds(np.array([each.shape for each in returned.drawn], np.object_)).reshape(-1, 4)
    only = set(changes.given) - set(changes.edited.tolist())
    nuclei = np.array([*changes.deleted.tolist(), *changes.replaced.tolist(), *sorted(only)], np.intp)
    drawn = np.array(list(overlap.edited), np.intp)
    before = detections.drawn.boxes[np.array(list(overlap.edited.values()), np.intp)]
    edited = np.concatenate(
        [np.minimum(shapes[drawn, :2], before[:, :2]), np.maximum(shapes[drawn, 2:], before[:, 2:])], axis=1
    )
    added = shapes[np.array(overlap.added(returned.drawn), np.intp)]
    return np.concatenate([detections.drawn.boxes[nuclei], edited, added, np.tile(returned.points, (1, 2))])

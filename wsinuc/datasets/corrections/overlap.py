"""Which nuclei of a result the outlines stand for that a person drew.

What a person drew comes later than what the model found, so it counts for more:

- A drawn outline that shares at least half of its area with a nucleus (IoU) is that nucleus, edited, whether the
  nucleus is still in the file or not. Pairs are formed from the largest IoU down, one to one.
- If they share nearly all, the outline is the nucleus as it was: its UUID was lost, or it is there twice.
- A nucleus that a drawn outline covers by more than half of the smaller of both gives way to it: one that was drawn
  for two, two that were drawn for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from wsinuc.datasets.corrections.detections import Detections
from wsinuc.datasets.corrections.returned import Drawn, Returned

EDITED_IOU = 0.5
"""From here on a drawn outline stands for a nucleus."""
SAME_IOU = 0.98
"""From here on it is the nucleus as it was."""
COVERED = 0.5
"""Share of the smaller of two outlines above which the nucleus gives way to the drawn one."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Overlap:
    """How drawn outlines and nuclei go together; both by their position in `Returned.drawn` and in `Detections`."""

    edited: dict[int, int]
    """Drawn outline -> the nucleus that it stands for, by UUID or by overlap."""
    same: dict[int, int]
    """Drawn outline -> the nucleus that it is, as it was."""
    replaced: frozenset[int]
    """Nuclei that give way to drawn outlines without being one of them."""

    def added(self, drawn: Sequence[Drawn]) -> list[int]:
        """The drawn outlines that stand for no nucleus."""
        return [i for i in range(len(drawn)) if i not in self.edited and i not in self.same]


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Drawn outlines and the nuclei that they share area with."""

    drawn: NDArray[np.intp]
    nuclei: NDArray[np.intp]
    iou: NDArray[np.float64]
    covered: NDArray[np.float64]
    """Shared area over the smaller of both."""


def match_by_overlap(returned: Returned, detections: Detections) -> Overlap:
    """Say which nucleus each drawn outline stands for."""
    edited = {i: each.nucleus for i, each in enumerate(returned.drawn) if each.nucleus is not None}
    pairs = _pairs(returned, detections)
    same: dict[int, int] = {}
    by_uuid = set(edited.values())
    taken: set[int] = set()
    for k in np.argsort(-pairs.iou, kind="stable").tolist():
        drawn = int(pairs.drawn[k])
        nucleus = int(pairs.nuclei[k])
        if pairs.iou[k] < EDITED_IOU:
            break
        if drawn in edited or drawn in same or nucleus in taken or nucleus in by_uuid:
            continue
        taken.add(nucleus)
        if pairs.iou[k] >= SAME_IOU:
            same[drawn] = nucleus
        else:
            edited[drawn] = nucleus
    # What is as it was is no news, and makes no other nucleus give way.
    news = ~np.isin(pairs.drawn, list(same))
    covered = set(pairs.nuclei[news & (pairs.covered > COVERED)].tolist())
    replaced = frozenset(covered - set(edited.values()))
    return Overlap(edited=edited, same=same, replaced=replaced)


def _pairs(returned: Returned, detections: Detections) -> _Pairs:
    """All drawn outlines with all nuclei that share area with them, but for the one of their own UUID."""
    shapes = np.array([each.shape for each in returned.drawn], np.object_)
    if not len(shapes):
        none = np.zeros(0, np.intp)
        return _Pairs(none, none, np.zeros(0), np.zeros(0))
    nuclei, drawn = shapely.STRtree(shapes).query(shapely.box(*detections.drawn.boxes.T))
    own = np.array([-1 if each.nucleus is None else each.nucleus for each in returned.drawn])
    other = nuclei != own[drawn]
    nuclei = nuclei[other]
    drawn = drawn[other]
    polygons = detections.polygons(nuclei.tolist())
    theirs = np.array([polygons[number] for number in nuclei.tolist()], np.object_)
    shared = shapely.area(shapely.intersection(shapes[drawn], theirs))
    areas = shapely.area(shapes[drawn])
    their_areas = shapely.area(theirs)
    some = shared > 0
    both = areas + their_areas - shared
    return _Pairs(drawn[some], nuclei[some], (shared / both)[some], (shared / np.minimum(areas, their_areas))[some])

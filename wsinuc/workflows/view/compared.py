"""Two results of one slide: which nuclei are the same ones, and what class each has in the one and in the other.

A nucleus of one result and a nucleus of the other are the same where each is the other's nearest by centroid, no
further away than half a nucleus is wide. Of a result and one with other classes for its nuclei these are all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsinuc.shown import shown
from wsinuc.workflows.view.table import NucleiTable

REACH = 0.5
"""Of a nucleus' diameter, the distance of two centroids of one nucleus at most."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """The nuclei of a table beside those of another one of the same slide."""

    differs: NDArray[np.bool_]
    """(n,) whether a nucleus has another class in the other table, or is not there."""
    only_here: int
    only_there: int
    changes: NDArray[np.int64]
    """(classes here, classes there) nuclei that are in both."""
    there: NucleiTable
    """The other table."""

    def report(self, here: Sequence[str]) -> dict[str, Any]:
        """For the page, with the names of the classes of the one table; the most frequent changes first."""
        there = self.there.class_names
        pairs = [(one, other) for one, other in np.argwhere(self.changes).tolist() if here[one] != there[other]]
        pairs.sort(key=lambda pair: -self.changes[pair])
        return {
            "both": int(self.changes.sum()),
            "onlyHere": self.only_here,
            "onlyThere": self.only_there,
            "changed": sum(int(self.changes[pair]) for pair in pairs),
            "changes": [
                {"from": shown(here[one]), "to": shown(there[other]), "nuclei": int(self.changes[one, other])}
                for one, other in pairs
            ],
        }


def compare(here: NucleiTable, there: NucleiTable) -> Comparison:
    """The nuclei of one table beside those of another one of the same slide.

    Raises
    ------
    DataError
        A table is damaged.
    """
    match = _matches(here, there)
    matched = match >= 0
    names = (here.class_names or ("",), there.class_names or ("",))
    changes = np.zeros((len(names[0]), len(names[1])), np.int64)
    mine, theirs = here.classes[matched], there.classes[match[matched]]
    np.add.at(changes, (mine, theirs), 1)
    differs = ~matched
    differs[matched] = np.asarray(names[0], np.object_)[mine] != np.asarray(names[1], np.object_)[theirs]
    both = int(matched.sum())
    return Comparison(differs, len(here) - both, len(there) - both, changes, there)


def _matches(here: NucleiTable, there: NucleiTable) -> NDArray[np.int64]:
    """(n,) row of the same nucleus in the other table; -1 where it has none."""
    # SciPy's trees take a while to import, and most pages do without.
    from scipy.spatial import cKDTree

    if not len(here) or not len(there):
        return np.full(len(here), -1, np.int64)
    mine = np.stack([here.y, here.x], axis=1)
    theirs = np.stack([there.y, there.x], axis=1)
    reach = REACH * max(here.diameter, there.diameter)
    distance, nearest = cKDTree(theirs).query(mine, distance_upper_bound=reach)
    _, back = cKDTree(mine).query(theirs, distance_upper_bound=reach)
    found = np.isfinite(distance)
    rows = np.arange(len(here))
    match = np.full(len(here), -1, np.int64)
    match[found] = nearest[found]
    match[found] = np.where(back[match[found]] == rows[found], match[found], -1)
    return match

"""Were points written with x and y exchanged? Seen by how many of them lie in nuclei.

Some sets are published with rows before columns, and others say x where they mean rows. Nothing else
shows it: a classifier learns from any points, only badly, and a score is merely low.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SWAPPED = 0.25
"""By how much the share of points in nuclei must grow when x and y are exchanged before that is called a mistake."""
FEWEST = 50
"""Points without which nothing is said of x and y."""


@dataclass(frozen=True, slots=True)
class PointsInside:
    """Points that lie in nuclei, as they were given and with x and y exchanged; of several images the sum."""

    points: int = 0
    given: int = 0
    exchanged: int = 0

    @classmethod
    def of(cls, places: NDArray[np.float64], labels: NDArray[np.integer]) -> PointsInside:
        """Count the points ``places`` (n, 2) (y, x), in pixels from the corner, in the nuclei of ``labels`` (h, w)."""
        return cls(len(places), _inside(places, labels), _inside(places[:, ::-1], labels))

    def __add__(self, other: PointsInside) -> PointsInside:
        return PointsInside(self.points + other.points, self.given + other.given, self.exchanged + other.exchanged)

    @property
    def doubt(self) -> str | None:
        """What speaks for exchanged axes, as a sentence; None where nothing does, or where points are few."""
        if self.points < FEWEST or self.exchanged - self.given <= SWAPPED * self.points:
            return None
        return (
            f"{100 * self.given / self.points:.0f} % of the points lie in a nucleus, and "
            f"{100 * self.exchanged / self.points:.0f} % would if x and y were exchanged: the columns are probably "
            "the wrong way round; x counts columns from the left, y rows from the top"
        )


def _inside(places: NDArray[np.float64], labels: NDArray[np.integer]) -> int:
    pixels = np.clip(np.floor(places).astype(int), 0, np.array(labels.shape) - 1)
    return int((labels[pixels[:, 0], pixels[:, 1]] > 0).sum())

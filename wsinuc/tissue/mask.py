"""A coarse mask over a view, and the questions that blocks ask it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.grid import Box
from wsinuc.slides.view import SlideView

CELL_UM = 8.0
"""Side of the cells of our own masks: a nucleus. Coarser wastes blocks, finer says nothing more about tissue."""


@dataclass(frozen=True, slots=True)
class TissueMask:
    """Which cells of a coarse grid over a view hold tissue. The grid covers the view exactly, whatever its size."""

    mask: NDArray[np.bool_]
    """(mh, mw), True for tissue."""
    shape: tuple[int, int]
    """(height, width) of the view in view pixels."""

    def touches(self, box: Box) -> bool:
        """Whether any cell that shares a view pixel with ``box`` holds tissue."""
        rows, columns = _overlaps(box.y0, box.y1, self, 0)[0], _overlaps(box.x0, box.x1, self, 1)[0]
        return bool(self.mask[rows, columns].any())

    def share(self, box: Box) -> float:
        """Share of the box's area that lies in tissue cells, 0 to 1; nothing outside the view is tissue."""
        rows, down = _overlaps(box.y0, box.y1, self, 0)
        columns, across = _overlaps(box.x0, box.x1, self, 1)
        return float(down @ self.mask[rows, columns] @ across) / (box.shape[0] * box.shape[1])

    def area_px(self) -> float:
        """Area of the tissue cells in view pixels."""
        return float(self.mask.mean()) * self.shape[0] * self.shape[1]

    def bounds(self) -> Box | None:
        """The smallest box of view pixels around all tissue; None without any."""
        rows = np.flatnonzero(self.mask.any(axis=1))
        columns = np.flatnonzero(self.mask.any(axis=0))
        if not len(rows):
            return None
        (height, width), (down, across) = self.shape, self.mask.shape
        return Box(
            int(rows[0]) * height // down,
            int(columns[0]) * width // across,
            -(-(int(rows[-1]) + 1) * height // down),
            -(-(int(columns[-1]) + 1) * width // across),
        )


def _overlaps(start: int, stop: int, tissue: TissueMask, axis: int) -> tuple[slice, NDArray[np.float64]]:
    """Cells that an interval of view pixels meets along an axis, and how many view pixels it shares with each."""
    count, length = tissue.mask.shape[axis], tissue.shape[axis]
    start, stop = max(0, min(start, length)), max(0, min(stop, length))
    first, last = start * count // length, -(-stop * count // length)
    edges = np.arange(first, last + 1) * (length / count)
    shared = np.minimum(edges[1:], stop) - np.maximum(edges[:-1], start)
    return slice(first, last), np.maximum(shared, 0.0)


def whole(view: SlideView) -> TissueMask:
    """Everything is tissue."""
    return TissueMask(np.ones((1, 1), np.bool_), view.shape)


def cell_counts(view: SlideView) -> tuple[int, int]:
    """(rows, columns) of a grid of about 8 um cells over the view."""
    rows, columns = (max(1, round(length * view.mpp / CELL_UM)) for length in view.shape)
    return rows, columns

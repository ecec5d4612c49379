"""A coarse mask over a view, and the questions that blocks ask it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import SlideError
from wsinuc.grid import Box, ceil_div
from wsinuc.slides.view import WHITE, SlideView
from wsinuc.tissue.kinds import LEFT_OUT, Kind

CELL_UM = 8.0
"""Side of the cells of our own masks: a nucleus. Coarser wastes blocks, finer says nothing more about tissue."""

BLACK = 20
"""Grey level up to which a view pixel near black padding is padding in all channels: compression spreads the edge."""
MAX_CELLS = 400_000_000
"""Largest mask: 256 cm2 of slide, and the largest glass slides have 230."""


@dataclass(frozen=True, slots=True)
class TissueMask:
    """Which cells of a coarse grid over a view hold tissue. The grid covers the view exactly, whatever its size."""

    mask: NDArray[np.bool_]
    """(mh, mw), True for tissue."""
    shape: tuple[int, int]
    """(height, width) of the view in view pixels."""
    kinds: NDArray[np.uint8] | None = None
    """(mh, mw), the ``Kind`` of each cell; None for masks that users give, which are taken at their word."""
    padding: NDArray[np.bool_] | None = None
    """(mh, mw), cells of black padding and those beside them; None where there is no padding."""

    def touches(self, box: Box) -> bool:
        """Whether any cell that shares a view pixel with ``box`` holds tissue."""
        rows, _ = _overlaps(box.y0, box.y1, self, 0)
        columns, _ = _overlaps(box.x0, box.x1, self, 1)
        return bool(self.mask[rows, columns].any())

    def share(self, box: Box) -> float:
        """Share of the box's area that lies in tissue cells, 0 to 1; nothing outside the view is tissue."""
        rows, down = _overlaps(box.y0, box.y1, self, 0)
        columns, across = _overlaps(box.x0, box.x1, self, 1)
        return float(down @ self.mask[rows, columns] @ across) / (box.shape[0] * box.shape[1])

    def holds(self, centroids: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(n,) whether nuclei with these centroids ``(n, 2)`` in view pixels, (y, x), may be reported.

        A mask that was found says no where something else than tissue is; a user's mask only says where to look. The
        cell of a centroid follows from whole numbers, so that it is the same in every block.
        """
        if self.kinds is None:
            return np.ones(len(centroids), np.bool_)
        cells = [
            np.clip(np.floor(centroids[:, axis]).astype(np.int64), 0, self.shape[axis] - 1)
            * self.mask.shape[axis]
            // self.shape[axis]
            for axis in (0, 1)
        ]
        inside: NDArray[np.bool_] = self.mask[cells[0], cells[1]]
        return inside

    def holds_pixels(self, box: Box) -> NDArray[np.bool_]:
        """(box.shape) whether what lies at each pixel of a box may be reported, as `holds` says it of nuclei."""
        if self.kinds is None:
            return np.ones(box.shape, np.bool_)
        inside: NDArray[np.bool_] = self.mask[np.ix_(*self._cells(box))]
        return inside

    def _cells(self, box: Box) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the mask below those of a box; beyond the view, those of its edge."""
        rows, columns = (
            np.clip(np.arange(start, stop), 0, length - 1) * count // length
            for start, stop, length, count in zip(
                (box.y0, box.x0), (box.y1, box.x1), self.shape, self.mask.shape, strict=True
            )
        )
        return rows, columns

    def without_padding(self, pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
        """RGB ``(h, w, 3)`` of a box with black padding made white: a network takes a black edge for a nucleus."""
        if self.padding is None:
            return pixels
        near = self.padding[np.ix_(*self._cells(box))]
        if not near.any():
            return pixels
        return np.where((near & (pixels.max(axis=2) <= BLACK))[..., None], np.uint8(WHITE), pixels)

    def left_out(self) -> dict[str, float]:
        """Share of the view, 0 to 1, that shows each kind of what is no tissue; empty for masks that users give."""
        if self.kinds is None:
            return {}
        counts = np.bincount(self.kinds.ravel(), minlength=len(Kind))
        return {kind.name.lower(): float(counts[kind]) / self.kinds.size for kind in LEFT_OUT}

    def area_px(self) -> float:
        """Area of the tissue cells in view pixels."""
        return float(self.mask.mean()) * self.shape[0] * self.shape[1]

    def bounds(self) -> Box | None:
        """The smallest box of view pixels around all tissue; None without any."""
        rows = np.flatnonzero(self.mask.any(axis=1))
        columns = np.flatnonzero(self.mask.any(axis=0))
        if not len(rows):
            return None
        height, width = self.shape
        down, across = self.mask.shape
        return Box(
            int(rows[0]) * height // down,
            int(columns[0]) * width // across,
            ceil_div((int(rows[-1]) + 1) * height, down),
            ceil_div((int(columns[-1]) + 1) * width, across),
        )


def _overlaps(start: int, stop: int, tissue: TissueMask, axis: int) -> tuple[slice, NDArray[np.float64]]:
    """Cells that an interval of view pixels meets along an axis, and how many view pixels it shares with each."""
    count = tissue.mask.shape[axis]
    length = tissue.shape[axis]
    start = max(0, min(start, length))
    stop = max(0, min(stop, length))
    first = start * count // length
    last = ceil_div(stop * count, length)
    # Cells are not whole pixels wide: a view of any size is covered exactly.
    edges = np.arange(first, last + 1) * (length / count)
    shared = np.minimum(edges[1:], stop) - np.maximum(edges[:-1], start)
    return slice(first, last), np.maximum(shared, 0.0)


def check_extent(cells: tuple[int, int], cell_um: float, name: str) -> None:
    """Raise SlideError for a slide that is larger than glass: a mask of it would fill the memory.

    Parameters
    ----------
    cells
        (rows, columns) of the mask.
    cell_um
        Side of a cell.
    name
        What the message calls the slide.
    """
    rows, columns = cells
    if rows * columns > MAX_CELLS:
        mm = cell_um / 1000
        raise SlideError(
            f"{name} would be {columns * mm:,.0f} x {rows * mm:,.0f} mm large, which no glass slide is: the "
            "file declares a "
            "wrong size or resolution (give --mpp), or is hostile"
        )


def whole(view: SlideView) -> TissueMask:
    """Everything is tissue."""
    return TissueMask(np.ones((1, 1), np.bool_), view.shape)


def cell_counts(view: SlideView) -> tuple[int, int]:
    """(rows, columns) of a grid of about 8 um cells over the view."""
    rows, columns = (max(1, round(length * view.mpp / CELL_UM)) for length in view.shape)
    check_extent((rows, columns), CELL_UM, view.slide.name)
    return rows, columns

"""The pixels of one region that was drawn over a slide: which nucleus each belongs to, and which count in nothing.

A pixel belongs to what its centre lies in. QuPath's coordinates begin at the corner of the first pixel, so the centre
of that pixel is (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.grid import Box
from wsinuc.tissue.outlines import Outlines

POINT_RADIUS_UM = 8.0
"""How far around a nucleus that is known by a point alone pixels may be its own: they are neither nucleus nor not."""


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """The outlines of a region as pixels."""

    labels: NDArray[np.int32]
    """(h, w) 0 is background, from 1 in the order of the outlines, without gaps."""
    sources: NDArray[np.intp]
    """(labels.max() + 1,) which outline each label is; -1 for the background."""
    covered: tuple[int, ...]
    """The outlines that lost pixels to earlier ones."""
    hidden: tuple[int, ...]
    """The outlines of which no pixel is left, because earlier ones have them all."""
    cut: tuple[int, ...]
    """The outlines that go on beyond the region, or into what is ignored."""


def box_of(outline: Outlines) -> Box | None:
    """The pixels whose centre lies in the bounding box of an outline; None when there are none."""
    x0, y0, x1, y1 = np.ceil(np.asarray(outline.bounds) - 0.5).astype(int).tolist()
    if y1 <= y0 or x1 <= x0:
        return None
    return Box(y0, x0, y1, x1)


def paint(outlines: Sequence[Outlines], ignore: NDArray[np.bool_], box: Box) -> Painted:
    """The outlines on the pixels of a box; where they overlap the first one keeps the pixel.

    Outlines that reach into ignored pixels, ``(box.shape)``, are painted as far as the box goes, so that what counts
    of them keeps its form; those that lie there with all of their pixels are left out.
    """
    labels = np.zeros(box.shape, np.int32)
    sources = [-1]
    covered = []
    hidden = []
    cut = []
    for number, outline in enumerate(outlines):
        window = _window(outline, box)
        if window is None:
            continue
        place = window.relative_to(box).slices
        mine = outline.pixels(window)
        if not (mine & ~ignore[place]).any():
            continue
        free = mine & (labels[place] == 0)
        if not free.any():
            hidden.append(number)
            continue
        if np.count_nonzero(free) < np.count_nonzero(mine):
            covered.append(number)
        if box_of(outline) != window or (mine & ignore[place]).any():
            cut.append(number)
        labels[place][free] = len(sources)
        sources.append(number)
    return Painted(labels, np.array(sources, np.intp), tuple(covered), tuple(hidden), tuple(cut))


def ignored_pixels(region: Outlines, ignored: Sequence[Outlines], box: Box) -> NDArray[np.bool_]:
    """(box.shape) the pixels that lie outside of the region or in an ignored area."""
    mask = ~region.pixels(box)
    for outline in ignored:
        window = _window(outline, box)
        if window is not None:
            mask[window.relative_to(box).slices] |= outline.pixels(window)
    return mask


def discs(points: NDArray[np.float64], radius_px: float, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(shape) the pixels whose centre lies within ``radius_px`` of one of the points (n, 2) (y, x), pixels as places.

    Examples
    --------
    >>> discs(np.array([[1.0, 1.0]]), 1.0, (3, 4)).astype(int).tolist()
    [[0, 1, 0, 0], [1, 1, 1, 0], [0, 1, 0, 0]]
    """
    mask = np.zeros(shape, np.bool_)
    for y, x in points.tolist():
        rows = np.arange(max(0, int(y - radius_px)), min(shape[0], int(y + radius_px) + 2))
        columns = np.arange(max(0, int(x - radius_px)), min(shape[1], int(x + radius_px) + 2))
        near = (rows[:, None] - y) ** 2 + (columns[None, :] - x) ** 2 <= radius_px**2
        mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] |= near
    return mask


def _window(outline: Outlines, box: Box) -> Box | None:
    """The part of a box that an outline may have pixels in."""
    whole = box_of(outline)
    if whole is None or not whole.overlaps(box):
        return None
    return whole.clip(box)

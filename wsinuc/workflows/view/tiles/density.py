"""The density of the whole slide on one grid, of which all coarse tiles are sums: a tile costs what its pixels cost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.grid import Box
from wsinuc.workflows.view.tiles.nuclei import covered, sums_in
from wsinuc.workflows.view.tiles.pyramid import Pyramid
from wsinuc.workflows.view.tiles.style import Paint

MAX_CELLS = 2**21
"""Cells of the grid, which takes 16 bytes for each."""


@dataclass(frozen=True, slots=True)
class DensityGrid:
    """Sums over the slide; made by `density_grid`."""

    zoom: int
    """The zoom whose pixels are the cells."""
    sums: NDArray[np.float32]
    """(h, w, 4): nuclei in each cell, and the sums of their red, green and blue."""
    size: float
    """Diameter of a nucleus in cells."""

    def draw(self, box: Box, zoom: int) -> NDArray[np.uint8]:
        """A transparent picture ``(h, w, 4)`` of a box in pixels of a zoom that is this one or coarser."""
        step = 2 ** (self.zoom - zoom)
        height, width = box.shape
        part = self.sums[box.y0 * step : box.y1 * step, box.x0 * step : box.x1 * step]
        # Beyond the slide there are no cells.
        cells = np.zeros((height * step, width * step, 4), np.float32)
        cells[: part.shape[0], : part.shape[1]] = part
        sums = cells.reshape(height, step, width, step, 4).sum((1, 3))
        return covered(sums, self.size / step)


def grid_zoom(pyramid: Pyramid) -> int:
    """The finest zoom whose pixels are few enough for a grid of the whole slide."""
    zoom = pyramid.finest
    while zoom > 0 and np.prod(pyramid.extent(zoom).shape) > MAX_CELLS:
        zoom -= 1
    return zoom


def density_grid(paint: Paint, pyramid: Pyramid) -> DensityGrid:
    """The density of all nuclei that a style shows."""
    zoom = grid_zoom(pyramid)
    down = pyramid.downsample(zoom)
    rows = paint.shown(np.arange(len(paint.table)))
    sums = sums_in(paint, rows, pyramid.extent(zoom), down)
    return DensityGrid(zoom, sums, paint.table.diameter / down)

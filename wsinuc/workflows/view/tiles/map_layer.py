"""A map of the nuclei as a layer: squares in colours of a density, a share or a mean, as ``wsinuc map`` has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import ConfigError
from wsinuc.grid import Box
from wsinuc.nuclei.table import Frame
from wsinuc.workflows.maps.colours import coloured_squares
from wsinuc.workflows.maps.grid import MapGrid, Sums
from wsinuc.workflows.maps.nuclei_map import NucleiMap
from wsinuc.workflows.maps.quantity import DENSITY, SHARE, Quantity
from wsinuc.workflows.view.tiles.map_choice import MapChoice
from wsinuc.workflows.view.tiles.style import Paint

MOST_SQUARES = 4_000_000
"""Squares of a map on the page: more than a large screen has pixels."""


@dataclass(frozen=True, slots=True)
class MapLayer:
    """A map, and its squares in colours."""

    nuclei_map: NucleiMap
    squares: NDArray[np.uint8]
    """RGBA ``(rows, columns, 4)``."""
    frame: Frame

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return self.squares.nbytes + self.nuclei_map.values.nbytes

    def draw(self, box: Box, down: float) -> NDArray[np.uint8]:
        """A transparent picture ``(h, w, 4)`` of a box in its own pixels, of ``down`` level-0 pixels each."""
        (y, on_y), (x, on_x) = (self._squares_along(axis, box, down) for axis in (0, 1))
        picture = self.squares[np.ix_(y, x)]
        # The last squares reach beyond the slide, where nothing is drawn.
        picture[~on_y] = 0
        picture[:, ~on_x] = 0
        return picture

    def _squares_along(self, axis: int, box: Box, down: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The row or column of squares of each of a picture's rows or columns, and whether these lie on the slide."""
        start, stop = ((box.y0, box.y1), (box.x0, box.x1))[axis]
        places = (np.arange(start, stop) + 0.5) * (down / self.frame.downsample[axis])
        squares = np.floor(places * (self.frame.mpp / self.nuclei_map.grid.um)).astype(np.int64)
        is_on_slide = (places >= 0) & (places < self.nuclei_map.grid.view_shape[axis])
        return np.clip(squares, 0, self.squares.shape[axis] - 1), is_on_slide


def map_layer(paint: Paint, choice: MapChoice, view_shape: tuple[int, int]) -> MapLayer:
    """Count the nuclei of a table.

    Parameters
    ----------
    paint
        The nuclei with their classes, and which of them count.
    choice
        Which map.
    view_shape
        (height, width) of the slide in pixels of the run.

    Raises
    ------
    ConfigError
        There is no such measurement or class, or the squares are too fine or too many.
    DataError
        A part of the table is damaged.
    """
    table = paint.table
    grid = MapGrid(choice.um, table.frame.mpp, view_shape)
    if grid.shape[0] * grid.shape[1] > MOST_SQUARES:
        raise ConfigError(f"squares of {choice.um:g} um are too many for the page: take larger ones")
    quantity = Quantity(choice.of, _class_name(paint, choice))
    rows = paint.shown(np.arange(len(table)))
    if choice.class_at is not None and choice.of != SHARE:
        rows = rows[paint.classes[rows] == choice.class_at]
    sums = Sums(grid, quantity)
    places = np.stack([table.y[rows], table.x[rows]], axis=1) / np.asarray(table.frame.downsample, np.float64)
    sums.add_weights(grid.squares_of(places), _weights(paint, choice, rows))
    nuclei_map = NucleiMap(result=table.folder, quantity=quantity, grid=grid, values=sums.values(), nuclei=sums.total)
    return MapLayer(nuclei_map, coloured_squares(nuclei_map), table.frame)


def _class_name(paint: Paint, choice: MapChoice) -> str | None:
    if choice.class_at is None:
        return None
    if not 0 <= choice.class_at < len(paint.class_names):
        raise ConfigError(f"there is no class {choice.class_at}: there are {len(paint.class_names)}")
    return paint.class_names[choice.class_at]


def _weights(paint: Paint, choice: MapChoice, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    if choice.of == DENSITY:
        return np.ones(len(rows))
    if choice.of == SHARE:
        is_one: NDArray[np.bool_] = paint.classes[rows] == choice.class_at
        return is_one.astype(np.float64)
    return paint.table.column(choice.of)[rows].astype(np.float64)

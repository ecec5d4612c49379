"""A level of a slide shrunk by any factor, piece by piece, so that memory does not depend on the factor."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wsinuc.grid import Box
from wsinuc.slides.resample import resample
from wsinuc.slides.taps import taps_for

_SOURCE_SIDE = 2048  # source pixels a side that are decoded at once: 43 MB with what shrinking takes, at any scale
_SMALL = 2**20  # pixels of a whole shrunk level up to which NumPy shrinks it sooner than compiled loops are loaded


class Levels(Protocol):
    """What is asked of a slide here."""

    @property
    def level_shapes(self) -> Sequence[tuple[int, int]]: ...

    def read(self, box: Box, level: int = 0) -> NDArray[np.uint8]: ...


def read_scaled(slide: Levels, level: int, scale: float, box: Box) -> NDArray[np.uint8]:
    """RGB ``(h, w, 3)`` of a level shrunk by any factor.

    Parameters
    ----------
    level
        Which level's pixels are shrunk.
    scale
        Level pixels per shrunk pixel.
    box
        In shrunk pixels, inside the shrunk level.

    Raises
    ------
    ReadError
        A part of the box cannot be decoded.
    """
    pixels = np.empty((*box.shape, 3), np.uint8)
    side = max(1, int(_SOURCE_SIDE / scale))
    for cell in cells_of(box, side):
        piece = cell.clip(box)
        pixels[piece.relative_to(box).slices] = _read_piece(slide, level, scale, piece)
    return pixels


def _read_piece(slide: Levels, level: int, scale: float, box: Box) -> NDArray[np.uint8]:
    height, width = slide.level_shapes[level]
    rows = taps_for(box.y0, box.y1, scale, height)
    columns = taps_for(box.x0, box.x1, scale, width)
    source = slide.read(Box(rows.start, columns.start, rows.stop, columns.stop), level)
    # A run has numba anyway, and should load its loops before blocks need memory. The bits are the same.
    compiled = "numba" in sys.modules or height * width > _SMALL * scale**2
    return resample(source, rows, columns, compiled=compiled)


def cells_of(box: Box, side: int) -> list[Box]:
    """The cells of a square grid, anchored to the origin, that share a pixel with ``box``."""
    return [
        Box(y, x, y + side, x + side)
        for y in range(box.y0 // side * side, box.y1, side)
        for x in range(box.x0 // side * side, box.x1, side)
    ]

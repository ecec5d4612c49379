"""Which part of a slide each tile shows: squares of one size, twice as fine from one zoom to the next."""

from __future__ import annotations

import math
from dataclasses import dataclass

from wsinuc.errors import ConfigError
from wsinuc.grid import Box

TILE = 256
"""Side of a tile in its own pixels."""
CLOSER = 3
"""Zooms beyond the slide's own pixels at which nuclei are drawn: lines stay thin however near one looks."""


@dataclass(frozen=True, slots=True)
class Pyramid:
    """Tiles of a slide.

    Examples
    --------
    >>> pyramid = Pyramid((1000, 3000))
    >>> pyramid.finest, pyramid.downsample(0), pyramid.downsample(4)
    (4, 16.0, 1.0)
    >>> pyramid.box(1, 1, 0)
    Box(y0=0, x0=256, y1=256, x1=512)
    """

    shape: tuple[int, int]
    """(height, width) of the slide in level-0 pixels."""

    @property
    def finest(self) -> int:
        """The zoom at which a pixel of a tile is a pixel of the slide; at zoom 0 the slide is one tile."""
        return max(0, math.ceil(math.log2(max(self.shape) / TILE)))

    def downsample(self, zoom: int) -> float:
        """Level-0 pixels per pixel of a tile."""
        return float(2.0 ** (self.finest - zoom))

    def box(self, zoom: int, x: int, y: int) -> Box:
        """What a tile shows, in pixels of its zoom.

        Raises
        ------
        ConfigError
            There is no such tile.
        """
        if not 0 <= zoom <= self.finest + CLOSER or not (0 <= x < 2**zoom and 0 <= y < 2**zoom):
            raise ConfigError(f"there is no tile {x}, {y} at zoom {zoom}")
        return Box(y * TILE, x * TILE, (y + 1) * TILE, (x + 1) * TILE)

    def extent(self, zoom: int) -> Box:
        """The slide in pixels of a zoom."""
        down = self.downsample(zoom)
        height, width = self.shape
        return Box(0, 0, max(1, math.ceil(height / down)), max(1, math.ceil(width / down)))

"""Scores of the last tiles, for the blocks around that need them again.

A block needs the scores of a rim around its core, which its neighbours own: with blocks twice as
wide as tiles, three tiles of four. What a tile scores is a function of slide and segmenter alone,
so whichever block comes first may score it for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.grid import Box
from wsinuc.recent import Recent

MOST_BYTES = 160 * 2**20
"""Blocks in stripes (`wsinuc.grid.in_stripes`) with tiles of 1,024 px ask for 40 others (4 MiB)
before they come back to one."""
MOST_PIXEL_BYTES = 120 * 2**20
"""Pixels of as many tiles, where nuclei are measured by them; those that are forgotten are read again."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredTile:
    """What the network said of a tile's core."""

    scores: NDArray[np.uint8]
    """(channels, stride, stride)."""
    unreadable: tuple[Box, ...]
    """Parts of the core that could not be decoded, view pixels."""


class ScoredTiles:
    """Those of one slide and one segmenter, by the tile's core. Slides may share a memory; without
    one no tile is kept."""

    def __init__(
        self, memory: Recent[ScoredTile] | None = None, pixel_memory: Recent[NDArray[np.uint8]] | None = None
    ) -> None:
        self._memory = memory
        self._pixels = pixel_memory
        # Tells this slide's tiles from those of others in one memory.
        self._slide = object()

    def get(self, core: Box) -> ScoredTile | None:
        """The tile with this core, if it is still kept."""
        if self._memory is None:
            return None
        return self._memory.get((self._slide, core))

    def keep(self, core: Box, tile: ScoredTile) -> None:
        """Keep a tile for the blocks around."""
        if self._memory is not None:
            self._memory.keep((self._slide, core), tile, tile.scores.nbytes)

    def pixels(self, core: Box) -> NDArray[np.uint8] | None:
        """RGB ``(h, w, 3)`` of the core of a tile, as far as it lies in the view, if it is still kept."""
        if self._pixels is None:
            return None
        return self._pixels.get((self._slide, core))

    def keep_pixels(self, core: Box, pixels: NDArray[np.uint8]) -> None:
        """Keep a tile's pixels for the blocks around."""
        if self._pixels is not None:
            self._pixels.keep((self._slide, core), pixels, pixels.nbytes)

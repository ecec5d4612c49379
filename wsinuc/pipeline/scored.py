"""Scores of the last tiles, for the blocks around that need them again.

A block needs the scores of a rim around its core, which its neighbours own: with blocks twice as wide as tiles, three tiles of
four. What a tile scores is a function of slide and segmenter alone, so whichever block comes first may score it for all.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.grid import Box

MOST_BYTES = 256 * 2**20
"""Blocks in stripes (`wsinuc.grid.in_stripes`) with tiles of 1,024 px ask for 40 others (4 MB) before they come back to one."""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredTile:
    """What the network said of a tile's core."""

    scores: NDArray[np.uint8]
    """(channels, stride, stride)."""
    unreadable: tuple[Box, ...]
    """Parts of the core that could not be decoded, view pixels."""


class TileMemory:
    """The last tiles that any slide's blocks asked for, as many as there is room for; safe to share between threads."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._room, self._lock = most_bytes, threading.Lock()
        self._tiles: OrderedDict[Hashable, ScoredTile] = OrderedDict()

    def get(self, key: Hashable) -> ScoredTile | None:
        """The tile with this key, if it is still kept."""
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
            return self._tiles.get(key)

    def keep(self, key: Hashable, tile: ScoredTile) -> None:
        """Keep a tile, and let those go that were asked for longest ago, where there is no room."""
        with self._lock:
            if replaced := self._tiles.pop(key, None):
                self._room += replaced.scores.nbytes
            self._tiles[key] = tile
            self._room -= tile.scores.nbytes
            while self._room < 0:
                self._room += self._tiles.popitem(last=False)[1].scores.nbytes


class ScoredTiles:
    """Those of one slide and one segmenter, by the tile's core; without a memory none is kept."""

    def __init__(self, memory: TileMemory | None = None) -> None:
        self._memory, self._slide = memory or TileMemory(0), object()

    def get(self, core: Box) -> ScoredTile | None:
        """The tile with this core, if it is still kept."""
        return self._memory.get((self._slide, core))

    def keep(self, core: Box, tile: ScoredTile) -> None:
        """Keep a tile for the blocks around."""
        self._memory.keep((self._slide, core), tile)

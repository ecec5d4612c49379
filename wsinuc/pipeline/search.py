"""Which tiles the network sees, and which blocks have any; asked by plans too, which load nothing that measures."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wsinuc.grid import Block, Box, Tile, TileGrid
from wsinuc.segmenters.base import Tiled


class SearchArea(Protocol):
    """Says which parts of a view are worth looking at, and what to see there; ``TissueMask`` is one."""

    def touches(self, box: Box) -> bool:
        """Whether any of ``box`` is worth looking at."""
        ...

    def without_padding(self, pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
        """RGB ``(h, w, 3)`` of ``box`` with the scanner's black padding made white."""
        ...


def select_tiles(box: Box, segmenter: Tiled, tissue: SearchArea) -> list[Tile]:
    """Tiles that together score ``box``, without those whose core is background.

    A tile is judged by its own core, wherever ``box`` ends, so that all blocks that need a tile agree.
    """
    return [tile for tile in TileGrid(segmenter.tile, segmenter.margin).covering(box) if tissue.touches(tile.core)]


def needs_work(block: Block, segmenter: Tiled, tissue: SearchArea) -> bool:
    """Whether any tile over the block's core holds tissue.

    Asking the tiles rather than the core itself finds a nucleus just beside the tissue with every block size.
    """
    return any(tissue.touches(tile.core) for tile in TileGrid(segmenter.tile, segmenter.margin).covering(block.core))

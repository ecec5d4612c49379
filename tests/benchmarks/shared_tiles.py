"""How many tiles does a process score for each that a slide has?

    PYTHONPATH=. python tests/benchmarks/shared_tiles.py [--size 100000x80000]

Counts the tiles that the blocks of a slide ask for: by every block itself, and with the last scores
kept in memory, blocks in rows and in stripes. No pixel is read. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse

import numpy as np

from wsinuc.grid import BlockGrid, TileGrid, in_stripes
from wsinuc.pipeline.scored import MOST_BYTES, ScoredTile, ScoredTiles
from wsinuc.recent import Recent

HALO, MARGIN, CHANNELS = 200, 176, 4
"""Of `fast`; the margin changes no count."""
LAYOUTS = ((2048, 1024), (2048, 512), (4096, 1024))
"""Sides of a block, and of what is kept of a tile."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="100000x80000", metavar="WIDTHxHEIGHT")
    width, height = (int(side) for side in parser.parse_args().size.split("x"))
    print("| block | kept of a tile | every block by itself | in rows | in stripes |\n|---|---|---|---|---|")
    for side, kept in LAYOUTS:
        grid, tiles = BlockGrid((height, width), side, HALO), TileGrid(kept + 2 * MARGIN, MARGIN)
        rows, stripes = range(len(grid)), in_stripes(grid, range(len(grid)))
        shares = [
            scored(grid, tiles, order, room) for order, room in ((rows, 0), (rows, MOST_BYTES), (stripes, MOST_BYTES))
        ]
        print(f"| {side} | {kept} | " + " | ".join(f"{share:.2f}" for share in shares) + " |")


def scored(grid: BlockGrid, tiles: TileGrid, order: range | list[int], room: int) -> float:
    """Tiles scored over those that are different, blocks in this order, so many bytes of scores kept."""
    memory = ScoredTiles(Recent(room))
    scores = np.broadcast_to(np.uint8(0), (CHANNELS, tiles.stride, tiles.stride))  # counts its bytes, has none
    asked, made = set(), 0
    for index in order:
        for tile in tiles.covering(grid[index].read):
            asked.add(tile.core)
            if memory.get(tile.core) is None:
                memory.keep(tile.core, ScoredTile(scores, ()))
                made += 1
    return made / len(asked)


if __name__ == "__main__":
    main()

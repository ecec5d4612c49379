"""Pyramids of arrays for both versions of the format, and how a coarser level comes from a finer one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import numcodecs
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from wsinuc.exports.ome_zarr.metadata import Version
from wsinuc.grid import Block, BlockGrid, ceil_div

MAX_CHUNK = 512
"""Side of a chunk in pixels, at most; the size of what a viewer loads at once."""

Job = Callable[[Block], object]
ForEach = Callable[[Job, Iterable[Block]], None]


def plain_loop(job: Job, blocks: Iterable[Block]) -> None:
    """Run ``job`` for one block after the other; callers with several workers bring their own."""
    for block in blocks:
        job(block)


def level_shapes(shape: tuple[int, int], count: int | None = None) -> list[tuple[int, int]]:
    """Shapes of a pyramid, halved (rounding up) until one chunk holds a level, or until there are ``count``.

    Examples
    --------
    >>> level_shapes((1500, 700))
    [(1500, 700), (750, 350), (375, 175)]
    >>> level_shapes((750, 350), 3)
    [(750, 350), (375, 175), (188, 88)]
    """
    shapes = [shape]
    while len(shapes) < count if count else max(shapes[-1]) > MAX_CHUNK:
        shapes.append((ceil_div(shapes[-1][0], 2), ceil_div(shapes[-1][1], 2)))
    return shapes


def chunk_side(block: int) -> int:
    """Largest divisor of the block's side that a chunk may have, so that chunks fill a block exactly.

    Examples
    --------
    >>> chunk_side(2048), chunk_side(2112)
    (512, 352)
    """
    return max(side for side in range(1, MAX_CHUNK + 1) if block % side == 0)


def create_levels(
    root: zarr.Group,
    path: str,
    shapes: Iterable[tuple[int, int]],
    block: int,
    dtype: type[np.integer[Any]],
    *,
    version: Version = "0.5",
) -> list[zarr.Array[Any]]:
    """Empty label images ``path/0``, ``path/1``, ...; what is not written reads as 0, and takes no room.

    Parameters
    ----------
    block
        Side of what one writer writes: of a shard in 0.5; in 0.4, which has no shards, of a group of chunks.
    """
    layout = _layout((chunk_side(block),) * 2, (block, block), ("y", "x"), version)
    return [
        root.create_array(f"{path}/{level}", shape=shape, dtype=dtype, fill_value=0, **layout)
        for level, shape in enumerate(shapes)
    ]


def create_canvas(
    root: zarr.Group, shapes: Iterable[tuple[int, int]], block: int, *, version: Version = "0.5"
) -> list[zarr.Array[Any]]:
    """Empty RGB images ``0``, ``1``, ... of (3, height, width); what is not written reads as white."""
    # A viewer shows the channels one by one, so each has chunks of its own.
    chunks = (1, chunk_side(block), chunk_side(block))
    layout = _layout(chunks, (3, block, block), ("c", "y", "x"), version)
    return [
        root.create_array(str(level), shape=(3, *shape), dtype=np.uint8, fill_value=255, **layout)
        for level, shape in enumerate(shapes)
    ]


def halve_labels(levels: list[zarr.Array[Any]], block: int, for_each: ForEach) -> None:
    """Fill all levels but the first with every second pixel of the one before; ids must never be averaged."""
    for fine, coarse in pairwise(levels):
        height, width = coarse.shape
        for_each(_label_halver(fine, coarse), BlockGrid((height, width), block, 0))


def halve_canvas(
    levels: list[zarr.Array[Any]], block: int, for_each: ForEach, rounded: NDArray[np.uint8] | None = None
) -> None:
    """Fill all levels but the first with the mean of 2 x 2 pixels of the one before.

    Parameters
    ----------
    rounded
        uint8 (256,): what each value is stored as; None keeps them.
    """
    for fine, coarse in pairwise(levels):
        _, height, width = coarse.shape
        for_each(_canvas_halver(fine, coarse, rounded), BlockGrid((height, width), block, 0))


def _layout(
    chunks: tuple[int, ...], shards: tuple[int, ...], names: tuple[str, ...], version: Version
) -> dict[str, Any]:
    if version == "0.4":
        # Blosc is what every reader of Zarr 2 has, those in Java among them.
        return {
            "chunks": chunks,
            "compressors": numcodecs.Blosc(cname="zstd", clevel=1, shuffle=numcodecs.Blosc.SHUFFLE),
            "chunk_key_encoding": {"name": "v2", "separator": "/"},
            "config": {"write_empty_chunks": False},
        }
    return {
        "chunks": chunks,
        "shards": shards,
        "compressors": ZstdCodec(level=1, checksum=True),  # so that readers notice damage
        "dimension_names": names,
        "config": {"write_empty_chunks": False},
    }


def _label_halver(fine: zarr.Array[Any], coarse: zarr.Array[Any]) -> Job:
    def halve(block: Block) -> None:
        core = block.core
        pixels = fine[2 * core.y0 : 2 * core.y1 : 2, 2 * core.x0 : 2 * core.x1 : 2]
        # What is not written takes no room, and a reader fills in zeros.
        if np.any(pixels):
            coarse[core.slices] = pixels

    return halve


def _canvas_halver(fine: zarr.Array[Any], coarse: zarr.Array[Any], rounded: NDArray[np.uint8] | None) -> Job:
    def halve(block: Block) -> None:
        core = block.core
        pixels = mean_of_four(np.asarray(fine[:, 2 * core.y0 : 2 * core.y1, 2 * core.x0 : 2 * core.x1]))
        coarse[(slice(None), *core.slices)] = pixels if rounded is None else rounded[pixels]

    return halve


def mean_of_four(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half of the size ``(c, h, w)``, rounded up: means of 2 x 2 pixels; at an odd edge the last one counts twice.

    Examples
    --------
    >>> mean_of_four(np.array([[[10, 20, 7], [30, 42, 9]]], np.uint8)).tolist()
    [[[26, 8]]]
    """
    _, height, width = pixels.shape
    if height % 2 or width % 2:
        pixels = np.pad(pixels, ((0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    rows = pixels[:, ::2].astype(np.uint16) + pixels[:, 1::2]
    total = rows[..., ::2] + rows[..., 1::2]
    # Two more, so that cutting off the lowest bits rounds.
    return ((total + 2) >> 2).astype(np.uint8)

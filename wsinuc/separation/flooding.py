"""Two floods over a map of 256 levels: upwards from given markers, and downwards from the peaks to find them.

Both visit each pixel once, in an order given by its level and then by arrival or raster position. Pixels that are not
connected do not influence each other, and cropping keeps the order of those that are: what comes out at a place
depends on its surroundings alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsinuc.kernels import kernel
from wsinuc.labels import connected_pieces

UInt8 = NDArray[np.uint8]
Labels = NDArray[np.int32]


def level_watershed(levels: UInt8, markers: Labels, mask: NDArray[np.bool_]) -> Labels:
    """Flood the mask from the markers, lowest level first, first come first served within a level.

    Parameters
    ----------
    levels
        uint8 ``(h, w)``.
    markers
        int32 ``(h, w)``, 0 where there is none; ignored outside the mask.
    mask
        bool ``(h, w)``, what may be flooded; 4-connected.

    Returns
    -------
    int32 ``(h, w)`` with the markers' ids; 0 outside the mask and where no marker reaches.

    Examples
    --------
    >>> levels, mask = np.array([[0, 9, 9, 9, 0]], np.uint8), np.array([[True, True, True, False, True]])
    >>> level_watershed(levels, np.array([[1, 0, 0, 0, 2]], np.int32), mask)
    array([[1, 1, 1, 0, 2]], dtype=int32)
    """
    basins = np.full((levels.shape[0] + 2, levels.shape[1] + 2), -1, np.int32)
    basins[1:-1, 1:-1] = np.where(mask, markers, -1)
    _flood_levels(np.pad(levels, 1), basins, connected_pieces(basins >= 0))
    return np.maximum(basins[1:-1, 1:-1], 0)


def split_peaks(levels: UInt8, mask: NDArray[np.bool_], lowest: int, height: int) -> Labels:
    """Connected parts of ``levels >= lowest``, cut along the valleys between peaks that rise by ``height`` or more.

    Pixels are taken from the highest level down. One that touches several parts joins them, unless two of these
    already rise by ``height`` above it: then it is a valley and stays 0 (compare h-maxima, and watershed by
    dynamics).

    Parameters
    ----------
    levels
        uint8 ``(h, w)``.
    mask
        bool ``(h, w)``; what lies outside belongs to no part.
    lowest, height
        In levels, 0 to 255.

    Returns
    -------
    int32 ``(h, w)``: 0 or the id of a part; ids are not dense.

    Examples
    --------
    >>> levels = np.array([[9, 2, 8, 7, 8]], np.uint8)
    >>> parts = split_peaks(levels, levels > 0, lowest=1, height=3)
    >>> [len(np.unique(part[part > 0])) for part in (parts[:, :1], parts[:, 2:], parts)]
    [1, 1, 2]
    """
    padded = np.pad(np.where(mask, levels, np.uint8(0)), 1)
    order = np.flatnonzero(padded >= max(lowest, 1))
    # A radix sort for uint8.
    order = order[np.argsort(255 - padded.ravel()[order], kind="stable")]
    parts: Labels = _split(padded, order, height)[1:-1, 1:-1]
    return parts


@kernel
def _flood_levels(levels: UInt8, basins: Labels, pieces: Labels) -> None:
    """Fill zeros of ``basins`` in place, where each level has its own queue; -1 is a wall and surrounds the array.

    Connected pieces do not influence each other, so they are flooded one by one: each stays in the cache.
    """
    width = levels.shape[1]
    heights = levels.ravel()
    flat = basins.ravel()
    # A queue per level as a linked list through one array: no queue ever needs to grow.
    following = np.empty(flat.size, np.int32)
    first = np.full(256, -1, np.int32)
    last = np.full(256, -1, np.int32)
    seeds, starts = _seeds_by_piece(flat, width, pieces.ravel())
    for piece in range(len(starts) - 1):
        level = 255
        for k in range(starts[piece], starts[piece + 1]):
            _push(first, last, following, heights[seeds[k]], seeds[k])
            level = min(level, heights[seeds[k]])
        while level < 256:
            pixel = first[level]
            if pixel < 0:
                level += 1
                continue
            first[level] = following[pixel]
            for step in (-width, -1, 1, width):
                neighbour = pixel + step
                if flat[neighbour] == 0:
                    flat[neighbour] = flat[pixel]
                    # A pixel below the present level is flooded at once, before what waits at this one.
                    if _has_free_neighbour(flat, width, neighbour):
                        _push(first, last, following, heights[neighbour], neighbour)
                        level = min(level, heights[neighbour])


@kernel
def _seeds_by_piece(flat: Labels, width: int, pieces: Labels) -> tuple[Labels, NDArray[np.int64]]:
    """Marked pixels that can pass their basin on, sorted by piece (within one by position), and where each begins."""
    count = 0
    largest = 0
    for piece in pieces:
        largest = max(largest, piece)
    starts = np.zeros(largest + 2, np.int64)
    marked = np.empty(flat.size, np.int32)
    for pixel in range(flat.size):
        if flat[pixel] > 0 and _has_free_neighbour(flat, width, pixel):
            marked[count] = pixel
            count += 1
            starts[pieces[pixel] + 1] += 1
    for piece in range(largest + 1):
        starts[piece + 1] += starts[piece]
    ends = starts.copy()
    seeds = np.empty(count, np.int32)
    # A counting sort, which keeps the raster order within a piece.
    for pixel in marked[:count]:
        piece = pieces[pixel]
        seeds[ends[piece]] = pixel
        ends[piece] += 1
    return seeds, starts


@kernel
def _has_free_neighbour(flat: Labels, width: int, pixel: int) -> bool:
    """Whether a pixel can still pass its basin on; if not it never will, and needs no place in a queue."""
    return bool(flat[pixel - width] == 0 or flat[pixel - 1] == 0 or flat[pixel + 1] == 0 or flat[pixel + width] == 0)


@kernel
def _push(first: Labels, last: Labels, following: Labels, level: int, pixel: int) -> None:
    """Put a pixel at the end of the queue of its level."""
    following[pixel] = -1
    if first[level] < 0:
        first[level] = pixel
    else:
        following[last[level]] = pixel
    last[level] = pixel


@kernel
def _split(levels: UInt8, order: NDArray[np.intp], height: int) -> Labels:
    """The parts of `split_peaks` by union-find, pixels in the given order; the array's rim is padding."""
    width = levels.shape[1]
    heights = levels.ravel()
    # 0, a corner of the padding, stands for none.
    parent = np.zeros(heights.size, np.int32)
    peak = np.zeros(heights.size, np.uint8)
    for pixel in order:
        level = heights[pixel]
        tall = 0
        last = 0
        for step in (-width, -1, 1, width):
            if parent[pixel + step]:
                root = root_of(parent, pixel + step)
                if root != last and peak[root] >= level + height:
                    tall += 1
                    last = root
        if tall > 1:
            continue
        parent[pixel] = pixel
        peak[pixel] = level
        for step in (-width, -1, 1, width):
            if parent[pixel + step]:
                mine = root_of(parent, pixel)
                other = root_of(parent, pixel + step)
                parent[mine] = other
                peak[other] = max(peak[other], peak[mine])
    parts = np.zeros(levels.shape, np.int32)
    flat = parts.ravel()
    for pixel in order:
        if parent[pixel]:
            flat[pixel] = root_of(parent, pixel)
    return parts


@kernel
def root_of(parent: NDArray[np.signedinteger], pixel: int) -> int:
    """The end of the chain of parents that begins at ``pixel``, which is made shorter on the way (union-find)."""
    while parent[pixel] != pixel:
        parent[pixel] = parent[parent[pixel]]
        pixel = parent[pixel]
    return pixel

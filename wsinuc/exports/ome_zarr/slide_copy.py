"""The slide's own pixels beside the labels, so that a viewer shows nuclei on tissue and not on black.

By default they are copied at about 1 um per pixel, where a nucleus has about 50 of them, with 64 levels of each colour
instead of 256: enough to see what the nuclei lie on, and a quarter smaller. Where the run had nothing to do (glass, or
outside the region) the copy shows what the slide's coarse levels hold, which costs neither time nor room.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from wsinuc.exports.ome_zarr.arrays import ForEach, Job, create_canvas, halve_canvas, level_shapes, plain_loop
from wsinuc.exports.ome_zarr.copy_plan import SlideCopy
from wsinuc.exports.ome_zarr.metadata import Canvas, Version
from wsinuc.grid import Block, BlockGrid, Box
from wsinuc.slides.view import SlideView, read_resilient

BLOCK = 1024
"""Pixels a side that are copied at once."""

# Each level of colour of a thumbnail: a multiple of 4, but white stays white.
_ROUNDED = np.minimum((np.arange(256) + 2) // 4 * 4, 255).astype(np.uint8)
_SMALL = 2**26  # pixels of a level up to which reading all of it costs nothing worth saving
_COARSE_MPP = 8.0
_COARSE_TOLERANCE = 0.3


def write_copy(
    copy: SlideCopy,
    path: Path,
    *,
    is_wanted: Callable[[Box], bool] = lambda box: True,
    for_each: ForEach = plain_loop,
    version: Version = "0.5",
) -> Canvas:
    """Begin the container ``path``, which must not exist, with the slide's pixels; returns what was written.

    Parameters
    ----------
    copy
        What to copy.
    is_wanted
        Whether a box of view pixels is to be copied in full detail; elsewhere coarse pixels are enough.
    for_each
        Runs a job for every block, in any order, perhaps several at once, in this process.
    """
    root = zarr.open_group(path, mode="w-", zarr_format=2 if version == "0.4" else 3)
    count = len(level_shapes(copy.labels.shape))
    # As many levels as the labels have, as the format wants it.
    levels = create_canvas(root, level_shapes(copy.shape, count), BLOCK, version=version)
    if copy.pixels is not None:
        for_each(_copier(copy, copy.pixels, levels[0], is_wanted), BlockGrid(copy.shape, BLOCK, 0))
        halve_canvas(levels, BLOCK, for_each, None if copy.is_exact else _ROUNDED)
    return copy.levels(count)


def _copier(copy: SlideCopy, fine: SlideView, target: zarr.Array[Any], is_wanted: Callable[[Box], bool]) -> Job:
    """A job that copies one block: its pixels where they are wanted, else what a coarse level shows of them."""
    coarse = _coarse(fine)
    height, width = fine.slide.level_shapes[fine.level]
    read_all = coarse is None and height * width <= _SMALL

    def write(block: Block) -> None:
        if read_all or is_wanted(_in_labels(block.core, copy)):
            pixels = read_resilient(fine, block.core)[0]
        elif coarse is not None:
            pixels = _enlarged(coarse, fine, block.core)
        else:
            return
        planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
        if not copy.is_exact:
            planes = _ROUNDED[planes]
        target[(slice(None), *block.core.slices)] = planes

    return write


def _coarse(fine: SlideView) -> SlideView | None:
    """A view for where detail is not wanted; None where the slide has no level that is quicker to read."""
    coarse = fine.slide.at(_COARSE_MPP, _COARSE_TOLERANCE)
    if coarse.level == fine.level:
        return None
    return coarse


def _in_labels(box: Box, copy: SlideCopy) -> Box:
    """The pixels of the labels below a box of the copy."""
    y, x = copy.ratio
    inside = Box(int(box.y0 * y), int(box.x0 * x), int(np.ceil(box.y1 * y)), int(np.ceil(box.x1 * x)))
    return inside.clip(Box.of_shape(copy.labels.shape))


def _enlarged(coarse: SlideView, fine: SlideView, box: Box) -> NDArray[np.uint8]:
    """RGB ``(h, w, 3)`` of a box of the fine view, each pixel that of the coarse view in which its centre lies."""
    rows = _positions(box.y0, box.y1, fine.downsample[0] / coarse.downsample[0], coarse.shape[0])
    columns = _positions(box.x0, box.x1, fine.downsample[1] / coarse.downsample[1], coarse.shape[1])
    source = Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    pixels = read_resilient(coarse, source)[0]
    return pixels[np.ix_(rows - source.y0, columns - source.x0)]


def _positions(start: int, stop: int, ratio: float, length: int) -> NDArray[np.int64]:
    places = ((np.arange(start, stop) + 0.5) * ratio).astype(np.int64)
    return np.minimum(places, length - 1)

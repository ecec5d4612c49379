"""From the table of nuclei to label images: OME-NGFF 0.5 in Zarr 3, drawn shard by shard.

``labels.ome.zarr`` holds two label images over the whole view: ``labels/nuclei`` (the id of the nucleus at each pixel)
and ``labels/nuclei_class`` (1 + index of its class), 0 being background; where it was asked for, a third one,
``labels/semantic``, holds the class of each pixel before nuclei are separated (`wsinuc.semantic`). The format wants
labels to hang below an image: that is the canvas, a copy of the slide (``wsinuc.exports.ome_zarr.slide_copy``) or,
without one, a white plane that takes no room.

A shard of the full resolution is the core of one block, so each file has one writer. A nucleus that crosses a core is
drawn on both sides, by each from the owner's part of the table. A coarser level takes every second pixel of the level
before it, and is drawn when that one is complete. Shards without nuclei are not written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import zarr
from numpy.typing import NDArray

from wsinuc.exports.ome_zarr.arrays import (
    ForEach,
    create_canvas,
    create_levels,
    halve_labels,
    level_shapes,
    plain_loop,
)
from wsinuc.exports.ome_zarr.metadata import SEMANTIC, Canvas, blank_canvas, describe_canvas, describe_labels
from wsinuc.grid import Block, BlockGrid, Box
from wsinuc.labels import paint_outlines
from wsinuc.nuclei import Nuclei
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.semantic.image import SemanticImage


def render_labels(
    nuclei_of: Callable[[int], Nuclei | None],
    grid: BlockGrid,
    path: Path,
    *,
    mpp: float,
    classes: tuple[NucleusClass, ...],
    canvas: Canvas | None = None,
    semantic: SemanticImage | None = None,
    for_each: ForEach = plain_loop,
) -> None:
    """Write the label images and their pyramids to ``path``.

    Parameters
    ----------
    nuclei_of
        The numbered nuclei that a block owns, by its index; None for a block that owns none.
    grid
        The blocks; no outline reaches further from its core than the halo.
    mpp
        um per view pixel.
    classes
        Names and colours of the classes, in the order of their indices.
    canvas
        What ``write_copy`` has written to ``path``; None for a path that does not exist, and a white canvas.
    semantic
        Classes of pixels; None writes no image of them.
    for_each
        Runs a job for every block, in any order, perhaps several at once.
    """
    shapes = level_shapes(grid.shape)
    root = zarr.open_group(path, mode="w-" if canvas is None else "r+", zarr_format=3)
    if canvas is None:
        canvas = _blank(root, shapes, grid.block, mpp)
    nuclei = create_levels(root, "labels/nuclei", shapes, grid.block, np.uint32)
    class_image = create_levels(root, "labels/nuclei_class", shapes, grid.block, np.uint8)
    semantic_image = None
    if semantic is not None:
        semantic_image = create_levels(root, f"labels/{SEMANTIC}", shapes, grid.block, np.uint8)

    def draw(block: Block) -> None:
        labels, class_labels = _draw(nuclei_of, grid, block)
        if labels.any():
            # A block's core is one shard, so no two writers ever share a file.
            nuclei[0][block.core.slices] = labels
            class_image[0][block.core.slices] = class_labels
        if semantic is not None and semantic_image is not None:
            pixels = semantic.draw(block.index, class_labels)
            if pixels is not None:
                semantic_image[0][block.core.slices] = pixels

    for_each(draw, grid)
    halve_labels(nuclei, grid.block, for_each)
    halve_labels(class_image, grid.block, for_each)
    if semantic_image is not None:
        halve_labels(semantic_image, grid.block, for_each)
    # Last, so that a reader takes no unfinished image for one.
    named = None if semantic is None else semantic.classes
    describe_labels(root, mpp, len(shapes), classes, "0.5", semantic=named)
    describe_canvas(root, canvas, "0.5")


def _blank(root: zarr.Group, shapes: list[tuple[int, int]], block: int, mpp: float) -> Canvas:
    """A white canvas of the labels' extent."""
    create_canvas(root, shapes, block)
    return blank_canvas(mpp, len(shapes))


def _draw(
    nuclei_of: Callable[[int], Nuclei | None], grid: BlockGrid, block: Block
) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Ids and classes in the core of ``block``, from its own nuclei and those that reach in from around."""
    labels = np.zeros(block.core.shape, np.uint32)
    class_labels = np.zeros(block.core.shape, np.uint8)
    for nuclei in _around(nuclei_of, grid, block.core):
        paint_outlines(nuclei.outlines, nuclei.offsets, nuclei.ids.astype(np.uint32), block.core, out=labels)
        paint_outlines(nuclei.outlines, nuclei.offsets, nuclei.classes + np.uint8(1), block.core, out=class_labels)
    return labels, class_labels


def _around(nuclei_of: Callable[[int], Nuclei | None], grid: BlockGrid, core: Box) -> Iterator[Nuclei]:
    for neighbour in grid.overlapping(core.grow(grid.halo)):
        nuclei = nuclei_of(neighbour.index)
        if nuclei is not None:
            yield nuclei.select(nuclei.sharing(core))

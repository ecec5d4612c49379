"""From the table of nuclei to label images: OME-NGFF 0.5 in Zarr 3, drawn shard by shard.

``labels.ome.zarr`` holds two label images over the whole view: ``labels/nuclei`` (the id of the nucleus at each pixel)
and ``labels/nuclei_class`` (1 + index of its class), 0 being background. The format wants labels to hang below an image
of the same size; the slide's pixels are not copied for that, the root presents the class image.

A shard of the full resolution is the core of one block, so each file has one writer. A nucleus that crosses a core is
drawn on both sides, by each from the owner's part of the table. A coarser level takes every second pixel of the level
before it, and is drawn when that one is complete. Shards without nuclei are not written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from wsinuc.grid import Block, BlockGrid, Box, ceil_div
from wsinuc.labels import paint_outlines
from wsinuc.nuclei import Nuclei
from wsinuc.nuclei.classes import NucleusClass

MAX_CHUNK = 512
"""Side of a chunk in pixels, at most; the size of what a viewer loads at once."""
NGFF = "0.5"

Job = Callable[[Block], object]


def plain_loop(job: Job, blocks: Iterable[Block]) -> None:
    """Run ``job`` for one block after the other; callers with several workers bring their own."""
    for block in blocks:
        job(block)


def render_labels(
    nuclei_of: Callable[[int], Nuclei | None],
    grid: BlockGrid,
    path: Path,
    *,
    mpp: float,
    classes: tuple[NucleusClass, ...],
    for_each: Callable[[Job, Iterable[Block]], None] = plain_loop,
) -> None:
    """Write both label images and their pyramids to ``path``, which must not exist.

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
    for_each
        Runs a job for every block, in any order, perhaps several at once.
    """
    shapes = level_shapes(grid.shape)
    root = zarr.open_group(path, mode="w-", zarr_format=3)
    nuclei = _create_levels(root, "nuclei", shapes, grid.block, np.uint32)
    class_image = _create_levels(root, "nuclei_class", shapes, grid.block, np.uint8)

    def draw(block: Block) -> None:
        labels, class_labels = _draw(nuclei_of, grid, block)
        if labels.any():
            # A block's core is one shard, so no two writers ever share a file.
            nuclei[0][block.core.slices] = labels
            class_image[0][block.core.slices] = class_labels

    for_each(draw, grid)
    for images in (nuclei, class_image):
        for (fine, coarse), shape in zip(pairwise(images), shapes[1:], strict=True):
            for_each(_halver(fine, coarse), BlockGrid(shape, grid.block, 0))
    # Last, so that a reader takes no unfinished image for one.
    _describe(root, mpp, len(shapes), classes)


def level_shapes(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Shapes of the pyramid, halved (rounding up) until one chunk holds a level.

    Examples
    --------
    >>> level_shapes((1500, 700))
    [(1500, 700), (750, 350), (375, 175)]
    """
    shapes = [shape]
    while max(shapes[-1]) > MAX_CHUNK:
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


def _create_levels(
    root: zarr.Group, name: str, shapes: list[tuple[int, int]], block: int, dtype: type[np.integer[Any]]
) -> list[zarr.Array[Any]]:
    return [
        root.create_array(
            f"labels/{name}/{level}",
            shape=shape,
            dtype=dtype,
            chunks=(chunk_side(block),) * 2,
            shards=(block, block),
            fill_value=0,
            compressors=ZstdCodec(level=1, checksum=True),  # so that readers notice damage
            dimension_names=("y", "x"),
            config={"write_empty_chunks": False},
        )
        for level, shape in enumerate(shapes)
    ]


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
            yield nuclei.select(_reaches(nuclei, core))


def _reaches(nuclei: Nuclei, box: Box) -> NDArray[np.bool_]:
    """Which outlines have a bounding box that shares a pixel with ``box``."""
    low = np.minimum.reduceat(nuclei.outlines, nuclei.offsets[:-1])
    high = np.maximum.reduceat(nuclei.outlines, nuclei.offsets[:-1])
    reaches: NDArray[np.bool_] = np.all((low < (box.y1, box.x1)) & (high > (box.y0, box.x0)), axis=1)
    return reaches


def _halver(fine: zarr.Array[Any], coarse: zarr.Array[Any]) -> Job:
    """A job that fills one block of ``coarse`` with every second pixel of ``fine``; ids must never be averaged."""

    def halve(block: Block) -> None:
        core = block.core
        pixels = fine[2 * core.y0 : 2 * core.y1 : 2, 2 * core.x0 : 2 * core.x1 : 2]
        # What is not written takes no room, and a reader fills in zeros.
        if np.any(pixels):
            coarse[core.slices] = pixels

    return halve


def _describe(root: zarr.Group, mpp: float, levels: int, classes: tuple[NucleusClass, ...]) -> None:
    """Write the OME metadata, without which the image is none to a reader."""
    for name, image_label in (("nuclei", {}), ("nuclei_class", _class_table(classes))):
        root[f"labels/{name}"].attrs["ome"] = {
            "version": NGFF,
            "multiscales": [_multiscale(name, "", mpp, levels)],
            "image-label": {"version": NGFF, **image_label, "source": {"image": "../../"}},
        }
    root["labels"].attrs["ome"] = {"version": NGFF, "labels": ["nuclei", "nuclei_class"]}
    root.attrs["ome"] = {
        "version": NGFF,
        "multiscales": [_multiscale("nuclei_class", "labels/nuclei_class/", mpp, levels)],
    }


def _multiscale(name: str, prefix: str, mpp: float, levels: int) -> dict[str, Any]:
    """Scales only: a pixel of level k is pixel 2**k * i of level 0, so its centre needs no translation."""
    return {
        "name": name,
        "type": "every second pixel",
        "axes": [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"],
        "datasets": [
            {
                "path": f"{prefix}{level}",
                "coordinateTransformations": [{"type": "scale", "scale": [mpp * 2**level] * 2}],
            }
            for level in range(levels)
        ],
    }


def _class_table(classes: tuple[NucleusClass, ...]) -> dict[str, Any]:
    """Colours and names by label value; the background is transparent."""
    rows = [("background", [0, 0, 0, 0]), *((item.name, [*item.color, 255]) for item in classes)]
    return {
        "colors": [{"label-value": value, "rgba": rgba} for value, (_, rgba) in enumerate(rows)],
        "properties": [{"label-value": value, "name": name} for value, (name, _) in enumerate(rows)],
    }

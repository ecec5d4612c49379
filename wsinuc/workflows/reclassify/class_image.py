"""The image of classes of a result whose nuclei have other classes, from the image of their ids."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from numpy.typing import NDArray

from wsinuc.exports.ome_zarr.arrays import create_levels
from wsinuc.exports.ome_zarr.metadata import CLASS_IMAGE, describe_labels, semantic_classes
from wsinuc.grid import BlockGrid
from wsinuc.nuclei.classes import NucleusClass


def write_class_image(
    container: Path, classes_of: NDArray[np.uint8], classes: tuple[NucleusClass, ...], mpp: float
) -> None:
    """Write ``labels/nuclei_class`` of a container anew; everything else of it stays.

    Parameters
    ----------
    container
        ``labels.ome.zarr``.
    classes_of
        uint8 ``(largest id + 1,)``: 1 + index of the class of each nucleus, 0 for the background.
    mpp
        um per pixel.
    """
    root = zarr.open_group(container, mode="r+", zarr_format=3)
    ids = _levels(root)
    shutil.rmtree(container / "labels" / CLASS_IMAGE, ignore_errors=True)
    block = ids[0].shards[0] if ids[0].shards else ids[0].chunks[0]
    shapes = [cast(tuple[int, int], level.shape) for level in ids]
    images = create_levels(root, f"labels/{CLASS_IMAGE}", shapes, block, np.uint8)
    # Coarser levels hold every second pixel of the finer one, so that of an image of ids is that of its classes.
    for level, image in zip(ids, images, strict=True):
        for part in BlockGrid(cast(tuple[int, int], level.shape), block, 0):
            pixels = np.asarray(level[part.core.slices])
            # Shards without nuclei are not written.
            if pixels.any():
                image[part.core.slices] = classes_of[pixels]
    # Pixels keep the classes that the segmenter gave them.
    describe_labels(root, mpp, len(ids), classes, "0.5", semantic=semantic_classes(root))


def _levels(root: zarr.Group) -> list[zarr.Array[Any]]:
    """The pyramid of ids."""
    group = cast(zarr.Group, root["labels/nuclei"])
    count = len(list(group.array_keys()))
    return [cast("zarr.Array[Any]", group[str(level)]) for level in range(count)]

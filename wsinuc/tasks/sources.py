"""Unlabelled pixels for pre-training: whole small images, and fields of tissue from slides.

A slide never fits into memory, so a fixed number of fields is drawn from its tissue, by a seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsinuc.errors import DataError
from wsinuc.grid import Box, TileGrid
from wsinuc.slides import open_slide
from wsinuc.slides.view import SlideView, read_resilient
from wsinuc.tissue import find_tissue

FIELD = 1024
"""Side of a field drawn from a slide, in pixels of the resolution to train at."""


def gather_images(
    sources: Sequence[Path], *, mpp: float, file_mpp: float | None, fields: int, seed: int
) -> list[NDArray[np.uint8]]:
    """RGB images at ``mpp`` from slides, images, folders of images, or data-set folders (their ``images/``).

    Parameters
    ----------
    mpp
        um per pixel of what is returned.
    file_mpp
        um per pixel of files that do not say it.
    fields
        Largest number of fields drawn from one slide.

    Raises
    ------
    DataError
        A source is missing or holds no readable image.
    MppError
        A file does not say its resolution and ``file_mpp`` is None.
    """
    images = []
    for source in sources:
        for path in _files(source):
            with open_slide(path, mpp=file_mpp) as slide:
                images += list(_fields(slide.at(mpp), fields, seed))
    return images


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    folder = source / "images" if (source / "images").is_dir() else source
    found = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    if not found:
        raise DataError(f"{source} is neither a file nor a folder that holds images")
    return found


def _fields(view: SlideView, count: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """The whole view when it is small, else ``count`` random fields of a grid that hold tissue."""
    extent = Box.of_shape(view.shape)
    if view.shape[0] * view.shape[1] <= 4 * FIELD * FIELD:
        yield read_resilient(view, extent)[0]
        return
    tissue = find_tissue(view)
    boxes = [
        tile.core.clip(extent)
        for tile in TileGrid(FIELD, 0).covering(extent)
        if tissue.share(tile.core.clip(extent)) > 0.3
    ]
    order = np.random.default_rng(seed).permutation(len(boxes))[:count]
    for index in order:
        yield read_resilient(view, boxes[index])[0]

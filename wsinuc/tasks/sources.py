"""Unlabelled pixels for pre-training from folders of images, data sets and slides.

Small images are whole; of slides only the tissue counts, and its regions are read while the training runs. Everything shares
one cache, so that memory is bounded whatever the sources hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets import LAYOUTS, open_dataset
from wsinuc.datasets.base import Dataset
from wsinuc.datasets.pixels import LazyImage, PixelCache, Pixels, SlidePixels
from wsinuc.errors import DataError, MppError
from wsinuc.grid import Box
from wsinuc.slides import open_slide
from wsinuc.slides.array import ArraySlide
from wsinuc.slides.base import Slide
from wsinuc.slides.view import read_resilient

SMALL_PX = 2048 * 2048
"""Files with at most this many pixels, at the resolution to train at, are images and not slides."""
_NO_IMAGES = (".csv", ".json", ".md", ".txt", ".xml", ".yaml", ".yml", ".pdf", ".html")


def open_sources(
    sources: Sequence[Path | str], *, mpp: float, file_mpp: float | None, cache: PixelCache | None = None
) -> list[Pixels]:
    """What patches can be cut from, at ``mpp``, of slides, images, folders of them and data sets.

    Parameters
    ----------
    sources
        A folder is a data set when its layout is known, or when it is written ``NAME=FOLDER``; else its image files are
        taken (those in its ``images/`` where there is one).
    mpp
        um per pixel to train at.
    file_mpp
        um per pixel of files and data sets that do not say it.

    Raises
    ------
    DataError
        A source is missing or holds no readable image.
    MppError
        A file does not say its resolution and ``file_mpp`` is None.
    """
    cache = cache or PixelCache()
    found: list[Pixels] = []
    for source in sources:
        dataset = _dataset(source, file_mpp)
        if dataset is not None:
            found += [LazyImage.of(partial(_read_annotated, dataset, i, mpp), cache) for i in range(len(dataset))]
        else:
            found += [_open_file(path, mpp, file_mpp, cache) for path in _files(Path(source))]
    return found


def _dataset(source: Path | str, file_mpp: float | None) -> Dataset | None:
    """The source as a data set, if it is one: its own resolution first, then the given one."""
    named = str(source).partition("=")[0] in LAYOUTS and not Path(source).exists()
    if not named and not Path(source).is_dir():
        return None
    try:
        return open_dataset(source)
    except MppError:
        return open_dataset(source, mpp=file_mpp)
    except DataError:
        if named:
            raise
        return None


def _read_annotated(dataset: Dataset, index: int, mpp: float) -> NDArray[np.uint8]:
    sample = dataset[index]
    view = ArraySlide(sample.image, mpp=sample.mpp).at(mpp)
    return view.read(Box.of_shape(view.shape))


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    folder = source / "images" if (source / "images").is_dir() else source
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [
        path
        for path in entries
        if path.is_file() and not path.name.startswith(".") and path.suffix.lower() not in _NO_IMAGES
    ]
    if not found:
        raise DataError(
            f"{source} is neither a slide, nor a folder that holds images, nor a data set known here "
            f"({', '.join(LAYOUTS)}): check the path"
        )
    return found


def _open(path: Path, file_mpp: float | None) -> Slide:
    """A slide with its own resolution, or the given one where the file has none."""
    with ExitStack() as stack:
        slide = stack.enter_context(open_slide(path))
        try:
            _ = slide.mpp
        except MppError:
            if file_mpp is None:
                raise
            return open_slide(path, mpp=file_mpp)
        stack.pop_all()
        return slide


def _open_file(path: Path, mpp: float, file_mpp: float | None, cache: PixelCache) -> Pixels:
    slide = _open(path, file_mpp)
    view = slide.at(mpp)
    if view.shape[0] * view.shape[1] > SMALL_PX:
        return SlidePixels.of(view, cache)  # stays open as long as it is used
    slide.close()
    return LazyImage(partial(_read_file, path, mpp, file_mpp), cache, (*view.shape, 3))


def _read_file(path: Path, mpp: float, file_mpp: float | None) -> NDArray[np.uint8]:
    with _open(path, file_mpp) as slide:
        view = slide.at(mpp)
        return read_resilient(view, Box.of_shape(view.shape))[0]

"""Unlabelled pixels for pre-training from folders of images, data sets and slides.

Small images are whole; of slides only the tissue counts, and its regions are read while the
training runs. Everything shares one cache, so that memory is bounded whatever the sources hold.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets import LAYOUTS, is_named, layout_of, open_dataset
from wsinuc.datasets.base import Conditions, Dataset
from wsinuc.datasets.sampling.pixels import LazyImage, PixelCache, Pixels, SlidePixels
from wsinuc.datasets.sampling.split import Split
from wsinuc.errors import DataError, MppError
from wsinuc.grid import Box
from wsinuc.slides import open_slide
from wsinuc.slides.array import ArraySlide
from wsinuc.slides.base import Slide
from wsinuc.slides.isolation.isolated import open_isolated
from wsinuc.slides.view import SlideView, read_resilient
from wsinuc.urls import PathLike, to_path

Source = PathLike | Dataset | Slide
"""Where unlabelled pixels come from: a file or folder, a data set whose annotation is ignored, an open slide."""
SMALL_PX = 2048 * 2048
"""Files with at most this many pixels, at the resolution to train at, are images and not slides."""
_NO_IMAGES = (
    *(".csv", ".tsv", ".json", ".geojson", ".gz", ".zip", ".md", ".txt", ".xml", ".yaml", ".yml", ".pdf", ".html"),
    *(".qpproj", ".qpdata"),
)


def open_sources(
    sources: Sequence[Source],
    *,
    mpp: float,
    file_mpp: float | None,
    cache: PixelCache | None = None,
    coarsest: float = float("inf"),
    choose: Callable[[Dataset], Dataset] = lambda dataset: dataset,
    regions: str | None = None,
) -> list[Pixels]:
    """What patches can be cut from, at ``mpp``, of slides, images, folders of them and data sets.

    Parameters
    ----------
    sources
        A folder is a data set when its layout is known, or when it is written ``NAME=FOLDER``; else its image files are
        taken (those in its ``images/`` where there is one). Of slides all tissue is taken, whether or not annotations
        lie beside them; their regions alone are taken from a table, ``SLIDE=ANNOTATIONS`` and ``qupath=PATH``.
        A data set or slide that is open is taken as it is; the slide has to stay open.
    mpp
        um per pixel to train at.
    file_mpp
        um per pixel of files and data sets that do not say it.
    coarsest
        um per pixel that files may have at most; a little more (5 %) is let pass.
    choose
        Which images of a data set are taken.
    regions
        As for `wsinuc.datasets.open_dataset`.

    Raises
    ------
    DataError
        A source is missing or holds no readable image.
    MppError
        A file does not say its resolution and ``file_mpp`` is None, or it is coarser than ``coarsest``.
    """
    cache = cache or PixelCache()
    pixels: list[Pixels] = []
    for source in sources:
        opened = source if isinstance(source, (Dataset, Slide)) else _dataset(source, file_mpp, regions)
        if isinstance(opened, Slide):
            pixels.append(_of_slide(opened, mpp, cache, coarsest))
        elif opened is not None:
            dataset = choose(opened)
            read = partial(_read_annotated, dataset, mpp=mpp, coarsest=coarsest)
            pixels += [LazyImage.of(partial(read, i), cache) for i in range(len(dataset))]
        elif isinstance(source, (str, os.PathLike)):
            pixels += [_open_file(path, mpp, file_mpp, cache, coarsest) for path in _files(to_path(source))]
    return pixels


class Choice:
    """Which images of several data sets are taken; a condition holds for the sets that have its attribute.

    Parameters
    ----------
    wanted, unwanted
        See `wsinuc.datasets.base.Dataset.where`.
    split, part
        Only the images and patches of this part of a split.
    """

    def __init__(
        self, wanted: Conditions, unwanted: Conditions, *, split: Split | None = None, part: str = "train"
    ) -> None:
        self._split = split
        self._part = part
        self._asked = False
        self._wanted = wanted
        self._unwanted = unwanted
        self._unmet = {*wanted, *unwanted}
        self._unseen = {(name, value) for name, values in unwanted.items() for value in values}

    def conditions(self, dataset: Dataset) -> tuple[Conditions, Conditions]:
        """The wanted ones whose attribute a data set has, and the unwanted ones that an image of it meets."""
        self._unmet -= set(dataset.rows[0])
        there = {(name, value) for row in dataset.rows for name, value in row.items()}
        self._unseen -= there
        wanted = {name: values for name, values in self._wanted.items() if name in dataset.rows[0]}
        met = {name: frozenset(v for v in values if (name, v) in there) for name, values in self._unwanted.items()}
        return wanted, {name: values for name, values in met.items() if values}

    def __call__(self, dataset: Dataset) -> Dataset:
        """The chosen images; raises DataError for wanted values that are nobody's."""
        self._asked = True
        if self._split is not None:
            dataset = self._split.of(dataset, self._part)
        return dataset.where(*self.conditions(dataset))

    def check(self) -> None:
        """Raise DataError for an attribute that none of the sets had, an unwanted value that no image of them has, or
        a split without a set."""
        if self._split is not None and not self._asked:
            raise DataError("a split chooses images of a data set, and none of the sources is one: leave --split out")
        if self._unmet:
            raise DataError(f"no data set among the sources has the attribute {', '.join(sorted(self._unmet))}")
        if self._unseen:
            shown = ", ".join(f"{name}={value}" for name, value in sorted(self._unseen))
            raise DataError(f"no image of the sources has {shown}: nothing would be left out; check the value")


def _check_resolution(name: str, mpp: float, coarsest: float) -> None:
    if mpp > 1.05 * coarsest:
        raise MppError(
            f"{name} has {mpp:.3g} um per pixel and lacks the detail for training at {coarsest:.3g}: train at "
            f"{mpp:.2g} or coarser, or leave it out"
        )


def _dataset(source: PathLike, file_mpp: float | None, regions: str | None) -> Dataset | None:
    """The source as a data set, if it is one: its own resolution first, then the given one."""
    named = is_named(source)
    if not named and (not Path(source).is_dir() or layout_of(source) == "qupath"):
        return None
    try:
        return open_dataset(source, otherwise=file_mpp, pixels_only=True, regions=regions)
    except DataError:
        if named:
            raise
        return None


def _read_annotated(dataset: Dataset, index: int, mpp: float, coarsest: float) -> NDArray[np.uint8]:
    sample = dataset[index]
    _check_resolution(sample.name, sample.mpp, coarsest)
    # Resampled as a slide would be, so that annotated and unlabelled pixels look alike.
    view = ArraySlide(sample.image, mpp=sample.mpp).at(mpp)
    return view.read(Box.of_shape(view.shape))


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if (source / "images").is_dir():
        folder = source / "images"
    else:
        folder = source
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    images = [
        path
        for path in entries
        if path.is_file() and not path.name.startswith(".") and path.suffix.lower() not in _NO_IMAGES
    ]
    if not images:
        raise DataError(
            f"{source} is neither a slide, nor a folder that holds images, nor a data set known here "
            f"({', '.join(LAYOUTS)}): check the path"
        )
    return images


def _open(path: Path, file_mpp: float | None, opener: Callable[..., Slide] = open_isolated) -> Slide:
    """A slide with its own resolution, or the given one where the file has none."""
    with ExitStack() as stack:
        slide = stack.enter_context(opener(path))
        try:
            slide.require_mpp()
        except MppError:
            if file_mpp is None:
                raise
            return opener(path, mpp=file_mpp)
        # From here on the slide is the caller's to close.
        stack.pop_all()
        return slide


def _of_slide(slide: Slide, mpp: float, cache: PixelCache, coarsest: float) -> Pixels:
    """Pixels of a slide that the caller has opened."""
    _check_resolution(slide.name, slide.mpp, coarsest)
    view = slide.at(mpp)
    if view.shape[0] * view.shape[1] > SMALL_PX:
        return SlidePixels.of(view, cache)
    return LazyImage(partial(_read_view, view), cache, (*view.shape, 3), slide.path)


def _open_file(path: Path, mpp: float, file_mpp: float | None, cache: PixelCache, coarsest: float) -> Pixels:
    with _open(path, file_mpp) as slide:
        _check_resolution(path.name, slide.mpp, coarsest)
        view = slide.at(mpp)
    if view.shape[0] * view.shape[1] > SMALL_PX:
        # It stays open as long as it is used; with hundreds of slides that would be as many processes.
        return SlidePixels.of(_open(path, file_mpp, open_slide).at(mpp), cache)
    return LazyImage(partial(_read_file, path, mpp, file_mpp), cache, (*view.shape, 3), path)


def _read_file(path: Path, mpp: float, file_mpp: float | None) -> NDArray[np.uint8]:
    with _open(path, file_mpp) as slide:
        return _read_view(slide.at(mpp))


def _read_view(view: SlideView) -> NDArray[np.uint8]:
    return read_resilient(view, Box.of_shape(view.shape))[0]

"""What callers of trainings pass, as the trainings take it: paths are opened, what is open stays as it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from wsinuc import arguments
from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.errors import ConfigError, DataError
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.own_files import check_place
from wsinuc.slides.base import Slide
from wsinuc.urls import PathLike, to_path
from wsinuc.workflows.data.sources import Source
from wsinuc.workflows.data.training_set import NUCLEUS

AnnotatedImages = PathLike | Dataset | Sequence[LabelledImage]
"""A data set by its path, an open one or a part of it, or annotated images."""
Tissue = Source | Sequence[Source]
"""Unlabelled pixels: files, folders, data sets and open slides, one or several."""
Tell = Callable[[str], None]
"""Given a line of text on what is done."""
Config = TypeVar("Config")


def annotated_images(images: AnnotatedImages) -> Dataset | Sequence[LabelledImage]:
    """Annotated images; a path is opened as `wsinuc.open_dataset` does.

    Raises
    ------
    DataError
        It is neither a data set nor annotated images.

    Examples
    --------
    >>> annotated_images([3])
    Traceback (most recent call last):
    wsinuc.errors.DataError: expected annotated images, got [3] (list): wsinuc.open_dataset opens a folder of them
    """
    if isinstance(images, (str, os.PathLike)):
        return open_dataset(images)
    if isinstance(images, Dataset):
        return images
    is_list = isinstance(images, Sequence) and not isinstance(images, bytes)
    if is_list and all(isinstance(image, LabelledImage) for image in images):
        return images
    raise DataError(
        f"expected annotated images, got {arguments.came(images)}: wsinuc.open_dataset opens a folder of them"
    )


def classes_of(
    images: Dataset | Sequence[LabelledImage], classes: Sequence[NucleusClass] | None
) -> tuple[NucleusClass, ...]:
    """What is learned: the classes that are given, else those of the data set, else one called Nucleus."""
    if classes is not None:
        return tuple(classes)
    if isinstance(images, Dataset):
        return images.classes or (NUCLEUS,)
    return (NUCLEUS,)


def sources_of(tissue: Tissue) -> list[Source]:
    """Unlabelled pixels as a list; raises DataError for what is none.

    Examples
    --------
    >>> sources_of("slide.svs"), sources_of(["a.svs", "b.svs"])
    (['slide.svs'], ['a.svs', 'b.svs'])
    """
    if isinstance(tissue, (str, os.PathLike, Dataset, Slide)):
        return [tissue]
    is_list = isinstance(tissue, Sequence) and not isinstance(tissue, bytes)
    if is_list and all(isinstance(each, (str, os.PathLike, Dataset, Slide)) for each in tissue):
        return list(tissue)
    raise DataError(
        f"expected slides, images, folders of them or data sets, got {arguments.came(tissue)}: give their paths"
    )


def names_of(sources: Sequence[Source]) -> list[str]:
    """What a checkpoint calls them: the last part of their paths."""
    names = []
    for source in sources:
        if isinstance(source, Slide):
            names.append(source.name)
        elif isinstance(source, Dataset):
            names.append(source.path.name)
        else:
            names.append(Path(source).name)
    return names


def checkpoint_place(out: PathLike) -> Path:
    """Where a checkpoint is written; raises ConfigError or OutputError before hours of work where it cannot be."""
    path = to_path(out)
    check_place(path)
    return path


def settings(config: object, kind: type[Config], name: str) -> Config:
    """The settings, or the defaults for None; raises ConfigError for what is none.

    Examples
    --------
    >>> settings({"steps": 3}, int, "AdaptConfig")
    Traceback (most recent call last):
    wsinuc.errors.ConfigError: expected settings as a wsinuc.AdaptConfig, got {'steps': 3} (dict)
    """
    if config is None:
        return kind()
    return arguments.instance(config, kind, f"settings as a wsinuc.{name}", ConfigError)


def nobody(message: str) -> None:
    """Tell nobody."""

"""What a training learns from: annotated images of one or more data sets, all of them or a few patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Conditions, Dataset, LabelledImage
from wsinuc.datasets.split import Split, few_patches
from wsinuc.errors import DataError
from wsinuc.segmenters.base import NucleusClass

NUCLEUS = NucleusClass("Nucleus", (0, 200, 80))
"""The one class of data sets that do not classify; green stands out from every stain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which part of the data sets is used; the defaults take everything."""

    wanted: Conditions
    unwanted: Conditions
    split: Path | None = None
    part: str = "train"
    """Part of the split file."""
    few: int | None = None
    """Only so many patches, stratified."""
    patch: int = 256
    """Side of these patches in pixels of the images."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Images and the classes that they are annotated with."""

    images: tuple[LabelledImage, ...]
    classes: tuple[NucleusClass, ...]
    origin: tuple[dict[str, Any], ...]
    """For the checkpoint's provenance: what was taken from where."""
    drawn: Split | None
    """The few patches, to be saved beside the checkpoint."""


def gather_training_set(sources: Sequence[str], *, mpp: float | None, selection: Selection) -> TrainingSet:
    """Read the chosen images of every source.

    Parameters
    ----------
    sources
        Folders of data sets, or ``NAME=FOLDER``; all must have the same classes.
    mpp
        um per pixel of images that do not say it.

    Raises
    ------
    DataError
        The sets' classes differ, one has points only, or nothing is left.
    ConfigError
        Few patches are asked of several data sets at once.
    """
    if selection.few and len(sources) > 1:
        raise DataError(f"few patches are drawn from one data set, got {len(sources)}: name one, or leave out --few")
    datasets, drawn = [], None
    for source in sources:
        dataset = _selected(open_dataset(source, mpp=mpp), selection)
        if dataset.layout.kind == "points":
            raise DataError(
                f"{dataset.path} marks nuclei with points and has no outlines to learn from; "
                "it can be measured against with: wsinuc evaluate --data"
            )
        if selection.few:
            drawn = few_patches(dataset, selection.few, size_px=selection.patch, seed=selection.seed)
            dataset = drawn.of(dataset, "train")
        datasets.append(dataset)
    classes = _common_classes(datasets)
    images = tuple(_named(image, dataset) for dataset in datasets for image in dataset)
    if not any(image.labels.any() for image in images):
        raise DataError("no annotated nucleus to learn from: check the data set's labels and filters")
    return TrainingSet(images, classes or (NUCLEUS,), tuple(_origin(d, selection) for d in datasets), drawn)


def _selected(dataset: Dataset, selection: Selection) -> Dataset:
    if selection.split is not None:
        dataset = Split.load(selection.split).of(dataset, selection.part)
    return dataset.where(selection.wanted, selection.unwanted)


def _common_classes(datasets: Sequence[Dataset]) -> tuple[NucleusClass, ...]:
    first = datasets[0]
    for other in datasets[1:]:
        if [c.name for c in other.classes] != [c.name for c in first.classes]:
            raise DataError(
                f"the classes differ: {first.path} has {_listed(first.classes)}, {other.path} has "
                f"{_listed(other.classes)}; give both the same classes.csv, or train on one"
            )
    return first.classes


def _listed(classes: Sequence[NucleusClass]) -> str:
    return ", ".join(c.name for c in classes) or "none"


def _named(image: LabelledImage, dataset: Dataset) -> LabelledImage:
    """The image under a name that stays its own beside other data sets'."""
    return replace(image, name=f"{dataset.layout.name}/{image.name}")


def _origin(dataset: Dataset, selection: Selection) -> dict[str, Any]:
    return {
        "data": dataset.path.name,
        "layout": dataset.layout.name,
        "images": sorted(set(dataset.names)),
        "patches": len(dataset),
        "split": str(selection.split.name) if selection.split else None,
        "part": selection.part if selection.split else None,
        "few": selection.few,
        "seed": selection.seed,
    }

"""What a training learns from: annotated images of one or more data sets, all of them or a few patches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Conditions, Dataset, LabelledImage
from wsinuc.datasets.label_values import count_notes
from wsinuc.datasets.sampling.split import Split, few_patches
from wsinuc.errors import ConfigError, DataError
from wsinuc.models.devices import prepare_device
from wsinuc.models.features.image_vectors import load_feature_network
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.segmenters import FEATURES
from wsinuc.segmenters.base import MOST_CLASSES
from wsinuc.workflows.data.common_classes import common_classes, renumbered, scarce, spellings, unlearned
from wsinuc.workflows.data.subset import SubsetConfig, choose_subset

NUCLEUS = NucleusClass("Nucleus", (0, 200, 80))
"""The one class of data sets that do not classify; green stands out from every stain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSelection:
    """Which part of the data sets is used; the defaults take everything."""

    wanted: Conditions
    unwanted: Conditions
    split: Path | None = None
    part: str = "train"
    """Part of the split file."""
    few: int | None = None
    """Only so many patches, stratified."""
    fraction: float | None = None
    """Only this share of the patches, the most typical ones; see `wsinuc.workflows.data.subset`. Not with ``few``."""
    patch: int = 256
    """Side of these patches in pixels of the images."""
    seed: int = 0
    regions: str | None = None
    """Class or name of the regions that are annotated on slides; None is ``Region*``."""


_EVERYTHING = ImageSelection(wanted={}, unwanted={})


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Images and the classes that they are annotated with."""

    images: tuple[LabelledImage, ...]
    classes: tuple[NucleusClass, ...]
    origin: tuple[dict[str, Any], ...]
    """For the checkpoint's provenance: what was taken from where."""
    drawn: Split | None
    """The few patches, to be saved beside the checkpoint."""
    weights: tuple[float, ...] | None = None
    """How often each image is drawn, relative to the others; None is by area."""
    notes: tuple[str, ...] = ()
    """What was done to make labels of what the files hold, a line for each set and kind."""
    datasets: tuple[Dataset, ...] = ()
    """Those that the images were chosen from, each with what was chosen of it; without the sets that were added whole.
    """


def count_nuclei(images: Iterable[LabelledImage]) -> int:
    """How many nuclei are outlined in all images together."""
    return sum(len(np.unique(image.labels[image.labels > 0])) for image in images)


def identity_of(images: Sequence[LabelledImage], weights: Sequence[float] | None = None) -> str:
    """Names annotated images by what a training learns from them: pixels, outlines, classes, resolution, shares.

    A training that is continued must have the images that it began with: it would otherwise end with weights of other
    images than its checkpoint names.

    Examples
    --------
    >>> identity_of([])
    '0 images, e3b0c44298fc'
    """
    facts = hashlib.sha256()
    for number, image in enumerate(images):
        share = None if weights is None else float(weights[number])
        arrays = (image.image, image.labels, image.classes, image.ignore)
        shapes = [None if array is None else (array.shape, str(array.dtype)) for array in arrays]
        facts.update(repr((shapes, float(image.mpp), share)).encode())
        for array in arrays:
            if array is not None:
                facts.update(np.ascontiguousarray(array).data)
    return f"{len(images)} {'image' if len(images) == 1 else 'images'}, {facts.hexdigest()[:12]}"


def gather_training_set(
    sources: Sequence[str],
    *,
    mpp: float | None,
    selection: ImageSelection,
    whole: Sequence[str] = (),
    whole_share: float | None = None,
) -> TrainingSet:
    """Read the chosen images of every source.

    Parameters
    ----------
    sources
        Folders of data sets, or ``NAME=FOLDER``; all must have the same classes, in any order and capitals.
    mpp
        um per pixel of images that do not say it.
    whole
        More data sets, from which nothing is chosen: all their images are used, such as synthetic ones.
    whole_share
        Which share of what is drawn comes from ``whole``, above 0 and below 1; None draws everything by area.

    Raises
    ------
    DataError
        The sets' classes differ, one has points only, or nothing is left.
    ConfigError
        Few patches and a share of them are asked for at once, or a share of ``whole`` that is none.
    """
    _check_request(sources, selection, whole, whole_share)
    datasets, drawn = _chosen(sources, mpp, selection)
    chosen = len(datasets)
    datasets += [_outlined(source, mpp, selection.regions) for source in whole]
    classes = common_classes(datasets)
    # Once, because every pass over a data set decodes its files again.
    groups = [tuple(dataset) for dataset in datasets]
    images = tuple(
        renumbered(_named(image, dataset), dataset, classes)
        for dataset, group in zip(datasets, groups, strict=True)
        for image in group
    )
    notes = tuple(line for dataset, group in zip(datasets, groups, strict=True) for line in label_notes(dataset, group))
    notes = (*notes, *spellings(datasets, classes))
    reason = unlearned(datasets, images, classes)
    if reason is not None:
        classes = ()
        images = tuple(replace(image, classes=None) for image in images)
        notes = (*notes, reason)
    # Data sets that do not classify agree with one another: all of their nuclei are of one class.
    classes = classes or (NUCLEUS,)
    check_annotation(images, classes)
    notes = (*notes, *scarce(images, classes))
    selections = [selection] * chosen + [_EVERYTHING] * len(whole)
    origins = tuple(
        _origin(dataset, each, label_notes(dataset, group))
        for dataset, group, each in zip(datasets, groups, selections, strict=True)
    )
    weights = None
    if whole_share is not None:
        # Chosen sets come first, so their images are the first of all.
        weights = shared_out(images, sum(map(len, groups[:chosen])), whole_share)
    return TrainingSet(images, classes, origins, drawn, weights, notes, tuple(datasets[:chosen]))


def _check_request(
    sources: Sequence[str], selection: ImageSelection, whole: Sequence[str], whole_share: float | None
) -> None:
    """Raise ConfigError or DataError for what contradicts itself, before anything is read."""
    if whole_share is not None and not (whole and 0 < whole_share < 1):
        raise ConfigError(
            f"a share of added data lies above 0 and below 1 and needs such data, got {whole_share:g} of "
            f"{len(whole)} sets; name some, or leave the share out"
        )
    if selection.few and selection.fraction:
        raise ConfigError("give a number of patches or a share of them, not both")
    if (selection.few or selection.fraction) and len(sources) > 1:
        option = "--few" if selection.few else "--fraction"
        raise DataError(f"few patches are drawn from one data set, got {len(sources)}: name one, or leave out {option}")


def _chosen(sources: Sequence[str], mpp: float | None, selection: ImageSelection) -> tuple[list[Dataset], Split | None]:
    """What is chosen of each source, and the patches that were drawn from the one source where only some are used."""
    datasets = []
    drawn = None
    for source in sources:
        dataset = _selected(_outlined(source, mpp, selection.regions), selection)
        if selection.few:
            drawn = few_patches(dataset, selection.few, size_px=selection.patch, seed=selection.seed)
        elif selection.fraction:
            drawn = _typical(dataset, selection, selection.fraction)
        datasets.append(dataset if drawn is None else drawn.of(dataset, "train"))
    return datasets, drawn


def label_notes(dataset: Dataset, images: Iterable[LabelledImage]) -> tuple[str, ...]:
    """What was done to the annotation of a data set, a line for each kind; patches of one image count once."""
    notes = {image.attributes["name"]: image.notes for image in images}
    lines = (*dataset.layout.notes, *count_notes(notes.values(), dataset.layout.annotated))
    return tuple(f"{dataset.path}: {line}" for line in lines)


def check_annotation(images: Sequence[LabelledImage], classes: tuple[NucleusClass, ...]) -> None:
    """Raise DataError where there is nothing to learn, or a class that a network would have no output for."""
    if not classes:
        raise DataError("no class to learn: a data set without classes trains the one class Nucleus")
    if not any(image.labels.any() for image in images):
        raise DataError("no annotated nucleus to learn from: check the data set's labels and filters")
    if len(classes) > MOST_CLASSES:
        some = ", ".join(c.name for c in classes[:4])
        raise DataError(
            f"{len(classes)} classes of nuclei ({some}, ...), and a model tells at most {MOST_CLASSES} apart: are "
            "these names of nuclei, not of classes? List the classes that are meant in classes.csv"
        )
    names = ", ".join(c.name for c in classes)
    for image in images:
        if image.classes is None and len(classes) > 1:
            raise DataError(f"{image.name} has no classes, but {len(classes)} are to be learned: {names}")
        if image.classes is not None and image.classes.max(initial=0) > len(classes):
            raise DataError(
                f"{image.name} has nuclei of class {image.classes.max()}, but only {len(classes)} are to be learned: "
                f"{names}; images of different data sets may have been mixed"
            )


def check_whole(images: Sequence[LabelledImage], why: str = "a generator learns to draw whole images") -> None:
    """Raise DataError where an image has ignored pixels; ``why`` says what needs all of it annotated."""
    for image in images:
        if image.ignore is not None:
            raise DataError(
                f"{image.name} has pixels that nobody annotated, and {why}: draw "
                "rectangular regions that do not overlap, without areas of class Ignore*, and outline every nucleus"
            )


def _outlined(source: str, mpp: float | None, regions: str | None) -> Dataset:
    """The data set; raises DataError for one without outlines."""
    dataset = open_dataset(source, mpp=mpp, regions=regions)
    if dataset.layout.kind == "points":
        raise DataError(
            f"{dataset.path} marks nuclei with points and has no outlines to learn from; "
            "wsinuc evaluate measures against it, and wsinuc classify learns classes of nuclei from it"
        )
    return dataset


def _selected(dataset: Dataset, selection: ImageSelection) -> Dataset:
    if selection.split is not None:
        dataset = Split.load(selection.split).of(dataset, selection.part)
    return dataset.where(selection.wanted, selection.unwanted)


def _typical(dataset: Dataset, selection: ImageSelection, fraction: float) -> Split:
    """The most typical patches, as the shipped denoiser sees them."""
    network = load_feature_network(FEATURES, device=prepare_device("auto"))
    config = SubsetConfig(fraction=fraction, size_px=selection.patch, stride=selection.patch // 2, seed=selection.seed)
    return choose_subset(dataset, network, config).split


def shared_out(images: Sequence[LabelledImage], first: int, share: float) -> tuple[float, ...]:
    """Weights by area, of which the images after the ``first`` ones have ``share``."""
    areas = [image.labels.size * image.mpp**2 for image in images]
    own = sum(areas[:first])
    added = sum(areas[first:])
    return (
        *((1 - share) * area / own for area in areas[:first]),
        *(share * area / added for area in areas[first:]),
    )


def _named(image: LabelledImage, dataset: Dataset) -> LabelledImage:
    """The image under a name that stays its own beside other data sets'."""
    return replace(image, name=f"{dataset.layout.name}/{image.name}")


def _origin(dataset: Dataset, selection: ImageSelection, notes: Sequence[str]) -> dict[str, Any]:
    facts = {
        "data": dataset.path.name,
        "layout": dataset.layout.name,
        "images": sorted(set(dataset.names)),
        "patches": len(dataset),
        # The name alone: a path says something about a computer, not about the data.
        "split": str(selection.split.name) if selection.split else None,
        "part": selection.part if selection.split else None,
        "few": selection.few,
        "fraction": selection.fraction,
        "seed": selection.seed,
    }
    if notes:
        return facts | {"labels": list(notes)}
    return facts

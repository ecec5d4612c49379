"""The classes of several data sets as one list: by name, without regard to case, whatever their order.

Published sets list their classes, so sets that are mixed must list the same. Where the classes are the names that
occur (points and slides that somebody annotated), a set may lack some of the others'.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.datasets.class_names import spelling_notes
from wsinuc.errors import DataError
from wsinuc.nuclei.classes import NucleusClass

MIN_KNOWN = 0.5
"""Share of the nuclei that must have a class for pixels to teach classes, where classes are the names that occur."""

MOST_NAMES = 5
"""Classes that a note names."""


def common_classes(datasets: Sequence[Dataset]) -> tuple[NucleusClass, ...]:
    """The classes of all sets: those that are listed, in the order of the first list, else all names that occur.

    There are none where a set cannot have any: then all nuclei are of one class.

    Raises
    ------
    DataError
        Two lists differ, or a name that occurs is not in the list.
    """
    listed = [dataset for dataset in datasets if not dataset.layout.open_classes]
    if not listed:
        named = {each.name.casefold(): each for dataset in reversed(datasets) for each in dataset.classes}
        return tuple(named[key] for key in sorted(named))
    first = listed[0]
    keys = set(_keys(first))
    for other in datasets:
        theirs = set(_keys(other))
        fits = theirs == keys
        if other.layout.open_classes:
            fits = not keys or theirs <= keys
        if not fits:
            raise DataError(
                f"the classes differ: {first.path} has {_listed(first.classes)}, {other.path} has "
                f"{_listed(other.classes)}; give both the same classes.csv, or train on one"
            )
    return first.classes


def spellings(datasets: Sequence[Dataset], classes: tuple[NucleusClass, ...]) -> tuple[str, ...]:
    """A note on each data set that writes a class in another way than ``classes`` do."""
    return tuple(
        f"{dataset.path}: {note}"
        for dataset in datasets
        for note in spelling_notes([each.name for each in dataset.classes], classes)
    )


def scarce(images: Sequence[LabelledImage], classes: tuple[NucleusClass, ...]) -> tuple[str, ...]:
    """A note on the classes that a single nucleus has: it shows what one nucleus looks like, not what a class does."""
    counts = np.zeros(len(classes) + 1, np.int64)
    for image in images:
        if image.classes is not None:
            present = np.flatnonzero(np.bincount(image.labels.ravel()))
            counts += np.bincount(image.classes[present], minlength=len(counts))
    names = [each.name for each, count in zip(classes, counts[1:].tolist(), strict=True) if count == 1]
    if not names:
        return ()
    listed = ", ".join(names[:MOST_NAMES])
    if len(names) > MOST_NAMES:
        listed += f" and {len(names) - MOST_NAMES} more"
    return (
        f"classes with a single nucleus, from which a class is not learned: {listed}; annotate more of them, or call "
        "them something else",
    )


def renumbered(image: LabelledImage, dataset: Dataset, classes: tuple[NucleusClass, ...]) -> LabelledImage:
    """The image with its classes counted as in ``classes``; unknown where its set has none but might have."""
    if image.classes is None:
        if not (classes and dataset.layout.open_classes):
            return image
        return replace(image, classes=np.zeros(int(image.labels.max(initial=0)) + 1, np.int32))
    if not classes:
        return replace(image, classes=None)
    numbers = {each.name.casefold(): i for i, each in enumerate(classes, start=1)}
    order = np.array([0, *(numbers[key] for key in _keys(dataset))], np.int32)
    if (order == np.arange(len(order))).all():
        return image
    return replace(image, classes=order[image.classes])


def unlearned(
    datasets: Sequence[Dataset], images: Sequence[LabelledImage], classes: tuple[NucleusClass, ...]
) -> str | None:
    """Why the classes of annotation are not learned; None where they are, and where there are none.

    Where somebody gave some nuclei a class, most others would be left out of what the pixels teach, and a single
    class would become the name of every nucleus.
    """
    if not any(dataset.classes and dataset.layout.open_classes for dataset in datasets):
        return None
    if not classes:
        without = next(dataset for dataset in datasets if not dataset.layout.open_classes)
        return f"classes are not learned, because {without.path} has none: all nuclei are of the one class Nucleus"
    known = 0
    nuclei = 0
    for image in images:
        if image.classes is not None:
            present = np.unique(image.labels[image.labels > 0])
            nuclei += len(present)
            known += int((image.classes[present] > 0).sum())
    if known == nuclei or (len(classes) > 1 and known >= MIN_KNOWN * nuclei):
        return None
    return (
        f"{known:,} of {nuclei:,} nuclei have a class ({_listed(classes)}), too few for pixels to teach it: all are "
        "learned as the one class Nucleus; wsinuc classify learns classes from a few nuclei"
    )


def _keys(dataset: Dataset) -> list[str]:
    """By what names the classes of a data set are known, without regard to case."""
    return [each.name.casefold() for each in dataset.classes]


def _listed(classes: Sequence[NucleusClass]) -> str:
    return ", ".join(c.name for c in classes) or "none"

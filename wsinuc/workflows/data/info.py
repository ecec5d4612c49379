"""What is in an annotated data set: its layout, sizes and resolution, and how many nuclei of which class and tissue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsinuc import own_files
from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import Dataset, LabelledImage
from wsinuc.datasets.label_values import count_notes
from wsinuc.exports.pictures.contact_sheet import write_contact_sheet
from wsinuc.urls import PathLike, to_path

MAX_VALUES = 60
"""An attribute with more values than that (file hashes) says nothing about groups and is left out."""
NUMBERED = ("fold", "patient", "set", "split")
"""Attributes that group images although their values may be numbers; other numbers are measurements and are left out.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What belongs to one value of an attribute."""

    images: int
    nuclei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDescription:
    """What `wsinuc data info` shows."""

    path: Path
    layout: str
    kind: str
    """``instances``, ``points`` or ``glands``: what the counts below count; or ``unlabelled``."""
    images: int
    empty: int
    """Images without a single nucleus."""
    sizes: Mapping[tuple[int, int], int]
    """(height, width) in pixels -> images, the commonest first."""
    mpp: Mapping[float, int]
    """um per pixel -> images whose resolution is recorded or given."""
    nuclei: int
    classes: Mapping[str, int]
    """Class -> nuclei, in the order of the data set, and ``(not known)`` if there are any; empty without classes."""
    diameter_px: float
    """Median diameter of a circle of a nucleus' area in pixels; NaN where only points are annotated."""
    attributes: Mapping[str, Mapping[str, Share]]
    """Attribute -> value -> its share, for attributes that group images."""
    notes: tuple[str, ...] = ()
    """What was done to make labels of what the files hold, a line for each kind."""


def describe_dataset(
    source: PathLike,
    *,
    mpp: float | None = None,
    sheet: PathLike | None = None,
    tiles: int = 12,
    regions: str | None = None,
) -> DatasetDescription:
    """Read all images once, count, and draw a contact sheet of some of them if wanted.

    Parameters
    ----------
    source
        The data set, as for `wsinuc.datasets.open_dataset`.
    mpp
        um per pixel; may stay unknown here.
    sheet
        Where to write the contact sheet (PNG) of ``tiles`` images, evenly spread over the set.
    regions
        As for `wsinuc.datasets.open_dataset`.

    Raises
    ------
    DataError
        The layout is unknown, or an image or its annotation is damaged.
    OutputError
        ``sheet`` cannot be written, or something else than a contact sheet is there.
    """
    picture = None if sheet is None else to_path(sheet)
    if picture:
        own_files.check_place(picture)
    dataset = open_for_counting(source, mpp=mpp, regions=regions)
    shown: set[int] = set()
    if picture:
        shown = set(np.linspace(0, len(dataset) - 1, min(tiles, len(dataset))).round().astype(int).tolist())
    pictures: list[LabelledImage] = []
    counts = np.zeros((len(dataset), len(dataset.classes) + 1), np.int64)
    sizes: Counter[tuple[int, int]] = Counter()
    resolutions: Counter[float] = Counter()
    notes: list[tuple[str, ...]] = []
    areas = [np.zeros(0, np.int64)]
    for i, image in enumerate(dataset):
        counts[i], image_areas = _count(image, len(dataset.classes))
        areas.append(image_areas)
        sizes[image.labels.shape[0], image.labels.shape[1]] += 1
        resolutions[image.mpp] += bool(mpp or image.attributes.get("mpp") or dataset.layout.mpp)
        notes.append(image.notes)
        if i in shown:
            pictures.append(image)
    if picture:
        write_contact_sheet(pictures, dataset.classes, picture)
    total = counts.sum(axis=1)
    every = np.concatenate(areas)
    return DatasetDescription(
        path=dataset.path,
        layout=dataset.layout.name,
        kind=dataset.layout.kind,
        images=len(dataset),
        empty=int((total == 0).sum()),
        sizes=dict(sizes.most_common()),
        mpp=dict(+resolutions),  # the sign leaves out what was counted zero times
        nuclei=int(total.sum()),
        classes=_by_class(dataset, counts.sum(axis=0)),
        diameter_px=float(np.median(np.sqrt(every * 4 / np.pi))) if len(every) else float("nan"),
        attributes=_by_attribute(dataset, total),
        notes=(*dataset.layout.notes, *count_notes(notes, dataset.layout.annotated)),
    )


def open_for_counting(source: PathLike, *, mpp: float | None = None, regions: str | None = None) -> Dataset:
    """The data set, also one without annotation; images whose resolution is not recorded have 1 um per pixel."""
    # Counting needs no resolution: any number will do to look at a set that records none.
    return open_dataset(source, mpp=mpp, otherwise=1.0, pixels_only=True, regions=regions)


def _count(image: LabelledImage, classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(classes + 1,) nuclei per class, first those of no known class; area in pixels of each nucleus."""
    areas = np.bincount(image.labels.ravel(), minlength=1)
    ids = 1 + np.flatnonzero(areas[1:])
    if image.classes is None:
        kinds = np.zeros(len(ids), np.int32)
    else:
        kinds = image.classes[ids]
    return np.bincount(kinds, minlength=classes + 1) + _count_points(image, classes), areas[ids]


def _count_points(image: LabelledImage, classes: int) -> NDArray[np.int64]:
    """(classes + 1,) nuclei that are marked and not outlined, per class."""
    if image.points is None:
        return np.zeros(classes + 1, np.int64)
    if image.point_classes is None:
        return np.bincount(np.zeros(len(image.points), np.int32), minlength=classes + 1)
    return np.bincount(image.point_classes, minlength=classes + 1)


def _by_class(dataset: Dataset, counts: NDArray[np.int64]) -> dict[str, int]:
    if not dataset.classes:
        return {}
    counts_by_name = {c.name: int(count) for c, count in zip(dataset.classes, counts[1:], strict=True)}
    if counts[0]:
        counts_by_name["(not known)"] = int(counts[0])
    return counts_by_name


def _by_attribute(dataset: Dataset, nuclei: NDArray[np.int64]) -> dict[str, dict[str, Share]]:
    shares = {}
    for attribute in (a for a in dataset.rows[0] if a not in ("name", "mpp")):
        values = [row[attribute] for row in dataset.rows]
        measured = attribute not in NUMBERED and all(value.replace(".", "", 1).isdecimal() for value in values if value)
        if len(set(values)) <= MAX_VALUES and not measured:
            shares[attribute] = {
                value: Share(images=values.count(value), nuclei=int(nuclei[np.equal(values, value)].sum()))
                for value in sorted(set(values))
            }
    return shares

"""What a distillation learns from: sources for the teacher, weighted, and annotated data sets beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wsinuc.datasets import open_dataset
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.patches import area
from wsinuc.datasets.sampling.pixels import PixelCache, Pixels
from wsinuc.errors import DataError
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.workflows.data.sources import Choice, Source, open_sources
from wsinuc.workflows.data.training_set import ImageSelection, gather_training_set
from wsinuc.workflows.distill.teacher import Scales


@dataclass(frozen=True, slots=True, kw_only=True)
class TissueSources:
    """Opened sources."""

    images: tuple[Pixels, ...]
    """At the resolution at which patches are cut."""
    weights: tuple[float, ...] | None
    """How often each is drawn; None draws by area."""


def gather_tissue(
    sources: Sequence[Source],
    scales: Scales,
    *,
    file_mpp: float | None,
    choice: Choice,
    memory: int,
    even: bool,
    regions: str | None = None,
) -> TissueSources:
    """Open what the teacher will see.

    Parameters
    ----------
    sources
        As `wsinuc.workflows.data.sources.open_sources` takes them.
    memory
        Bytes for pixels.
    even
        Draw from every source equally often, instead of by its area.
    regions
        As for `wsinuc.datasets.open_dataset`.

    Raises
    ------
    DataError
        A source is missing, holds no image, or is a slide without tissue.
    MppError
        A source does not say its resolution, or is too coarse for the student.
    """
    cache = PixelCache(memory)
    opened = [
        open_sources(
            [source],
            mpp=scales.source,
            file_mpp=file_mpp,
            cache=cache,
            coarsest=scales.student,
            choose=choice,
            regions=regions,
        )
        for source in sources
    ]
    weights: list[float] = []
    for images in opened:
        areas = np.array([area(image) for image in images])
        weights += (areas / areas.sum()).tolist()
    return TissueSources(
        images=tuple(image for images in opened for image in images), weights=tuple(weights) if even else None
    )


def gather_labels(
    sources: Sequence[str],
    classes: tuple[NucleusClass, ...],
    *,
    mpp: float | None,
    choice: Choice,
    regions: str | None = None,
) -> tuple[tuple[LabelledImage, ...], list[dict[str, Any]]]:
    """Annotated images of the teacher's classes, and where they are from.

    A teacher of one class learns from any annotation; one of several needs sets with the same names.

    Raises
    ------
    DataError
        A set has other classes, or points only.
    """
    images: list[LabelledImage] = []
    origin: list[dict[str, Any]] = []
    for source in sources:
        wanted, unwanted = choice.conditions(open_dataset(source, mpp=mpp, regions=regions))
        selection = ImageSelection(wanted=wanted, unwanted=unwanted, regions=regions)
        chosen = gather_training_set([source], mpp=mpp, selection=selection)
        images += labels_for(classes, chosen.images, chosen.classes, Path(source).name)
        origin += chosen.origin
    return tuple(images), origin


def labels_for(
    taught: Sequence[NucleusClass], images: Iterable[LabelledImage], annotated: Sequence[NucleusClass], source: str
) -> list[LabelledImage]:
    """Images with the classes ``annotated``, for a teacher of the classes ``taught``: one class needs none of them.

    Raises
    ------
    DataError
        The teacher has several classes, and the annotation of ``source`` has others.
    """
    if len(taught) == 1:
        return [replace(image, classes=None) for image in images]
    names = [each.name for each in annotated]
    needed = [each.name for each in taught]
    if names != needed:
        raise DataError(
            f"{source} has the classes {', '.join(names) or 'none'}, the teacher {', '.join(needed)}: they must be "
            "the same"
        )
    return list(images)

"""Where windows and the rest come from: data sets, and what slides they lie on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.base import Dataset
from wsinuc.datasets.sampling.pixels import Pixels
from wsinuc.errors import DataError
from wsinuc.workflows.adapt.annotated import Annotated
from wsinuc.workflows.adapt.windows import Field, Window, fields_of, rest_of, slide_samples
from wsinuc.workflows.data.sources import Source, open_sources


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What a model is adapted to."""

    fields: tuple[Field, ...]
    """With the windows in them."""
    rest: tuple[Field, ...]
    """Tissue on which the model should stay as it is, beside what lies around the windows."""


def gather_material(
    datasets: Sequence[Dataset],
    rest: Sequence[Source],
    *,
    mpp: float,
    file_mpp: float | None,
    seed: int,
) -> Material:
    """Windows of data sets with what lies around them, and other tissue.

    Parameters
    ----------
    datasets
        Slides that their images were cut from are tissue on which the model should stay as it is, and what the windows
        are fitted to.
    rest
        More slides, images, folders and data sets, by path or open, whose annotation is ignored. Nothing is taken of
        what is annotated in ``datasets``.
    mpp
        The model's um per pixel.
    file_mpp
        That of files which do not say it.

    Raises
    ------
    DataError
        An image is damaged, or a source holds none.
    MppError
        A file does not say its resolution.
    """
    fields: list[Field] = []
    tissue: list[Pixels] = []
    annotated = Annotated(datasets)
    slides: dict[Path, NDArray[np.uint8] | None] = {}
    for dataset in datasets:
        cuttings = {row["name"]: (dataset.layout.cutting(row), dataset.resolution(row)) for row in dataset.rows}
        for field in fields_of(dataset, mpp):
            cutting, own_mpp = cuttings[field.windows[0].image.attributes["name"]]
            samples = None
            if cutting is not None:
                slide = cutting.slide.resolve()
                if slide not in slides:
                    opened = open_sources([cutting.slide], mpp=mpp, file_mpp=own_mpp)
                    slides[slide] = slide_samples(opened[0])
                    tissue += opened
                samples = slides[slide]
            fields.append(replace(_named(field, dataset), samples=samples))
    if rest:
        named = open_sources(list(rest), mpp=mpp, file_mpp=file_mpp, choose=annotated.others)
        others = [each for each in named if not annotated.is_whole(each)]
        if not others:
            raise DataError(
                "all that --rest names is annotated and learned from: name other images, slides or folders, or leave "
                "it out"
            )
        tissue += others
    return Material(tuple(fields), tuple(rest_of(tissue, seed, annotated.boxes) if tissue else ()))


def check_classes(own: Sequence[str], annotated: Sequence[str], model: str) -> None:
    """Raise DataError where a model tells other classes of nuclei apart than the windows; with one class it learns
    outlines from any.

    Examples
    --------
    >>> check_classes(["Nucleus"], ["Tumor", "Stroma"], "fast")
    """
    if len(own) > 1 and list(own) != list(annotated):
        raise DataError(
            f"{model} tells {', '.join(own)} apart, and the windows have {', '.join(annotated)}: give them its "
            "classes, in its order (classes.csv)"
        )


def _named(field: Field, dataset: Dataset) -> Field:
    """The field with its windows named after their data set, too: several may have an image of one name."""
    windows = [replace(w.image, name=f"{dataset.path.name}/{w.image.name}") for w in field.windows]
    boxes = [window.box for window in field.windows]
    return replace(field, windows=tuple(Window(image, box) for image, box in zip(windows, boxes, strict=True)))

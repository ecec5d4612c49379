"""Nuclei with classes -> what is known of each: what a classifier of nuclei learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.augmentation.augment import jitter_stain
from wsinuc.errors import DataError
from wsinuc.nuclei.classes import NucleusClass
from wsinuc.nuclei.describe import stain_levels
from wsinuc.segmenters.tiling import STAINS
from wsinuc.segmenters.typed import TypedSegmenter
from wsinuc.workflows.classify.marked import MarkedImage, PointCounts, kin_among
from wsinuc.workflows.training.folds import Kin


@dataclass(frozen=True, slots=True, eq=False)
class NucleusTable:
    """Nuclei with a class."""

    descriptors: NDArray[np.float64]
    """(views, n, d) of the images as they are, then in other stains."""
    classes: NDArray[np.intp]
    """(n,) from 0."""
    images: NDArray[np.intp]
    """(n,) number of the image, from 0."""
    groups: NDArray[np.intp]
    """(n,) what is held out together, by its number in ``kin``."""
    kin: Kin
    """Which images are held out together."""
    names: tuple[str, ...]
    """Names of the classes."""
    counts: PointCounts


def describe_marked(
    marked: Sequence[MarkedImage],
    classes: tuple[NucleusClass, ...],
    segmenter: TypedSegmenter,
    *,
    views: int,
    stain: float,
    seed: int,
) -> NucleusTable:
    """Describe the nuclei that points mark.

    Parameters
    ----------
    views
        How often each image is also described in another stain, by `jitter_stain` of the strength
        ``stain``; its nuclei stay, and so do the maps of a network of classes.

    Raises
    ------
    DataError
        There are no points with a class, or a class is left with fewer than two nuclei.
    """
    counts = sum((image.counts for image in marked), PointCounts())
    if not counts.points:
        raise DataError("no point with a class to learn from: check the data set's point files and filters")
    numbers = np.concatenate([image.classes[image.classes > 0] for image in marked])
    for i, each in enumerate(classes, start=1):
        n = int((numbers == i).sum())
        if n < 2:
            raise DataError(
                f"the class {each.name} has {n} segmented nuclei with a point, 2 are the least to learn from: "
                f"mark more, or segment with another --model ({counts})"
            )
    sizes = [image.counts.nuclei for image in marked]
    kin = kin_among(marked)
    described = [
        _described(image, segmenter, views, stain, np.random.default_rng([seed, number]))
        for number, image in enumerate(marked)
    ]
    return NucleusTable(
        descriptors=np.concatenate(described, axis=1),
        classes=numbers.astype(np.intp) - 1,
        images=np.repeat(np.arange(len(marked)), sizes),
        groups=np.repeat(np.array(kin.groups, np.intp), sizes),
        kin=kin,
        names=tuple(each.name for each in classes),
        counts=counts,
    )


def _described(
    image: MarkedImage, segmenter: TypedSegmenter, views: int, stain: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Descriptors (1 + views, n, d) of the nuclei with a class."""
    chosen = image.classes > 0
    scores = scores_with_classes(image, segmenter)
    described = [segmenter.describe(image.segmented.labels, scores)[chosen]]
    for _ in range(views):
        scores[-STAINS:] = stain_levels(jitter_stain(image.segmented.pixels, rng, stain))
        described.append(segmenter.describe(image.segmented.labels, scores)[chosen])
    return np.stack(described)


def scores_with_classes(image: MarkedImage, segmenter: TypedSegmenter) -> NDArray[np.uint8]:
    """Scores ``(channels, h, w)`` of an image as far as ``segmenter.describe`` looks at them: the foreground, the
    maps of the classes and the stains."""
    foreground = image.segmented.foreground[None]
    # Nothing is known, and nothing asked, of the disagreement.
    planes = [
        foreground,
        np.zeros_like(foreground),
        segmenter.maps_of(image.seen),
        stain_levels(image.segmented.pixels),
    ]
    return np.concatenate(planes)

"""What the networks of a model learn from in each step: crops of annotated windows, and of tissue as the model saw it.

A batch is a function of its number alone. So threads cut it ahead while a network computes, and networks that are shown
the same tissue, as those of a joint model often are, share it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.crops import Crop, CropSource
from wsinuc.separation.soft_targets import SoftTarget
from wsinuc.workflows.adapt.config import AdaptConfig
from wsinuc.workflows.train.soft_crops import SoftCropSource

Planes = NDArray[np.uint8]
"""RGB and what the model says, ``(3 + channels, h, w)``."""
MOST_KEPT = 200
"""Batches that are kept for another network, 3 MB each with the default settings; later ones are cut again."""


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """What one network learns from."""

    labelled: tuple[LabelledImage, ...]
    """Windows as it sees them."""
    taught: tuple[Planes, ...]
    """Squares of tissue without annotation, with what the model says of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the model is asked for."""

    classes: int
    """Of nuclei, without background."""
    mpp: float
    """um per pixel that it works at."""
    separation: str
    """``distance`` or ``hv``."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one step learns from."""

    drawn: tuple[Crop, ...]
    """Annotated crops."""
    pixels: NDArray[np.uint8]
    """``(n, size, size, 3)`` of these crops, and then of those of other tissue."""
    said: tuple[SoftTarget, ...]
    """What the model said of the latter."""


Cut = Callable[[int], Batch]
"""The batch of a step."""


def cut_batches(lessons: Lessons, config: AdaptConfig, task: Task) -> Cut:
    """What gives the batch of each step."""
    source = CropSource(
        images=lessons.labelled, mpp=task.mpp, size=config.crop, seed=config.seed, augmentation=config.augmentation
    )
    tissue = SoftCropSource(
        read=lambda number: lessons.taught[number],
        numbers=range(len(lessons.taught)),
        classes=task.classes,
        separation=task.separation,
        mpp=task.mpp,
        step=1.0,
        size=config.crop,
        seed=config.seed + 1,
        augmentation=replace(config.augmentation, zoom=1.0),
    )
    count = config.taught if lessons.taught else 0

    def cut(step: int) -> Batch:
        drawn = source.batch(step, config.labelled)
        taught = [tissue.pair(step * count + i)[0] for i in range(count)]
        pixels = np.stack([*(crop.image for crop in drawn), *(crop.image for crop in taught)])
        return Batch(tuple(drawn), pixels, tuple(crop.target for crop in taught))

    return cut


def kept(cut: Cut, most: int = MOST_KEPT) -> Cut:
    """The same batches, of which the first ``most`` are cut once however often they are asked for."""
    batches: dict[int, Batch] = {}

    def batch(step: int) -> Batch:
        if step in batches:
            return batches[step]
        fresh = cut(step)
        if step < most:
            batches[step] = fresh
        return fresh

    return batch

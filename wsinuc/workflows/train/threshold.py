"""From which probability on a pixel is nucleus: the level with the highest Dice on the training images.

Losses that favour hard pixels (method D's focal loss) and short trainings leave probabilities low,
sampling that favours nuclei (method A keeps a tenth of the background) leaves them high. One half
is then the wrong cut, and comparing methods at one half compares their losses. One number from the
training images themselves mends that for every method alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wsinuc.datasets.augmentation.augment import Augmentation
from wsinuc.datasets.base import LabelledImage
from wsinuc.datasets.sampling.crops import Crop, CropSource
from wsinuc.segmenters.base import Segmenter
from wsinuc.separation.channels import FOREGROUND

CROPS = 2, 8
"""Fewest and most tiles that are looked at, one from each image in between: seconds on a CPU."""
LEVELS = slice(51, 205)
"""Levels of 256 that are considered, 0.2 to 0.8: beyond, a handful of pixels decide."""
TOLERANCE = 0.002
"""Levels whose Dice is this close to the highest count as equally good; their middle is taken."""


def fit_threshold(segmenter: Segmenter, images: Sequence[LabelledImage], *, seed: int = 0) -> float:
    """Probability in [0.2, 0.8] that separates nucleus from background best on crops of ``images``.

    Each crop is taken as `segment` would see it: at the segmenter's resolution, unaugmented, with
    the normalisation fitted to it.
    """
    inner = slice(segmenter.margin, segmenter.tile - segmenter.margin)
    inside = np.zeros(256, np.int64)
    outside = np.zeros(256, np.int64)
    count = min(max(CROPS[0], len(images)), CROPS[1])
    for index in range(count):
        crop = _crop(segmenter, images[index * len(images) // count], seed + index)
        pixels = np.ascontiguousarray(crop.image)[None]
        scores = segmenter.calibrate(pixels).predict(pixels)[0, FOREGROUND]
        nuclei = crop.labels[inner, inner] > 0
        known = np.ones(nuclei.shape, np.bool_)
        if crop.ignore is not None:
            known = ~crop.ignore[inner, inner]
        inside += np.bincount(scores[nuclei & known], minlength=256)
        outside += np.bincount(scores[~nuclei & known], minlength=256)
    return best_level(inside, outside) / 255


def _crop(segmenter: Segmenter, image: LabelledImage, seed: int) -> Crop:
    """A tile of one image as it is."""
    plain = Augmentation(zoom=1.0, stain=0.0)
    return CropSource(images=[image], mpp=segmenter.mpp, size=segmenter.tile, seed=seed, augmentation=plain).crop(0)


def best_level(inside: NDArray[np.int64], outside: NDArray[np.int64]) -> float:
    """Level of `LEVELS` with the highest Dice, given how many pixels of nuclei and of background
    have each level ``(256,)``.

    Examples
    --------
    >>> inside, outside = np.zeros(256, int), np.zeros(256, int)
    >>> inside[100], outside[60] = 10, 10
    >>> best_level(inside, outside)
    80.5
    """
    hits = inside[::-1].cumsum()[::-1]  # pixels of nuclei at a level or above it
    called = hits + outside[::-1].cumsum()[::-1]
    dice = (2 * hits / np.maximum(called + inside.sum(), 1))[LEVELS]
    # The middle of all levels that are nearly as good: the very best one is an accident of a few images.
    good = np.flatnonzero(dice >= dice.max() - TOLERANCE) + LEVELS.start
    return float(good.mean())
